// Upstreams and visitors that speak datagrams, on loopback.
//
// Invariant: sockets are closed after the test; a visitor keeps its port, and what it got in order.
// Must not know: tunnels; the same visitor works against an upstream directly.

import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import { once } from 'node:events';
import type { TestContext } from 'node:test';
import { undoAfter } from './cleanup.ts';
import { eventually, within } from './deadline.ts';

const LOOPBACK = '127.0.0.1';
const ANSWER_MS = 10_000;

export interface UdpUpstream {
  readonly port: number;
  /** Ports that datagrams came from: one a flow. */
  readonly senders: Set<number>;
  received: number;
  close(): Promise<void>;
}

type Answer = (datagram: Buffer, say: (answer: Buffer) => void) => void;

const echo: Answer = (datagram, say) => say(datagram);

/** Answers each datagram as `answer` says; by itself unless it is given. */
export async function startUdp(
  t: TestContext,
  answer: Answer = echo,
  port = 0,
  address = LOOPBACK,
): Promise<UdpUpstream> {
  const socket = dgram.createSocket('udp4');
  const close = once(socket, 'close').then(() => undefined);
  const upstream: UdpUpstream = {
    ...{ port: 0, senders: new Set<number>(), received: 0 },
    close: () => {
      socket.close();
      return close;
    },
  };
  socket.on('message', (datagram, from) => {
    upstream.received += 1;
    upstream.senders.add(from.port);
    answer(datagram, (said) => socket.send(said, from.port, from.address));
  });
  socket.bind(port, address);
  await once(socket, 'listening');
  undoAfter(t, () => endSocket(socket));
  return Object.assign(upstream, { port: socket.address().port });
}

export class UdpVisitor {
  readonly socket: dgram.Socket;
  readonly got: Buffer[] = [];
  readonly #port: number;
  readonly #host: string;

  constructor(socket: dgram.Socket, port: number, host: string) {
    this.socket = socket;
    this.#port = port;
    this.#host = host;
    socket.on('message', (datagram) => this.got.push(datagram));
  }

  send(datagram: Buffer | string): void {
    this.socket.send(datagram, this.#port, this.#host);
  }

  /** Sends one and waits for the next that comes. */
  async ask(datagram: Buffer | string): Promise<Buffer> {
    const before = this.got.length;
    this.send(datagram);
    await this.until(before + 1);
    return this.got[before] as Buffer;
  }

  async until(count: number): Promise<void> {
    const coming = eventually(ANSWER_MS, `${count} datagrams`, async () => {
      assert.ok(this.got.length >= count, `${this.got.length} came`);
    });
    await within(ANSWER_MS + 1000, `${count} datagrams`, coming);
  }
}

/** A visitor of `port` of `host`, at an address and port of its own. */
export async function visitUdp(
  t: TestContext,
  port: number,
  address = LOOPBACK,
  host = LOOPBACK,
): Promise<UdpVisitor> {
  const socket = dgram.createSocket('udp4');
  socket.bind(0, address);
  await once(socket, 'listening');
  undoAfter(t, () => endSocket(socket));
  return new UdpVisitor(socket, port, host);
}

function endSocket(socket: dgram.Socket): void {
  try {
    socket.close();
  } catch {
    // The test has closed it.
  }
}
