// A line between a client and a server: so many bytes a second each way, and so long.
//
//   from --read--> kept (bounded) --rate, every few ms--> under way, delayMs --> to
//
// Invariant: bytes pass unchanged and in order; in each direction all connections share the rate.
// Before it are the system's own buffers, as before any line. Must not know: what passes.

import { once } from 'node:events';
import net from 'node:net';
import type { TestContext } from 'node:test';
import { undoAfter } from './cleanup.ts';

const LOOPBACK = '127.0.0.1';
const ROUND_MS = 5;
/** What the relay itself keeps of a connection; beyond it reads stop. */
const KEPT_BYTES_MAX = 32 * 1024;

export interface SlowRelayOptions {
  readonly bytesPerSecond: number;
  /** One way. */
  readonly delayMs: number;
}

export class SlowRelay {
  readonly port: number;
  readonly #pairs = new Set<readonly [net.Socket, net.Socket]>();
  /** Toward the server, and toward the client. */
  readonly up: Direction;
  readonly down: Direction;

  constructor(server: net.Server, target: number, options: SlowRelayOptions) {
    const address = server.address();
    this.port = address !== null && typeof address === 'object' ? address.port : 0;
    this.up = new Direction(options);
    this.down = new Direction(options);
    server.on('connection', (client) => this.#join(client, target));
  }

  close(): void {
    this.up.close();
    this.down.close();
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
  }

  #join(client: net.Socket, target: number): void {
    const to = { port: target, host: LOOPBACK };
    const server = net.connect({ ...to, noDelay: true, allowHalfOpen: true });
    const pair = [client, server] as const;
    this.#pairs.add(pair);
    for (const socket of pair) {
      socket.on('error', () => {
        // A reset, which the other side is to see as well.
        client.destroy();
        server.destroy();
      });
      socket.once('close', () => {
        if (client.destroyed && server.destroyed) this.#pairs.delete(pair);
      });
    }
    this.up.add(client, server);
    this.down.add(server, client);
  }
}

interface Kept {
  readonly from: net.Socket;
  readonly to: net.Socket;
  readonly bytes: Buffer;
  readonly isEnd: boolean;
}

class Direction {
  passedBytes = 0;
  readonly #bytesPerMs: number;
  readonly #delayMs: number;
  readonly #kept: Kept[] = [];
  #keptBytes = 0;
  #wasEmpty = true;
  #budgetBytes = 0;
  #roundMs = performance.now();
  readonly #timer: NodeJS.Timeout;
  readonly #sources = new Set<net.Socket>();

  constructor({ bytesPerSecond, delayMs }: SlowRelayOptions) {
    this.#bytesPerMs = bytesPerSecond / 1000;
    this.#delayMs = delayMs;
    this.#timer = setInterval(() => this.#passRound(), ROUND_MS);
  }

  add(from: net.Socket, to: net.Socket): void {
    this.#sources.add(from);
    from.once('close', () => this.#sources.delete(from));
    from.once('end', () => this.#kept.push({ from, to, bytes: Buffer.alloc(0), isEnd: true }));
    from.on('data', (bytes: Buffer) => {
      this.#kept.push({ from, to, bytes, isEnd: false });
      this.#keptBytes += bytes.length;
      if (this.#keptBytes >= KEPT_BYTES_MAX) from.pause();
    });
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #passRound(): void {
    const nowMs = performance.now();
    const newBytes = (nowMs - this.#roundMs) * this.#bytesPerMs;
    this.#roundMs = nowMs;
    // An empty line saves nothing up.
    this.#budgetBytes = this.#wasEmpty ? newBytes : this.#budgetBytes + newBytes;
    while (this.#budgetBytes >= 1) {
      const first = this.#kept[0];
      if (first === undefined) break;
      this.#pass(first, Math.min(Math.floor(this.#budgetBytes), first.bytes.length));
    }
    this.#wasEmpty = this.#kept.length === 0;
    if (this.#keptBytes < KEPT_BYTES_MAX) for (const from of this.#sources) from.resume();
  }

  #pass({ from, to, bytes, isEnd }: Kept, count: number): void {
    if (count === bytes.length) this.#kept.shift();
    else this.#kept[0] = { from, to, bytes: bytes.subarray(count), isEnd };
    this.#keptBytes -= count;
    this.#budgetBytes -= count;
    this.passedBytes += count;
    const part = bytes.subarray(0, count);
    setTimeout(() => {
      if (to.destroyed) return;
      if (isEnd) to.end();
      else to.write(part);
    }, this.#delayMs);
  }
}

/** Starts a line to `target`, gone after the test. */
export async function startSlowRelay(
  t: TestContext,
  target: number,
  options: SlowRelayOptions,
): Promise<SlowRelay> {
  const server = net.createServer({ noDelay: true, allowHalfOpen: true });
  server.listen(0, LOOPBACK);
  await once(server, 'listening');
  const relay = new SlowRelay(server, target, options);
  undoAfter(t, () => {
    server.close();
    relay.close();
  });
  return relay;
}
