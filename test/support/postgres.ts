// A PostgreSQL of a test's own, on loopback, with a new data folder.
//
// Invariant: it has ended when the test has. Must not know: what is asked of it.

import assert from 'node:assert/strict';
import { chmodSync, chownSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { freePort } from './free-port.ts';
import { runProgram, startProcess } from './process.ts';
import { scratchFolder } from './programs.ts';
import { environment } from './tunnel.ts';

export const POSTGRES_PROGRAMS = ['initdb', 'postgres', 'psql', 'pgbench', 'id'] as const;

type Programs = Record<(typeof POSTGRES_PROGRAMS)[number], string>;

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

/** Starts it; gives its port. */
export async function startPostgres(t: TestContext, programs: Programs): Promise<number> {
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
