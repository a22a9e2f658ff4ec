// Latencies: of a lone echo, and of requests that come at a fixed rate.
//
// Invariant: at a fixed rate, a request that has to wait for the one before it counts from the
// moment it was due (no coordinated omission); one that the generator's own timer sent late counts
// from when it was sent, for that is not the tunnel's doing. Histograms are plain JavaScript.
// Must not know: what stands behind the address.

import type { Socket } from 'node:net';
import { build, type Histogram } from 'hdr-histogram-js';
import { type LoadOptions, open, pause, WANT, warmUpMs } from './load.ts';

const ECHO = Buffer.alloc(64, 0x62);
/** As often as Node's timers can. */
const TICK_MS = 1;
const MICROSECONDS = 1000;
/** A minute: longer than any run. */
const LATENCY_MAX_US = 60_000_000;

export interface Latency {
  readonly p50Us: number;
  readonly p99Us: number;
  readonly p999Us: number;
  readonly maxUs: number;
  readonly count: number;
}

export interface PacedOptions extends LoadOptions {
  /** Messages a second over all connections. */
  readonly perSecond: number;
}

/** Echoes of 64 bytes, one at a time on each connection, as fast as they come back. */
export async function measureLoneEchoes(options: LoadOptions): Promise<Latency> {
  const histogram = newHistogram();
  const sockets = await open(options, WANT.ECHO);
  for (const socket of sockets) {
    let sentMs = 0;
    const send = (): void => {
      sentMs = performance.now();
      socket.write(ECHO);
    };
    onEcho(socket, () => {
      record(histogram, performance.now() - sentMs);
      send();
    });
    send();
  }
  return finish(options, histogram, sockets);
}

/** Echoes of 64 bytes at a fixed rate, spread over the connections. */
export async function measurePacedEchoes(options: PacedOptions): Promise<Latency> {
  const histogram = newHistogram();
  const sockets = await open(options, WANT.ECHO);
  const everyMs = (1000 * sockets.length) / options.perSecond;
  const startMs = performance.now();
  const lines = sockets.map((socket, index) => {
    const line = { socket, nextMs: startMs + (everyMs * index) / sockets.length, fromMs: 0 };
    onEcho(socket, () => {
      const nowMs = performance.now();
      record(histogram, nowMs - line.fromMs);
      line.fromMs = 0;
      if (line.nextMs <= nowMs) send(line, everyMs, line.nextMs);
    });
    return line;
  });
  const timer = setInterval(() => {
    const nowMs = performance.now();
    for (const line of lines) {
      if (line.fromMs === 0 && line.nextMs <= nowMs) send(line, everyMs, nowMs);
    }
  }, TICK_MS);
  // What is still out, or was due and could not be sent, counts as long as it has waited.
  const last = (): void => {
    const nowMs = performance.now();
    for (const { fromMs, nextMs } of lines) {
      if (fromMs === 0) continue;
      record(histogram, nowMs - fromMs);
      for (let due = nextMs; due < nowMs; due += everyMs) record(histogram, nowMs - due);
    }
  };
  try {
    return await finish(options, histogram, sockets, last);
  } finally {
    clearInterval(timer);
  }
}

interface Line {
  readonly socket: Socket;
  /** When the next message is due. */
  nextMs: number;
  /** When the one under way was due or sent; 0: none is. */
  fromMs: number;
}

function send(line: Line, everyMs: number, fromMs: number): void {
  line.fromMs = fromMs;
  line.nextMs += everyMs;
  line.socket.write(ECHO);
}

function onEcho(socket: Socket, done: () => void): void {
  let pending = ECHO.length;
  socket.on('data', (piece: Buffer) => {
    pending -= piece.length;
    if (pending > 0) return;
    pending = ECHO.length;
    done();
  });
}

async function finish(
  { ms, meter }: LoadOptions,
  histogram: Histogram,
  sockets: readonly Socket[],
  last?: () => void,
): Promise<Latency> {
  await pause(warmUpMs(ms));
  histogram.reset();
  meter?.begin();
  await pause(ms);
  last?.();
  meter?.end();
  for (const socket of sockets) {
    socket.removeAllListeners();
    socket.on('error', () => undefined);
    socket.resetAndDestroy();
  }
  const at = (part: number): number => histogram.getValueAtPercentile(part);
  return {
    p50Us: at(50),
    p99Us: at(99),
    p999Us: at(99.9),
    maxUs: histogram.maxValue,
    count: histogram.totalCount,
  };
}

function newHistogram(): Histogram {
  return build({ highestTrackableValue: LATENCY_MAX_US, numberOfSignificantValueDigits: 3 });
}

function record(histogram: Histogram, ms: number): void {
  const us = Math.round(ms * MICROSECONDS);
  histogram.recordValue(Math.min(LATENCY_MAX_US, Math.max(1, us)));
}
