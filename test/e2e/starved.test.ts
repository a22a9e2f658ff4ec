// Goal: what visitors can take of an exit node is bounded: memory by windows, when nobody reads;
// descriptors by the system, and whoever comes when there are none is counted and harms nobody
// later. Method: real processes, resident memory as the kernel says, a limit set by prlimit.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { undoAfter } from '../support/cleanup.ts';
import { eventually } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { runProgram } from '../support/process.ts';
import { skipOrFail } from '../support/programs.ts';
import { startTunnel } from '../support/tunnel.ts';
import { connectTo, echoOnce, startEcho, startTcp } from '../support/upstream.ts';

const MIB = 1024 * 1024;
const SLOW = 50;
/** First windows, growth (decision 0052), and twice that for code, buffers and garbage. */
const GROWTH_BYTES_MAX = 3 * (SLOW * 256 * 1024 + 32 * MIB);

function residentBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+) kB/u.exec(status)?.[1]) * 1024;
}

/** Until two seconds have passed without a change. */
async function untilStill(value: () => number): Promise<void> {
  let last = Number.NaN;
  while (value() !== last) {
    last = value();
    await sleep(2000);
  }
}

test('fifty visitors who do not read cost an exit node what their windows hold', async (t) => {
  let sentBytes = 0;
  const flood = await startTcp(t, (socket) => {
    const piece = Buffer.alloc(64 * 1024);
    const write = (): void => {
      do sentBytes += piece.length;
      while (!socket.destroyed && socket.write(piece));
    };
    socket.on('drain', write);
    write();
  });
  const [slowPort, echoPort, echo] = [await freePort(), await freePort(), await startEcho(t)];
  const args = [
    ...['--tcp', `${slowPort}=127.0.0.1:${flood}`],
    ...['--tcp', `${echoPort}=127.0.0.1:${echo}`],
  ];
  const tunnel = await startTunnel(t, args, { shards: 1 });
  const visitor = await connectTo(t, echoPort);
  assert.equal(await echoOnce(visitor, 'before'), 'before');
  // What the start left is collected by then.
  await sleep(3000);
  const before = residentBytes(tunnel.process.pid);
  for (let index = 0; index < SLOW; index += 1) (await connectTo(t, slowPort)).pause();
  await untilStill(() => sentBytes);
  const grown = residentBytes(tunnel.process.pid) - before;
  t.diagnostic(`${SLOW} slow readers: ${Math.round(grown / MIB)} of ${sentBytes / MIB} MiB sent`);
  assert.ok(sentBytes > 2 * GROWTH_BYTES_MAX, 'far more than that was under way');
  assert.ok(grown < GROWTH_BYTES_MAX, `it grew by ${grown} bytes`);
  assert.equal(await echoOnce(visitor, 'beside'), 'beside');
});

/** Leaves a running process room for so many further descriptors. */
async function leaveDescriptors(t: TestContext, pid: number, count: number): Promise<void> {
  const limit = readdirSync(`/proc/${pid}/fd`).length + count;
  const run = await runProgram(t, {
    command: 'prlimit',
    args: ['--pid', String(pid), `--nofile=${limit}:${limit}`],
  });
  assert.equal(run.code, 0, run.stderr);
}

/** Connects; what becomes of it is not looked at. */
function knock(t: TestContext, port: number): Socket {
  const socket = connect({ port, host: '127.0.0.1' });
  socket.on('error', () => undefined);
  undoAfter(t, () => {
    socket.destroy();
  });
  return socket;
}

async function countOf(adminPort: number, name: string): Promise<number> {
  const page = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text();
  const lines = page.split('\n').filter((line) => line.startsWith(name));
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}

test('visitors beyond the last descriptor are counted, and later ones are served', async (t) => {
  if (process.platform !== 'linux') return skipOrFail(t, 'limits are set by prlimit, of Linux');
  const [port, echo] = [await freePort(), await startEcho(t)];
  const tunnel = await startTunnel(t, ['--tcp', `${port}=127.0.0.1:${echo}`], { shards: 1 });
  const early = await connectTo(t, port);
  assert.equal(await echoOnce(early, 'before'), 'before');
  await leaveDescriptors(t, tunnel.process.pid, 10);
  const visitors = Array.from({ length: 40 }, () => knock(t, port));
  await sleep(2000);
  assert.equal(await echoOnce(early, 'meanwhile'), 'meanwhile');
  for (const visitor of visitors) visitor.destroy();
  await eventually(10_000, 'they are counted', async () => {
    const errors = await countOf(tunnel.adminPort, 'sluiceway_accept_errors_total');
    assert.ok(errors > 0, `${errors} errors`);
  });
  await eventually(10_000, 'visitors are served again', async () => {
    const late = await connectTo(t, port);
    assert.equal(await echoOnce(late, 'after'), 'after');
  });
});
