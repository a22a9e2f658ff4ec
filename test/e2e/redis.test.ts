// A real Redis behind a TCP tunnel: redis-benchmark with 50 connections, and a value of 1 MiB.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { freePort } from '../support/free-port.ts';
import { runProgram, startProcess } from '../support/process.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';
import { tcpTunnel } from '../support/tunnel.ts';

const PROGRAMS = ['redis-server', 'redis-cli', 'redis-benchmark', 'sh'] as const;

async function startRedis(t: TestContext, command: string): Promise<number> {
  const folder = scratchFolder(t);
  const port = await freePort();
  const redis = startProcess(t, {
    ...{ name: 'redis', command, endCode: 0 },
    args: [
      ...['--port', String(port), '--bind', '127.0.0.1', '--dir', folder],
      ...['--save', '', '--appendonly', 'no', '--daemonize', 'no'],
    ],
  });
  await redis.line('redis is ready', (line) => line.includes('Ready to accept connections'));
  return port;
}

test('Redis serves values and redis-benchmark through a TCP tunnel', async (t) => {
  const programs = requirePrograms(t, PROGRAMS);
  if (programs === undefined) return;
  const port = String(await tcpTunnel(t, await startRedis(t, programs['redis-server'])));
  const peer = ['-h', '127.0.0.1', '-p', port];

  async function ask(...words: string[]): Promise<string> {
    const args = [...peer, ...words];
    const run = await runProgram(t, { command: programs?.['redis-cli'] ?? '', args });
    assert.equal(run.code, 0, run.stderr);
    return run.stdout;
  }

  await t.test('what is set can be got', async () => {
    assert.equal(await ask('set', 'colour', 'blue'), 'OK');
    assert.equal(await ask('get', 'colour'), 'blue');
  });

  await t.test('a value of 1 MiB comes back byte for byte', async () => {
    const folder = scratchFolder(t);
    const [given, got] = [path.join(folder, 'given'), path.join(folder, 'got')];
    const value = randomBytes(1024 * 1024);
    writeFileSync(given, value);
    const cli = [programs['redis-cli'], '127.0.0.1', port];
    for (const [script, file] of [
      ['exec "$0" -h "$1" -p "$2" -x set big < "$3"', given],
      ['exec "$0" -h "$1" -p "$2" --raw get big > "$3"', got],
    ] as const) {
      const run = await runProgram(t, { command: programs.sh, args: ['-c', script, ...cli, file] });
      assert.equal(run.code, 0, run.stderr);
    }
    // redis-cli ends what it prints with a newline of its own.
    assert.ok(readFileSync(got).subarray(0, -1).equals(value), 'other bytes than those set');
  });

  await t.test('redis-benchmark ends without an error', async () => {
    const load = ['-n', '20000', '-c', '50', '-P', '1', '-t', 'ping_mbulk,set,get', '--csv'];
    const args = [...peer, ...load];
    const run = await runProgram(t, { command: programs['redis-benchmark'], args, ms: 120_000 });
    assert.equal(run.code, 0, run.stderr);
    for (const name of ['PING_MBULK', 'SET', 'GET']) {
      const row = run.stdout.split('\n').find((line) => line.startsWith(`"${name}"`));
      assert.ok(row !== undefined, `no row for ${name}:\n${run.stdout}\n${run.stderr}`);
      t.diagnostic(`redis-benchmark ${row}`);
    }
  });
});
