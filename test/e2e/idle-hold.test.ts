// Goal: thousands of idle connections stay, cost an exit node little memory and next to no time,
// and each of them answers afterwards. Method: one client with four links; what the kernel says of
// the exit node before, with them, and over a while in which nothing is said. `npm run soak` makes
// them nine thousand, and the while a quarter of an hour.

import assert from 'node:assert/strict';
import type net from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as pass } from 'node:timers/promises';
import { within } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { usageOf } from '../support/process-usage.ts';
import { startTunnel } from '../support/tunnel.ts';
import { connectTo, echoOnce, startEcho } from '../support/upstream.ts';

const CONNECTIONS = Number(process.env.SLUICEWAY_IDLE_CONNECTIONS ?? 5000);
/** No shorter than two sweeps and a ping. */
const IDLE_SECONDS = Math.max(8, Number(process.env.SLUICEWAY_IDLE_SECONDS ?? 0));
const LINKS = 4;
/** Connected at once. */
const BATCH = 100;
/** The gates of the design, reliability L1. */
const BYTES_EACH_MAX = 48 * 1024;
const CPU_SHARE_MAX = 0.05;
const ECHOES_MS_MAX = 10_000;
/** What the start and the opening left behind is collected by then. */
const SETTLE_MS = 3000;

async function connectAndEcho(t: TestContext, port: number): Promise<net.Socket> {
  const visitor = await connectTo(t, port);
  assert.equal(await echoOnce(visitor, 'a'), 'a');
  return visitor;
}

test(`${CONNECTIONS} connections that are idle for ${IDLE_SECONDS} s`, async (t) => {
  const [port, echo] = [await freePort(), await startEcho(t)];
  const tunnel = await startTunnel(
    t,
    ['--links', String(LINKS), '--tcp', `${port}=127.0.0.1:${echo}`],
    { args: ['--visitor-connections-max', String(2 * CONNECTIONS)] },
  );
  const { pid } = tunnel.process;
  const first = await connectAndEcho(t, port);
  await pass(SETTLE_MS);
  const before = usageOf(pid);
  const visitors: net.Socket[] = [first];
  while (visitors.length < CONNECTIONS) {
    // Answered, as a link takes no more than a thousand whose upstream has not been reached.
    const batch = Array.from({ length: BATCH }, () => connectAndEcho(t, port));
    visitors.push(...(await Promise.all(batch)));
  }
  let ended = 0;
  for (const visitor of visitors) visitor.once('close', () => (ended += 1));
  await pass(SETTLE_MS);
  const full = usageOf(pid);
  await pass(IDLE_SECONDS * 1000);
  const after = usageOf(pid);
  assert.equal(ended, 0, 'all are there');
  const echoes = visitors.map((visitor) => echoOnce(visitor, 'b'));
  const startMs = performance.now();
  await within(ECHOES_MS_MAX, 'each answers', Promise.all(echoes));
  const echoesMs = performance.now() - startMs;
  const bytesEach = (full.residentBytes - before.residentBytes) / CONNECTIONS;
  const cpuShare = (after.cpuSeconds - full.cpuSeconds) / IDLE_SECONDS;
  t.diagnostic(
    `${(bytesEach / 1024).toFixed(1)} KiB each, ${(cpuShare * 100).toFixed(1)} % of a core idle, ` +
      `echoes of all in ${echoesMs.toFixed(0)} ms`,
  );
  assert.ok(bytesEach <= BYTES_EACH_MAX, `${bytesEach} bytes each`);
  assert.ok(cpuShare <= CPU_SHARE_MAX, `${cpuShare} of a core`);
});
