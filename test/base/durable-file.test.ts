// Goal: a file that others read goes on being read by them when it is written anew; a new one is
// its owner's alone. Method: files in a scratch folder, with owners where the test may give them.

import assert from 'node:assert/strict';
import { chmodSync, chownSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { test } from 'node:test';
import { replaceFile, rewriteFile } from '../../src/base/durable-file.ts';
import { scratchFolder } from '../support/programs.ts';

/** Nobody, and a group of its own: only root may give a file away. */
const OTHER = { uid: 65_534, gid: 65_533 };

test('a file that is rewritten keeps its mode and its owner', async (t) => {
  const file = path.join(scratchFolder(t), 'tokens.yaml');
  writeFileSync(file, 'old');
  chmodSync(file, 0o640);
  const isRoot = process.getuid?.() === 0;
  if (isRoot) chownSync(file, OTHER.uid, OTHER.gid);
  const before = statSync(file);
  await rewriteFile(file, 'new');
  const after = statSync(file);
  assert.equal(readFileSync(file, 'utf8'), 'new');
  assert.deepEqual([after.mode, after.uid, after.gid], [before.mode, before.uid, before.gid]);
  if (isRoot) assert.equal(after.uid, OTHER.uid);
  assert.notEqual(after.ino, before.ino, 'another file in its place');
});

test('a file that is replaced or new is for its owner alone', async (t) => {
  const folder = scratchFolder(t);
  const old = path.join(folder, 'old');
  writeFileSync(old, 'old', { mode: 0o644 });
  await replaceFile(old, 'new');
  await rewriteFile(path.join(folder, 'new'), 'new');
  for (const name of ['old', 'new']) {
    assert.equal(statSync(path.join(folder, name)).mode & 0o777, 0o600, name);
  }
});
