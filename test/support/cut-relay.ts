// A network between a client and a server that can be cut, at once or after so many bytes, and that
// can be silent for a while.
//
// Invariant: bytes pass unchanged and in order until the cut; then both sides are reset, and new
// connections are too once the network is down. What comes while it is silent passes afterwards.
// Must not know: what passes.

import { once } from 'node:events';
import net from 'node:net';
import type { TestContext } from 'node:test';
import { cutSocket } from '../../src/shard/socket-relay.ts';
import { undoAfter } from './cleanup.ts';

const LOOPBACK = '127.0.0.1';

export interface RelayOptions {
  /** Cut a connection once so many bytes have passed toward the server. */
  readonly upBytes?: number;
  /** The same toward the client. */
  readonly downBytes?: number;
}

export class CutRelay {
  readonly port: number;
  passedBytes = 0;
  readonly #pairs = new Set<readonly [net.Socket, net.Socket]>();
  readonly #silent = new Set<net.Socket>();
  #state: 'up' | 'silent' | 'down' = 'up';

  constructor(server: net.Server, target: number, options: RelayOptions) {
    const address = server.address();
    this.port = address !== null && typeof address === 'object' ? address.port : 0;
    server.on('connection', (client) => this.#join(client, target, options));
  }

  connections(): readonly object[] {
    return [...this.#pairs];
  }

  get connectionsCount(): number {
    return this.#pairs.size;
  }

  /** Cuts what is connected; what comes later passes. */
  cut(): void {
    for (const [client, upstream] of this.#pairs) {
      cutSocket(client);
      cutSocket(upstream);
    }
    this.#pairs.clear();
  }

  /** Nothing passes, of what is connected and of what comes later, until it goes up. */
  goSilent(): void {
    this.#state = 'silent';
    this.silence(this.#pairs.size);
  }

  /** The first `count` of what is connected pass nothing until it goes up; the others do. */
  silence(count: number): void {
    for (const pair of [...this.#pairs].slice(0, count)) this.#silence(pair);
  }

  /** What is connected stays so and passes nothing more, as behind a router that was restarted. */
  freeze(): void {
    for (const pair of this.#pairs) {
      for (const socket of pair) {
        socket.removeAllListeners('data');
        socket.removeAllListeners('end');
        socket.resume();
      }
    }
  }

  /** The client's side is reset and the server hears nothing, as when a router forgets a way. */
  cutClients(): void {
    this.freeze();
    for (const [client] of this.#pairs) {
      client.removeAllListeners('close');
      cutSocket(client);
    }
  }

  /** Cuts everything, now and later. */
  goDown(): void {
    this.#state = 'down';
    this.cut();
  }

  goUp(): void {
    this.#state = 'up';
    const silent = [...this.#silent];
    this.#silent.clear();
    for (const socket of silent) socket.resume();
  }

  #join(client: net.Socket, target: number, options: RelayOptions): void {
    client.on('error', ignore);
    if (this.#state === 'down') {
      cutSocket(client);
      return;
    }
    const upstream = net.connect({ port: target, host: LOOPBACK });
    upstream.on('error', ignore);
    const pair = [client, upstream] as const;
    this.#pairs.add(pair);
    const end = (): void => {
      this.#pairs.delete(pair);
      for (const socket of pair) this.#silent.delete(socket);
      client.destroy();
      upstream.destroy();
    };
    client.once('close', end);
    upstream.once('close', end);
    this.#pass(client, upstream, options.upBytes, () => this.#cutPair(pair));
    this.#pass(upstream, client, options.downBytes, () => this.#cutPair(pair));
    if (this.#state === 'silent') this.#silence(pair);
  }

  #silence(pair: readonly [net.Socket, net.Socket]): void {
    for (const socket of pair) {
      this.#silent.add(socket);
      socket.pause();
    }
  }

  #pass(from: net.Socket, to: net.Socket, bytesMax: number | undefined, onFull: () => void): void {
    let bytes = 0;
    from.on('data', (piece: Buffer) => {
      bytes += piece.length;
      this.passedBytes += piece.length;
      if (bytesMax !== undefined && bytes >= bytesMax) {
        const kept = piece.subarray(0, piece.length - (bytes - bytesMax));
        to.write(kept, onFull);
        return;
      }
      if (!to.write(piece)) from.pause();
    });
    to.on('drain', () => {
      if (!this.#silent.has(from)) from.resume();
    });
    from.on('end', () => to.end());
  }

  #cutPair(pair: readonly [net.Socket, net.Socket]): void {
    this.#pairs.delete(pair);
    for (const socket of pair) cutSocket(socket);
  }
}

/** Starts a relay to `target`, gone after the test. */
export async function startRelay(
  t: TestContext,
  target: number,
  options: RelayOptions = {},
): Promise<CutRelay> {
  const server = net.createServer({ noDelay: true });
  server.listen(0, LOOPBACK);
  await once(server, 'listening');
  const relay = new CutRelay(server, target, options);
  undoAfter(t, () => {
    server.close();
    relay.goDown();
  });
  return relay;
}

function ignore(): void {
  // A cut is what this is for.
}
