// Two ends of a TCP connection over loopback, half-open allowed, as listeners and dials make them.
//
// Invariant: both are gone after the test. Must not know: who uses them.

import { once } from 'node:events';
import net from 'node:net';
import type { TestContext } from 'node:test';
import { undoAfter } from '../support/cleanup.ts';
import { within } from '../support/deadline.ts';

export interface SocketPair {
  /** The accepted one. */
  readonly ours: net.Socket;
  /** Whoever is at the other end; its errors are looked at by `endOf`. */
  readonly theirs: net.Socket;
}

const EVENT_MS = 10_000;

export async function createSocketPair(t: TestContext): Promise<SocketPair> {
  const server = net.createServer({ allowHalfOpen: true, noDelay: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  const accepted = once(server, 'connection') as Promise<[net.Socket]>;
  const theirs = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
  const [[ours]] = await within(
    EVENT_MS,
    'a pair',
    Promise.all([accepted, once(theirs, 'connect')]),
  );
  server.close();
  theirs.on('error', () => {
    // Looked at by endOf.
  });
  undoAfter(t, () => {
    ours.destroy();
    theirs.destroy();
  });
  return { ours, theirs };
}

/** Reads to the end: what came, and whether FIN or which error ended it. */
export function endOf(socket: net.Socket): Promise<{ how: string; bytes: Buffer }> {
  const pieces: Buffer[] = [];
  const ended = new Promise<{ how: string; bytes: Buffer }>((resolve) => {
    const end = (how: string): void => resolve({ how, bytes: Buffer.concat(pieces) });
    socket.on('data', (piece: Buffer) => pieces.push(piece));
    socket.once('end', () => end('FIN'));
    socket.once('error', (error: NodeJS.ErrnoException) => end(error.code ?? 'unknown'));
    socket.resume();
  });
  return within(EVENT_MS, 'the socket ends', ended);
}

/** Waits for one event; an error on the way to it is no failure. */
export function eventOf(socket: net.Socket, name: string): Promise<void> {
  const seen = new Promise<void>((resolve) => socket.once(name, () => resolve()));
  return within(EVENT_MS, `'${name}'`, seen);
}
