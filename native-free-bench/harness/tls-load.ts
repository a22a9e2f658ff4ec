// Load over TLS: handshakes, full and resumed, and requests on connections that stay.
//
// Owns its sockets and ends them. Ceiling: one thread of Node makes some 1,500 full handshakes a
// second, so a side that is faster is told apart by its CPU time alone. Must not know: what stands
// behind the address.

import { once } from 'node:events';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { laneOfPlace, type Place } from './lanes.ts';
import { BULK_PATH, firstOf, type LoadOptions, MB, measureRequestsOn, rate } from './load.ts';
import { HOST } from './side.ts';

export interface TlsLoadOptions extends LoadOptions {
  /** PEM of the authority to trust. */
  readonly ca: string;
}

/** Full handshakes a second, each on a connection of its own. */
export function measureFullHandshakes(options: TlsLoadOptions): Promise<number> {
  return handshakes(options, {});
}

/** Handshakes a second that resume a session; a server that does not resume is an error. */
export async function measureResumedHandshakes(options: TlsLoadOptions): Promise<number> {
  return handshakes(options, { session: await learnSession(options) });
}

/** Keep-alive requests a second over TLS; every answer has the same length. */
export async function measureSecureRequests(options: TlsLoadOptions): Promise<number> {
  return measureRequestsOn(await secureAll(options), options, HOST);
}

/** MB/s of one answer without an end on each connection. */
export async function measureSecureDownload(options: TlsLoadOptions): Promise<number> {
  const counter = { count: 0 };
  const sockets = await secureAll(options);
  for (const socket of sockets) {
    socket.on('data', (piece: Buffer) => {
      counter.count += piece.length;
    });
    socket.write(`GET ${BULK_PATH} HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
  }
  return (await rate(options, counter, sockets)) / MB;
}

async function handshakes(options: TlsLoadOptions, more: ConnectionOptions): Promise<number> {
  const counter = { count: 0 };
  let isOver = false;
  const isResumed = more.session !== undefined;
  const places = Array.from({ length: options.connections }, (): Place => ({ ended: 0 }));
  const repeat = async (place: Place): Promise<void> => {
    while (!isOver) {
      const socket = dial(options, more);
      place.socket = socket;
      await once(socket, 'secureConnect');
      if (socket.isSessionReused() !== isResumed) throw new Error('not the handshake asked for');
      counter.count += 1;
      place.ended += 1;
      socket.on('error', () => undefined);
      socket.destroy();
    }
  };
  const loops = Promise.all(places.map(repeat));
  const counted = rate(options, counter, [], places.map(laneOfPlace));
  try {
    return await Promise.race([counted, loops.then(() => 0)]);
  } finally {
    isOver = true;
    for (const { socket } of places) socket?.destroy();
  }
}

function secureAll(options: TlsLoadOptions): Promise<TLSSocket[]> {
  const opened = Array.from({ length: options.connections }, () => secure(options));
  return firstOf(Promise.all(opened), 'a connection had no handshake');
}

async function secure(options: TlsLoadOptions): Promise<TLSSocket> {
  const socket = dial(options, {});
  await once(socket, 'secureConnect');
  socket.on('error', () => socket.destroy());
  return socket;
}

function dial({ target, ca }: TlsLoadOptions, more: ConnectionOptions): TLSSocket {
  const where = { port: target.port, host: target.host ?? '127.0.0.1', noDelay: true };
  return connect({ ...where, ca, servername: HOST, ...more });
}

async function learnSession(options: TlsLoadOptions): Promise<Buffer> {
  const socket = await firstOf(secure(options), 'a connection had no handshake');
  const [session] = (await firstOf(once(socket, 'session'), 'there was no session')) as [Buffer];
  socket.destroy();
  return session;
}
