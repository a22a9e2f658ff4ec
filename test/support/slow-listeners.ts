// Ports on loopback that nobody answers until they are let: a line whose round trip is long.
//
// A thread listens and stands still, and its queues are full: the kernel drops each SYN, and takes
// the one that is sent again a second later, once the thread goes on. Invariant: what connects is
// told by its port; all has gone when the test has. Must not know: who dials. For Linux.

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { Worker } from 'node:worker_threads';
import { undoAfter } from './cleanup.ts';
import { within } from './deadline.ts';

/** The kernel queues one more than it is told to. */
const BACKLOG = 1;
const QUEUED = BACKLOG + 1;
const START_MS = 10_000;

const SOURCE = `
  const { createServer } = require('node:net');
  const { parentPort, workerData: { count, backlog, gate } } = require('node:worker_threads');
  const servers = Array.from({ length: count }, () => createServer((socket) => {
    socket.on('error', () => {});
    parentPort.postMessage(socket.localPort);
  }));
  Promise.all(servers.map((server) => new Promise((resolve) => {
    server.listen({ port: 0, host: '127.0.0.1', backlog }, () => resolve(server.address().port));
  }))).then((ports) => {
    parentPort.postMessage(ports);
    Atomics.wait(gate, 0, 0);
  });
`;

export interface SlowListeners {
  readonly ports: readonly number[];
  /** Answers from now on. */
  letIn(): void;
  /** Ports to which somebody has connected. */
  reached(): ReadonlySet<number>;
}

export async function startSlowListeners(t: TestContext, count: number): Promise<SlowListeners> {
  const gate = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(SOURCE, { eval: true, workerData: { count, backlog: BACKLOG, gate } });
  const queued: Socket[] = [];
  const letIn = (): void => {
    Atomics.store(gate, 0, 1);
    Atomics.notify(gate, 0);
  };
  undoAfter(t, async () => {
    for (const socket of queued) socket.destroy();
    letIn();
    await worker.terminate();
  });
  const [ports] = (await within(START_MS, 'ports', once(worker, 'message'))) as [number[]];
  const counts = new Map<number, number>();
  worker.on('message', (port: number) => counts.set(port, (counts.get(port) ?? 0) + 1));
  for (const port of ports) {
    for (let at = 0; at < QUEUED; at += 1) queued.push(connect(port, '127.0.0.1'));
  }
  const full = queued.map(async (socket) => await once(socket, 'connect'));
  await within(START_MS, 'full queues', Promise.all(full));
  const isReached = (port: number): boolean => (counts.get(port) ?? 0) > QUEUED;
  return { ports, letIn, reached: () => new Set(ports.filter(isReached)) };
}
