// Goal: tokens are made, shown, changed and removed from the command line, and a file that a
// server cannot use is refused however it is given. Method: the program itself, on scratch files.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, openSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { isoTimeOf, systemClock } from '../../src/base/clock.ts';
import { scratchFolder } from '../support/programs.ts';
import { ENTRY, run } from './run.ts';

const GOOD = `tokens:\n  - name: ci\n    hashes: [sha256:${'a'.repeat(64)}]\n`;
const FAULTY = 'tokens:\n  - name: ci\n    hash: x\n';

test('a token is made, listed, rotated and revoked, and its secret is nowhere kept', async (t) => {
  const file = path.join(scratchFolder(t), 'tokens.yaml');
  const env = { SLUICEWAY_TOKENS_FILE: file };
  const scope = ['--host', '*.ci.test', '--host', 'a.test', '--port', '8000-8100', '--admin'];
  const made = await run(['token', 'create', 'ci', ...scope], env);
  assert.equal(made.code, 0, made.stderr);
  const secret = made.stdout.trim();
  assert.match(secret, /^[A-Za-z0-9_-]{43}$/);
  const text = readFileSync(file, 'utf8');
  assert.ok(text.includes(createHash('sha256').update(secret).digest('hex')));
  assert.ok(!text.includes(secret));
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const rotated = await run(['token', 'rotate', 'ci', '--tokens-file', file]);
  assert.notEqual(rotated.stdout, made.stdout);
  const listed = await run(['token', 'list', '--json'], env);
  assert.deepEqual(JSON.parse(listed.stdout), [
    {
      ...{ name: 'ci', secrets: 2, hosts: ['*.ci.test', 'a.test'], ports: ['8000-8100'] },
      admin: true,
    },
  ]);
  assert.match(
    (await run(['token', 'list'], env)).stdout,
    /^ci +2 +\*\.ci\.test a\.test +8000-8100/m,
  );
  assert.equal((await run(['token', 'revoke', 'ci'], env)).stdout, 'revoked ci\n');
  assert.deepEqual(JSON.parse((await run(['token', 'list', '--json'], env)).stdout), []);
});

test('a secret that could not be printed is not valid, and the command fails', async (t) => {
  const file = path.join(scratchFolder(t), 'tokens.yaml');
  const full = openSync('/dev/full', 'w');
  t.after(() => closeSync(full));
  const intoFull = (...args: readonly string[]) =>
    spawnSync(process.execPath, [ENTRY, 'token', ...args, '--tokens-file', file], {
      ...{ stdio: ['ignore', full, 'pipe'], encoding: 'utf8', timeout: 30_000 },
    });
  const listed = async () => (await run(['token', 'list', '--json', '--tokens-file', file])).stdout;
  const made = intoFull('create', 'ci');
  assert.equal(made.status, 1, made.stderr);
  assert.match(made.stderr, /^sluiceway: cannot write to stdout: ENOSPC/m);
  assert.match(made.stderr, /^sluiceway: the secret could not be shown; the tokens are as they/m);
  assert.equal(await listed(), '[]\n');
  writeFileSync(file, GOOD);
  const rotated = intoFull('rotate', 'ci');
  assert.equal(rotated.status, 1, rotated.stderr);
  assert.equal(readFileSync(file, 'utf8'), GOOD);
  // A server may have read it with its end meanwhile, and would take no file that is cut.
  writeFileSync(file, GOOD.trimEnd());
  assert.equal(intoFull('rotate', 'ci').status, 1);
  assert.equal(readFileSync(file, 'utf8'), GOOD);
});

test('of commands at the same time each is done', async (t) => {
  const file = path.join(scratchFolder(t), 'tokens.yaml');
  const token = async (...args: readonly string[]): Promise<void> => {
    const { code, stderr } = await run(['token', ...args, '--tokens-file', file]);
    assert.equal(code, 0, stderr);
  };
  await token('create', 'old');
  const names = ['a', 'b', 'c'];
  await Promise.all([...names.map((name) => token('create', name)), token('revoke', 'old')]);
  const listed = await run(['token', 'list', '--json', '--tokens-file', file]);
  const entries: { readonly name: string }[] = JSON.parse(listed.stdout);
  assert.deepEqual(entries.map(({ name }) => name).sort(), names);
  assert.deepEqual(readdirSync(path.dirname(file)), ['tokens.yaml'], 'no lock is left');
});

test('a command waits for another, and not for one that was killed', async (t) => {
  const file = path.join(scratchFolder(t), 'tokens.yaml');
  writeFileSync(file, GOOD);
  const lock = `${file}.lock`;
  const lockedBy = (pid: number): void => {
    const holder = { host: hostname(), pid, id: 'x', sinceMs: systemClock.wallMs() };
    writeFileSync(lock, JSON.stringify(holder));
  };
  lockedBy(process.pid);
  const held = await run(['token', 'revoke', 'ci', '--tokens-file', file]);
  assert.deepEqual([held.code, held.stdout, readFileSync(file, 'utf8')], [2, '', GOOD]);
  assert.ok(held.stderr.includes(lock), held.stderr);
  const { pid } = spawnSync(process.execPath, ['--version']);
  lockedBy(pid);
  const revoked = await run(['token', 'revoke', 'ci', '--tokens-file', file]);
  assert.equal(revoked.stdout, 'revoked ci\n', revoked.stderr);
});

test('limits are written as given, and shown with what this month has used', async (t) => {
  const file = path.join(scratchFolder(t), 'tokens.yaml');
  const flags = ['--streams-max', '10', '--bytes-month-max', '5GiB', '--tokens-file', file];
  assert.equal((await run(['token', 'create', 'ci', ...flags])).code, 0);
  assert.match(readFileSync(file, 'utf8'), /streams-max: 10\n +bytes-month-max: 5GiB\n/);
  const month = isoTimeOf(systemClock.wallMs()).slice(0, 7);
  writeFileSync(`${file}.usage.json`, JSON.stringify({ month, bytes: { ci: 2048 } }));
  const listed = await run(['token', 'list', '--tokens-file', file]);
  assert.match(listed.stdout, /streams-max=10 bytes-month-max=5GiB +2KiB$/m);
  const json = await run(['token', 'list', '--json', '--tokens-file', file]);
  const [entry] = JSON.parse(json.stdout);
  assert.deepEqual(entry.limits, { 'streams-max': 10, 'bytes-month-max': 5 * 1024 ** 3 });
  assert.equal(entry.bytesThisMonth, 2048);
  const elsewhere = path.join(scratchFolder(t), 'used.json');
  writeFileSync(elsewhere, JSON.stringify({ month, bytes: { ci: 4096 } }));
  const env = { SLUICEWAY_TOKENS_FILE: file, SLUICEWAY_TOKENS_USAGE_FILE: elsewhere };
  assert.match((await run(['token', 'list'], env)).stdout, / 4KiB$/m);
  const flag = ['--tokens-usage-file', `${file}.usage.json`];
  assert.match((await run(['token', 'list', ...flag], env)).stdout, / 2KiB$/m);
  writeFileSync(`${file}.usage.json`, JSON.stringify({ month: '2020-01', bytes: { ci: 2048 } }));
  assert.match((await run(['token', 'list', '--tokens-file', file])).stdout, /5GiB +-$/m);
});

test('what cannot be done says why, with code 2, and changes nothing', async (t) => {
  const file = path.join(scratchFolder(t), 'tokens.yaml');
  writeFileSync(file, GOOD);
  const table = [
    [['create', 'ci'], /there is a token 'ci' already/],
    [['create', 'x', '--host', '/'], /is no host/],
    [['create', 'x', '--expires', 'soon'], /is no time/],
    [['create', 'x', '--streams-max', '0'], /is no number from 1/],
    [['create', 'x', '--bytes-in-per-second-max', '5GB'], /is not a size/],
    [['create', 'x', '--bytes-month-max', '1'], /is too small/],
    [['revoke', 'x'], /there is no token 'x'/],
    [['rotate', 'x'], /there is no token 'x'/],
    [['remove', 'x'], /unknown command/],
    [['create', 'x', '--expires', '2020-01-01T00:00:00Z'], /--expires: is over already/],
  ] as const;
  for (const [args, wanted] of table) {
    const { code, stdout, stderr } = await run(['token', ...args, '--tokens-file', file]);
    assert.deepEqual([code, stdout], [2, ''], args.join(' '));
    assert.match(stderr, wanted);
  }
  assert.equal(readFileSync(file, 'utf8'), GOOD);
  assert.match((await run(['token', 'list'])).stderr, /--tokens-file is required/);
  const folder = path.dirname(file);
  const missing = path.join(folder, 'typo.yaml');
  const at = (...args: readonly string[]) => run(['token', ...args]);
  const list = await at('list', '--tokens-file', missing);
  assert.deepEqual([list.code, list.stdout], [2, '']);
  assert.match(list.stderr, /^sluiceway: --tokens-file: .*typo\.yaml does not exist$/m);
  assert.match(
    (await at('list', '--tokens-file', folder)).stderr,
    /it is a folder, not a file \(E/,
  );
  const nowhere = path.join(folder, 'no', 'tokens.yaml');
  const { stderr } = await at('create', 'x', '--tokens-file', nowhere);
  assert.match(stderr, /no\/tokens\.yaml cannot be written: it does not exist, or its folder does/);
  assert.doesNotMatch(stderr, /\.tmp/);
});

test('a list says where a token is good from, and that one is over', async (t) => {
  const file = path.join(scratchFolder(t), 'tokens.yaml');
  const more = '    expires: 2020-01-01T00:00:00Z\n    allow-ips: [10.0.0.0/8, "::1"]\n';
  writeFileSync(file, `${GOOD}${more}`);
  const { stdout } = await run(['token', 'list', '--tokens-file', file]);
  assert.match(stdout, / 2020-01-01T00:00:00\.000Z \(over\) +10\.0\.0\.0\/8 ::1\/128 /);
  const listed = await run(['token', 'list', '--json', '--tokens-file', file]);
  const [entry] = JSON.parse(listed.stdout);
  assert.deepEqual(entry.allowIps, ['10.0.0.0/8', '::1/128']);
});

test('a server refuses a faulty or missing file, by flag, variable and file alike', async (t) => {
  const folder = scratchFolder(t);
  const put = (name: string, text: string): string => {
    const at = path.join(folder, name);
    writeFileSync(at, text);
    return at;
  };
  const check = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
    run(['config', 'check', 'server', ...args], env);
  const table = [
    [put('good.yaml', GOOD), 0, /^$/],
    [
      put('faulty.yaml', FAULTY),
      2,
      /faulty\.yaml line 3, column 5: 'hash' is unknown; did you mean hashes\?/,
    ],
    [put('empty.yaml', ''), 2, /must be "tokens:" and a list of tokens/],
    [path.join(folder, 'none.yaml'), 2, /none\.yaml does not exist/],
  ] as const;
  for (const [file, code, wanted] of table) {
    const byFile = put('config.yaml', `tokens-file: ${file}\n`);
    const ways = [
      await check(['--tokens-file', file]),
      await check([], { SLUICEWAY_TOKENS_FILE: file }),
      await check(['--config', byFile]),
    ];
    for (const way of ways) {
      assert.equal(way.code, code, `${file}: ${way.stderr}`);
      assert.match(way.stderr, wanted);
    }
  }
  for (const empty of [
    await check(['--tokens-file', '']),
    await check([], { SLUICEWAY_TOKENS_FILE: '' }),
  ]) {
    assert.equal(empty.code, 2, empty.stderr);
  }
});
