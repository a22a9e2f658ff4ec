// Latencies: of a lone echo, and of requests that come at a fixed rate.
//
// Invariant: at a fixed rate, a request that has to wait for the one before it counts from the
// moment it was due (no coordinated omission); what was due before the generator's own timer came
// counts from when it came, for that is not the tunnel's doing. What is out at the end counts as
// long as it has waited, and a connection that is lost ends the measurement with an Error. Must not
// know: what stands behind the address.

import type { Socket } from 'node:net';
import type { Histogram } from 'hdr-histogram-js';
import { type Latency, latencyOf, newHistogram, recordMs } from './histogram.ts';
import { cut, type LoadOptions, open, pause, refuseLost, WANT, warmUpMs } from './load.ts';

const ECHO = Buffer.alloc(64, 0x62);
/** As often as Node's timers can. */
const TICK_MS = 1;

export interface PacedOptions extends LoadOptions {
  /** Messages a second over all connections. */
  readonly perSecond: number;
}

/** Echoes of 64 bytes, one at a time on each connection, as fast as they come back. */
export async function measureLoneEchoes(options: LoadOptions): Promise<Latency> {
  const histogram = newHistogram();
  const sockets = await open(options, WANT.ECHO);
  const sentMs: number[] = [];
  for (const [index, socket] of sockets.entries()) {
    const send = (): void => {
      sentMs[index] = performance.now();
      socket.write(ECHO);
    };
    onEcho(socket, () => {
      recordMs(histogram, performance.now() - (sentMs[index] ?? 0));
      send();
    });
    send();
  }
  return finish(options, histogram, sockets, () => {
    const nowMs = performance.now();
    for (const fromMs of sentMs) recordMs(histogram, nowMs - fromMs);
  });
}

/** Echoes of 64 bytes at a fixed rate, spread over the connections. */
export async function measurePacedEchoes(options: PacedOptions): Promise<Latency> {
  const histogram = newHistogram();
  const sockets = await open(options, WANT.ECHO);
  const everyMs = (1000 * sockets.length) / options.perSecond;
  const startMs = performance.now();
  const lines = sockets.map((socket, index) => {
    const nextMs = startMs + (everyMs * index) / sockets.length;
    const line: Line = { socket, nextMs, wokenMs: 0, fromMs: 0 };
    onEcho(socket, () => {
      const nowMs = performance.now();
      recordMs(histogram, nowMs - line.fromMs);
      line.fromMs = 0;
      if (line.nextMs <= nowMs) send(line, everyMs, Math.max(line.nextMs, line.wokenMs));
    });
    return line;
  });
  const timer = setInterval(() => {
    const nowMs = performance.now();
    for (const line of lines) {
      if (line.fromMs !== 0 || line.nextMs > nowMs) continue;
      line.wokenMs = nowMs;
      send(line, everyMs, nowMs);
    }
  }, TICK_MS);
  // What is still out, or was due and could not be sent, counts as long as it has waited.
  const last = (): void => {
    const nowMs = performance.now();
    for (const { fromMs, nextMs, wokenMs } of lines) {
      if (fromMs === 0) continue;
      recordMs(histogram, nowMs - fromMs);
      for (let due = nextMs; due < nowMs; due += everyMs) {
        recordMs(histogram, nowMs - Math.max(due, wokenMs));
      }
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
  /** When the timer last found it idle: what was due before was late without the tunnel. */
  wokenMs: number;
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
  last: () => void,
): Promise<Latency> {
  try {
    await pause(warmUpMs(ms));
    histogram.reset();
    meter?.begin();
    await pause(ms);
    last();
    meter?.end();
    refuseLost(sockets);
    return latencyOf(histogram);
  } finally {
    for (const socket of sockets) cut(socket);
  }
}
