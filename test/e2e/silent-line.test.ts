// Goal: a line that is silent for less than --link-dead-after costs time and nothing else: the same
// bytes arrive, no stream and no link ends. Of one that is silent for longer both sides give up
// those links within the promised time and tell whoever was on them; the client's other links
// serve all who come, and it is whole again. Method: real processes, a relay that stops passing.

import assert from 'node:assert/strict';
import type net from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as pass } from 'node:timers/promises';
import { type CutRelay, startRelay } from '../support/cut-relay.ts';
import { eventually, within } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { runProgram, startProcess, type TestProcess } from '../support/process.ts';
import { parseLine, startClient, startServer, type TestServer } from '../support/tunnel.ts';
import { connectTo, echoBytes, echoOnce, startTcp } from '../support/upstream.ts';

const LOAD = 'test/fixtures/lossy-load.ts';
const LINKS = 4;
const SILENT_LINKS = 2;
const DEAD_AFTER_MS = 8000;
const TIMES = ['--link-ping-interval', '2s', '--link-dead-after', `${DEAD_AFTER_MS}ms`];
/** More than two pings are not answered in time. */
const SILENT_MS = 6000;
/** What the promise of 35 s has above the 30 s that are the default. */
const FOUND_WITHIN_MS = DEAD_AFTER_MS + 5000;
/** Promised (README, 4); a busy machine has some more. */
const BACK_MS = 10_000 + 5000;
/** Promised is a second; the same. */
const TOLD_MS = 1000 + 1000;
const VISITORS = 24;

interface Place {
  readonly server: TestServer;
  readonly client: TestProcess;
  readonly relay: CutRelay;
  readonly port: number;
}

async function startPlace(t: TestContext, upstreamPort: number): Promise<Place> {
  const server = await startServer(t, { args: TIMES });
  const relay = await startRelay(t, server.controlPort);
  const port = await freePort();
  const client = await startClient(t, server, {
    url: `ws://127.0.0.1:${relay.port}`,
    args: ['--tcp', `${port}=127.0.0.1:${upstreamPort}`, '--links', String(LINKS), ...TIMES],
  });
  const place = { server, client, relay, port };
  await untilLinks(place, BACK_MS);
  return place;
}

async function untilLinks({ server }: Place, ms: number): Promise<void> {
  await eventually(ms, `${LINKS} links`, async () => {
    const page = await (await fetch(`http://127.0.0.1:${server.adminPort}/metrics`)).text();
    assert.equal(/^sluiceway_links (\d+)$/mu.exec(page)?.[1], String(LINKS));
  });
}

/** Codes of the links that ended at either side, but for one too many on a shard. */
function linkEnds(run: TestProcess): string[] {
  return run.stderr
    .map(parseLine)
    .filter(({ msg }) => msg === 'link ended' || msg === 'link failed')
    .map(({ code }) => String(code))
    .filter((code) => code !== 'SLW_LINK_ENDED');
}

interface Seen {
  readonly bulk: readonly {
    readonly sent: string;
    readonly got: string;
    readonly bytes: number;
    readonly otherGot: string;
    readonly otherSent: string;
  }[];
  readonly echoesMs: readonly number[];
}

test('a line that is silent for less than a link may be: every byte, and nothing ends', async (t) => {
  const upstreamPort = await freePort();
  const upstream = startProcess(t, {
    name: 'upstream',
    command: process.execPath,
    args: [LOAD, 'serve', String(upstreamPort)],
  });
  await upstream.line('the upstream is ready', (line) => line === 'ready');
  const place = await startPlace(t, upstreamPort);
  const { relay, server, client } = place;
  const seconds = SILENT_MS / 1000 + 5;
  const visiting = runProgram(t, {
    command: process.execPath,
    args: [LOAD, 'visit', String(place.port), String(seconds)],
    ms: (seconds + 60) * 1000,
  });
  await eventually(BACK_MS, 'much has passed', async () => {
    assert.ok(relay.passedBytes > 8 * 1024 * 1024, `${relay.passedBytes} bytes`);
  });
  relay.goSilent();
  const before = relay.passedBytes;
  await pass(SILENT_MS);
  assert.equal(relay.passedBytes, before, 'nothing passed meanwhile');
  relay.goUp();
  const visit = await visiting;
  assert.equal(visit.code, 0, visit.stderr);
  const { bulk, echoesMs } = JSON.parse(visit.stdout) as Seen;
  for (const one of bulk) {
    assert.equal(one.got, one.otherSent, 'what was sent to the visitor');
    assert.equal(one.otherGot, one.sent, 'what the visitor sent');
    assert.ok(one.bytes > 0);
  }
  assert.ok(Math.max(...echoesMs) > SILENT_MS - 500, 'who typed has waited, and was answered');
  assert.deepEqual([linkEnds(server.process), linkEnds(client)], [[], []], 'no link was given up');
  await untilLinks(place, BACK_MS);
});

/** Says `text` and gives what became of it: the echo, or the code of the error that ended it. */
function ask(socket: net.Socket, text: string): Promise<string> {
  return new Promise((resolve) => {
    socket.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code ?? 'unknown'));
    socket.once('end', () => resolve('a clean end'));
    echoBytes(socket, Buffer.from(text)).then(
      (bytes) => resolve(bytes.toString()),
      () => undefined,
    );
  });
}

test('some links that are silent for longer: found, told, and the others serve', async (t) => {
  const echo = await startTcp(t, (socket) => socket.pipe(socket));
  const place = await startPlace(t, echo);
  const { relay, server, client, port } = place;
  const visitors: net.Socket[] = [];
  for (let count = 0; count < VISITORS; count += 1) {
    const visitor = await connectTo(t, port);
    assert.equal(await echoOnce(visitor, 'before'), 'before');
    visitors.push(visitor);
  }
  relay.silence(SILENT_LINKS);
  const silentMs = performance.now();
  const answers = visitors.map((visitor) => ask(visitor, 'still there?'));
  await eventually(FOUND_WITHIN_MS, 'both sides know of the dead links', async () => {
    const dead = Array.from({ length: SILENT_LINKS }, () => 'SLW_LINK_DEAD');
    assert.deepEqual([linkEnds(server.process), linkEnds(client)], [dead, dead]);
  });
  const foundMs = performance.now() - silentMs;
  assert.ok(foundMs > DEAD_AFTER_MS - 2500, `given up after ${Math.round(foundMs)} ms`);
  const fates = await within(TOLD_MS, 'everybody is told', Promise.all(answers));
  const counts = Map.groupBy(fates, (fate) => fate);
  const told = [counts.get('still there?'), counts.get('ECONNRESET')].map(
    (all) => all?.length ?? 0,
  );
  t.diagnostic(`found after ${Math.round(foundMs)} ms; ${told[0]} go on, ${told[1]} were reset`);
  assert.deepEqual([...counts.keys()].sort(), ['ECONNRESET', 'still there?'], 'no other fate');
  for (let count = 0; count < VISITORS; count += 1) {
    const visitor = await connectTo(t, port);
    assert.equal(await echoOnce(visitor, 'new'), 'new', 'whoever comes now is served');
  }
  await untilLinks(place, BACK_MS);
  for (const visitor of visitors.filter(({ closed }) => !closed)) {
    assert.equal(await echoOnce(visitor, 'after'), 'after');
  }
});
