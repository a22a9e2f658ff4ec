// Load as many slow lines bring it: on each connection a small piece every few milliseconds.
//
// What a line of 1 Gbit/s delivers between two looks of a loop is a few packets a connection, where
// loopback delivers as much as one reads. The rate is the pace's; what is measured is its cost.
//
// Owns no socket: those of a feed leave it when they close. Invariant: a piece is due at its time
// whether the timer was late or not, and a connection that takes nothing is given nothing. Must not
// know: who reads.

import type { Socket } from 'node:net';
import { type LoadOptions, MB, open, rate, readCheaply, WANT } from './load.ts';

export interface Pace {
  readonly pieceBytes: number;
  readonly everyMs: number;
}

/** A fetch of many large objects, and a segment of Ethernet at a time. */
export const PIECES: Pace = { pieceBytes: 8 * 1024, everyMs: 2 };
export const SEGMENTS: Pace = { pieceBytes: 1400, everyMs: 2 };

/** What a connection says to be fed at a pace by the origin. */
export function lineWant({ pieceBytes, everyMs }: Pace): string {
  return `${WANT.LINE}${pieceBytes}/${everyMs}`;
}

/** The pace that `want` asks for. */
export function readLineWant(want: string): Pace {
  const [pieceBytes = 0, everyMs = 0] = want.slice(1).split('/').map(Number);
  if (!(pieceBytes > 0 && everyMs > 0)) throw new Error(`no pace: ${want}`);
  return { pieceBytes, everyMs };
}

/** Writes to each of its sockets at one pace. */
export class LineFeed {
  readonly #everyMs: number;
  readonly #piece: Buffer;
  readonly #sockets = new Set<Socket>();
  readonly #timer: NodeJS.Timeout;
  #paidMs = performance.now();
  sentBytes = 0;

  constructor({ pieceBytes, everyMs }: Pace) {
    this.#everyMs = everyMs;
    this.#piece = Buffer.alloc(pieceBytes, 0x64);
    this.#timer = setInterval(() => this.#feed(), everyMs);
  }

  add(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #feed(): void {
    const nowMs = performance.now();
    for (; nowMs - this.#paidMs >= this.#everyMs; this.#paidMs += this.#everyMs) {
      for (const socket of this.#sockets) {
        if (socket.writableLength > 0) continue;
        socket.write(this.#piece);
        this.sentBytes += this.#piece.length;
      }
    }
  }
}

/** MB/s that arrive from an origin which sends at `pace` on each connection. */
export async function measureLinesDown(options: LoadOptions, pace: Pace): Promise<number> {
  const counter = { count: 0 };
  const sockets = await open(options, lineWant(pace));
  for (const socket of sockets) {
    readCheaply(socket, (bytes) => {
      counter.count += bytes;
    });
  }
  return (await rate(options, counter, sockets)) / MB;
}

/**
 * MB/s that connections took, sent from here at `pace` on each, to an origin that reads: what did
 * not get through holds up what comes behind it.
 */
export async function measureLinesUp(options: LoadOptions, pace: Pace): Promise<number> {
  const feed = new LineFeed(pace);
  const sockets = await open(options, WANT.UPLOAD);
  for (const socket of sockets) {
    socket.resume();
    feed.add(socket);
  }
  const counter = {
    get count(): number {
      return feed.sentBytes;
    },
  };
  try {
    return (await rate(options, counter, sockets)) / MB;
  } finally {
    feed.stop();
  }
}
