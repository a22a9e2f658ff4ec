// Goal: a wall clock that is set, by a day or by ten years, forth or back, at the exit node or at
// the client, ends no stream and no link, and no figure becomes negative by it. Method: real
// processes under libfaketime, which lies about the time of day alone and reads by how much from a
// file; the monotonic clock is the machine's.

import assert from 'node:assert/strict';
import { globSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../support/free-port.ts';
import { scratchFolder, skipOrFail } from '../support/programs.ts';
import { parseLine, startClient, startServer, type TestServer } from '../support/tunnel.ts';
import { connectTo, echoOnce, get, startEcho, startHttp } from '../support/upstream.ts';

const HOST = 'site.example.com';
const LIBRARY = '/usr/lib/*/faketime/libfaketime.so.1';
const JUMPS = ['+1d', '-1d', '-3650d', '+3650d'] as const;
/** Ticks come once a second. */
const LOOK_MS = 2500;

/** A clock of a program's own; undefined: skipped. */
function wallClock(t: TestContext): WallClock | undefined {
  const [library] = globSync(LIBRARY);
  if (library === undefined) {
    skipOrFail(t, 'not installed: libfaketime');
    return undefined;
  }
  const file = path.join(scratchFolder(t), 'clock');
  writeFileSync(file, '+0d');
  return {
    env: {
      LD_PRELOAD: library,
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    },
    set: (offset) => writeFileSync(file, offset),
  };
}

interface WallClock {
  readonly env: Readonly<Record<string, string>>;
  /** `+1d`: a day ahead of the machine's. */
  set(offset: string): void;
}

/** All numbers of the exit node's own account of itself. */
async function figuresOf({ adminPort }: TestServer): Promise<Map<string, number>> {
  const text = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text();
  const figures = new Map<string, number>();
  for (const [, name = '', value] of text.matchAll(/^([a-z]\S*) (\S+)$/gmu)) {
    figures.set(name, Number(value));
  }
  assert.ok(figures.size > 50, text);
  return figures;
}

test('a wall clock that jumps ends nothing', async (t) => {
  const [serverClock, clientClock] = [wallClock(t), wallClock(t)];
  if (serverClock === undefined || clientClock === undefined) return;
  const echo = await startEcho(t);
  const site = await startHttp(t, (_request, response) => response.end('served'));
  const port = await freePort();
  const server = await startServer(t, { args: ['--access-log'], env: serverClock.env });
  const args = ['--upstream', `${HOST}=http://127.0.0.1:${site}`, '--tcp'];
  const client = await startClient(t, server, {
    args: [...args, `${port}=127.0.0.1:${echo}`],
    env: clientClock.env,
  });
  const visitor = await connectTo(t, port);
  assert.equal(await echoOnce(visitor, 'before'), 'before');
  for (const [who, clock] of [
    ['server', serverClock],
    ['client', clientClock],
  ] as const) {
    for (const jump of JUMPS) {
      clock.set(jump);
      await sleep(LOOK_MS);
      const text = `${who} ${jump}`;
      assert.equal(await echoOnce(visitor, text), text);
      assert.equal((await get(t, { port: server.httpPort, host: HOST })).body, 'served', text);
      const negative = [...(await figuresOf(server))].filter(([, value]) => value < 0);
      assert.deepEqual(negative, [], text);
    }
  }
  visitor.destroy();
  const year = String(new Date(Date.now() + 3650 * 86_400_000).getUTCFullYear());
  for (const run of [client, server.process]) {
    await run.stop();
    const { time } = parseLine(run.stderr.at(-1) ?? '');
    assert.ok(String(time).startsWith(year), `its clock was set: ${String(time)}`);
  }
  const lines = [...server.process.stderr, ...client.stderr].map(parseLine);
  // Ended by the client, when it has one too many on a shard, and at its own end.
  const ends = lines.filter(({ msg, code }) => msg === 'link ended' && code !== 'SLW_LINK_ENDED');
  assert.deepEqual(ends, []);
  const took = lines.map(({ durationMs }) => durationMs).filter((ms) => typeof ms === 'number');
  assert.ok(took.length >= 2 * JUMPS.length && took.every((ms) => ms >= 0), took.join(' '));
});
