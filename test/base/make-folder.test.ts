// Goal: a folder is made with what is missing above it, for its owner alone, and where none can be
// made that is an error, at once. Method: scratch folders, and /proc, where the kernel says of each
// new folder that it is not there.

import assert from 'node:assert/strict';
import { existsSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { makeFolder } from '../../src/base/make-folder.ts';
import { run } from '../cli/run.ts';
import { within } from '../support/deadline.ts';
import { scratchFolder } from '../support/programs.ts';

const WAIT_MS = 5000;
const MODE = 0o700;
const TOKEN = { SLUICEWAY_TOKEN: 'correct-horse-battery-staple' };

test('what is missing is made with the mode, and what is there stays as it is', async (t) => {
  const scratch = scratchFolder(t);
  const there = path.join(scratch, 'there');
  mkdirSync(there, { mode: 0o755 });
  const deep = path.join(there, 'a', 'b', 'c');
  assert.equal(await makeFolder(deep, MODE), path.join(there, 'a'));
  for (let made = deep; made !== there; made = path.dirname(made)) {
    assert.equal(statSync(made).mode & 0o777, MODE, made);
  }
  assert.equal(await makeFolder(deep, MODE), undefined);
  assert.equal(await makeFolder(`${there}/`, MODE), undefined);
  assert.equal(statSync(there).mode & 0o777, 0o755);
  symlinkSync(there, path.join(scratch, 'link'));
  await makeFolder(path.join(scratch, 'link', 'd'), MODE);
  assert.ok(existsSync(path.join(there, 'd')));
  assert.equal(await makeFolder('/', MODE), undefined);
});

test('several that make one at once all have it', async (t) => {
  const folder = path.join(scratchFolder(t), 'a', 'b', 'c');
  await Promise.all(Array.from({ length: 20 }, () => makeFolder(folder, MODE)));
  assert.ok(statSync(folder).isDirectory());
});

test('a file in its place or above it is the error of the system', async (t) => {
  const scratch = scratchFolder(t);
  const file = path.join(scratch, 'file');
  writeFileSync(file, '');
  await assert.rejects(makeFolder(file, MODE), { code: 'EEXIST' });
  await assert.rejects(makeFolder(path.join(file, 'a', 'b'), MODE), { code: 'ENOTDIR' });
  symlinkSync(path.join(scratch, 'nowhere'), path.join(scratch, 'link'));
  await assert.rejects(makeFolder(path.join(scratch, 'link', 'a'), MODE), { code: 'EEXIST' });
});

test('where nothing can be made it does not try for ever', async (t) => {
  if (process.platform !== 'linux') return t.skip('/proc is of Linux');
  for (const folder of ['/proc/there-is-none', '/proc/there/is/none']) {
    const made = within(WAIT_MS, folder, makeFolder(folder, MODE));
    await assert.rejects(made, { code: 'ENOENT' });
    const args = ['server', '--auto-tls', '--auto-tls-dir', folder, '--control-addr', ':0'];
    const off = ['--http-addr', 'off', '--admin-addr', 'off', '--tcp-ports', 'off'];
    const { code, stderr } = await run([...args, ...off], TOKEN);
    assert.equal(code, 2, stderr);
    assert.ok(stderr.startsWith(`sluiceway: --auto-tls-dir ${folder}: `), stderr);
    assert.ok(stderr.includes('ENOENT'), stderr);
  }
});
