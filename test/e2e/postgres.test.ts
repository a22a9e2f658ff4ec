// A real PostgreSQL behind a TCP tunnel: queries, a long answer, and pgbench without a failure.

import assert from 'node:assert/strict';
import test from 'node:test';
import { POSTGRES_PROGRAMS, startPostgres } from '../support/postgres.ts';
import { runProgram } from '../support/process.ts';
import { requirePrograms } from '../support/programs.ts';
import { tcpTunnel } from '../support/tunnel.ts';

const BENCH_SECONDS = 10;
const BENCH_CLIENTS = 8;

test('PostgreSQL serves queries and pgbench through a TCP tunnel', async (t) => {
  const programs = requirePrograms(t, POSTGRES_PROGRAMS);
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
