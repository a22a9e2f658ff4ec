// A real PostgreSQL behind a TCP tunnel: queries, a long answer, and pgbench without a failure.

import assert from 'node:assert/strict';
import { chmodSync, chownSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { freePort } from '../support/free-port.ts';
import { runProgram, startProcess } from '../support/process.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';
import { environment, tcpTunnel } from '../support/tunnel.ts';

const PROGRAMS = ['initdb', 'postgres', 'psql', 'pgbench', 'id'] as const;
const BENCH_SECONDS = 10;
const BENCH_CLIENTS = 8;

type Programs = Record<(typeof PROGRAMS)[number], string>;

/** PostgreSQL refuses to run as root, so root lends it the ids of Debian's `postgres`. */
async function serverIds(
  t: TestContext,
  programs: Programs,
): Promise<{ uid?: number; gid?: number }> {
  if (process.getuid?.() !== 0) return {};
  const ids: number[] = [];
  for (const flag of ['-u', '-g']) {
    const run = await runProgram(t, { command: programs.id, args: [flag, 'postgres'] });
    assert.equal(run.code, 0, run.stderr);
    ids.push(Number(run.stdout));
  }
  const [uid, gid] = ids;
  assert.ok(uid !== undefined && gid !== undefined);
  return { uid, gid };
}

async function startPostgres(t: TestContext, programs: Programs): Promise<number> {
  const folder = scratchFolder(t);
  const ids = await serverIds(t, programs);
  const data = path.join(folder, 'data');
  mkdirSync(data, { mode: 0o700 });
  chmodSync(folder, 0o755);
  if (ids.uid !== undefined) chownSync(data, ids.uid, ids.gid ?? ids.uid);
  const env = environment({ HOME: data, LC_ALL: 'C' });
  const init = await runProgram(t, {
    ...{ command: programs.initdb, env, cwd: data, ms: 120_000, ...ids },
    args: ['-D', data, '-A', 'trust', '-U', 'postgres', '-E', 'UTF8', '--no-sync'],
  });
  assert.equal(init.code, 0, init.stderr);
  const port = await freePort();
  const server = startProcess(t, {
    ...{ name: 'postgres', command: programs.postgres, env, cwd: data, ...ids },
    args: [
      ...['-D', data, '-p', String(port), '-c', 'listen_addresses=127.0.0.1'],
      ...['-c', 'unix_socket_directories=', '-c', 'fsync=off'],
    ],
    // A fast shutdown; SIGTERM would wait for clients to leave.
    endSignal: 'SIGINT',
    endCode: 0,
  });
  await server.line('postgres is ready', (line) => line.includes('ready to accept connections'));
  return port;
}

test('PostgreSQL serves queries and pgbench through a TCP tunnel', async (t) => {
  const programs = requirePrograms(t, PROGRAMS);
  if (programs === undefined) return;
  const port = await tcpTunnel(t, await startPostgres(t, programs));
  const peer = ['-h', '127.0.0.1', '-p', String(port), '-U', 'postgres'];

  async function query(sql: string): Promise<string> {
    const args = [...peer, '-X', '-At', '-c', sql, 'postgres'];
    const run = await runProgram(t, { command: programs?.psql ?? '', args });
    assert.equal(run.code, 0, run.stderr);
    return run.stdout;
  }

  await t.test('a query has its answer', async () => {
    assert.equal(await query('select 6 * 7'), '42');
  });

  await t.test('a 10 MB answer comes whole', async () => {
    const answer = await query(`select repeat('0123456789', 1000000)`);
    assert.equal(answer.length, 10_000_000);
    assert.ok(answer === '0123456789'.repeat(1_000_000), 'other bytes than those sent');
  });

  await t.test('pgbench has no failed transaction', async () => {
    const init = ['-i', '-q', '-s', '1', ...peer, 'postgres'];
    const made = await runProgram(t, { command: programs.pgbench, args: init, ms: 120_000 });
    assert.equal(made.code, 0, made.stderr);
    const load = ['-T', String(BENCH_SECONDS), '-c', String(BENCH_CLIENTS), ...peer, 'postgres'];
    const run = await runProgram(t, { command: programs.pgbench, args: load });
    assert.equal(run.code, 0, run.stderr);
    assert.match(run.stdout, /number of failed transactions: 0 /u);
    const done = /transactions actually processed: (\d+)/u.exec(run.stdout)?.[1];
    assert.ok(Number(done) > BENCH_CLIENTS, run.stdout);
    t.diagnostic(`pgbench: ${done} transactions in ${BENCH_SECONDS} s`);
  });
});
