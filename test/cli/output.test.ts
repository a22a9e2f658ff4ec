import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import fc from 'fast-check';
import { ConfigError, SluicewayError } from '../../src/base/errors.ts';
import { EXIT, exitCodeOf } from '../../src/cli/exit-codes.ts';
import { inWords, readTimestamp, table } from '../../src/cli/output.ts';
import { securityFloor } from '../../src/cli/warnings.ts';
import { within } from '../support/deadline.ts';
import { ENTRY } from './run.ts';

test('an answer that a full disk has lost fails the command', (t) => {
  const full = openSync('/dev/full', 'w');
  t.after(() => closeSync(full));
  const generate = ['generate', 'systemd', 'server', '--token-file', '/etc/sluiceway/token'];
  for (const args of [['version'], ['--help'], generate, ['demo', '--check']]) {
    const { status, stderr } = spawnSync(process.execPath, [ENTRY, ...args], {
      ...{ stdio: ['ignore', full, 'pipe'], encoding: 'utf8', timeout: 30_000 },
    });
    assert.equal(status, 1, `${args}: ${stderr}`);
    assert.match(stderr, /^sluiceway: cannot write to stdout: ENOSPC/m);
  }
});

test('a reader that has read enough is no failure', async (t) => {
  const child = spawn(process.execPath, [ENTRY, '--help'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.after(() => child.kill('SIGKILL'));
  child.stdout.destroy();
  const ended = once(child, 'close') as Promise<[number]>;
  const [stderr, [code]] = await Promise.all([text(child.stderr), within(30_000, 'end', ended)]);
  assert.equal(code, 0);
  assert.equal(stderr, '');
});

test('lengths of time are in the largest unit that fits', () => {
  const cases: readonly (readonly [number, string])[] = [
    [-5, '0 seconds'],
    [999, '0 seconds'],
    [1000, '1 second'],
    [59_999, '59 seconds'],
    [60_000, '1 minute'],
    [49 * 60_000, '49 minutes'],
    [3_600_000, '1 hour'],
    [7_300_000, '2 hours'],
    [86_400_000, '1 day'],
    [3.9 * 86_400_000, '3 days'],
  ];
  for (const [ms, words] of cases) assert.equal(inWords(ms), words);
});

test('tables align, and their cells cannot move the cursor', () => {
  const rows = [
    ['Client ID', 'Upstreams'],
    ['a\u001b[2J', 'b'],
  ];
  assert.equal(table(rows), 'Client ID  Upstreams\na?[2J      b\n');
});

test('timestamps are read as Date reads them', () => {
  const anyTime = fc.date({
    min: new Date('0001-01-01T00:00:00Z'),
    max: new Date('9999-12-31T23:59:59Z'),
    noInvalidDate: true,
  });
  const property = fc.property(anyTime, (date) => {
    assert.equal(readTimestamp(date.toISOString()), date.getTime());
  });
  fc.assert(property, { verbose: 1 });
  assert.equal(readTimestamp('2026-02-28T23:30:00+01:30'), Date.parse('2026-02-28T22:00:00Z'));
  assert.equal(readTimestamp('2026-02-28T23:30:00-00:30'), Date.parse('2026-03-01T00:00:00Z'));
  for (const text of ['', 'now', '2026-02-28', '2026-02-28 10:00:00Z', '2026-02-28T10:00:00']) {
    assert.equal(readTimestamp(text), undefined);
  }
});

test('errors lead to the exit codes of the contract', () => {
  assert.deepEqual(EXIT, { ok: 0, failure: 1, usage: 2, refused: 3, timeout: 4 });
  assert.equal(exitCodeOf(new Error('any')), 1);
  assert.equal(exitCodeOf(new SluicewayError('SLW_LISTEN_FAILED')), 1);
  assert.equal(exitCodeOf(new ConfigError(['wrong'])), 2);
  assert.equal(exitCodeOf(new SluicewayError('SLW_AUTH_REFUSED')), 3);
  assert.equal(exitCodeOf(new SluicewayError('SLW_TIMEOUT')), 4);
});

test('a Node below the security floor of its line is told where to go', () => {
  for (const version of ['24.12.0', '24.18.0']) assert.equal(securityFloor(version), '24.18.1');
  for (const version of ['25.9.0', '26.0.0', '26.5.0'])
    assert.equal(securityFloor(version), '26.5.1');
  for (const version of ['24.18.1', '24.19.0', '26.5.1', '26.10.0', '27.0.0', '28.1.2-nightly']) {
    assert.equal(securityFloor(version), undefined);
  }
});
