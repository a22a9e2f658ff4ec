// Load over TLS: handshakes, full and resumed, and requests on connections that stay.
//
// Owns its sockets and ends them. Ceiling: one thread of Node makes some 1,500 full handshakes a
// second, so a side that is faster is told apart by its CPU time alone. Must not know: what stands
// behind the address.

import { once } from 'node:events';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { BULK_PATH, type LoadOptions, MB, measureRequestsOn, rate } from './load.ts';
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
  const open = Array.from({ length: options.connections }, () => secure(options, {}));
  return measureRequestsOn(await Promise.all(open), options, HOST);
}

/** MB/s of one answer without an end on each connection. */
export async function measureSecureDownload(options: TlsLoadOptions): Promise<number> {
  const counter = { count: 0 };
  const opened = Array.from({ length: options.connections }, () => secure(options, {}));
  const sockets = await Promise.all(opened);
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
  const repeat = async (): Promise<void> => {
    while (!isOver) {
      const socket = await secure(options, more);
      if (socket.isSessionReused() !== isResumed) throw new Error('not the handshake asked for');
      counter.count += 1;
      socket.destroy();
    }
  };
  const loops = Promise.all(Array.from({ length: options.connections }, repeat));
  const found = await Promise.race([rate(options, counter, []), loops.then(() => 0)]);
  isOver = true;
  await loops;
  return found;
}

async function secure(options: TlsLoadOptions, more: ConnectionOptions): Promise<TLSSocket> {
  const { target, ca } = options;
  const where = { port: target.port, host: target.host ?? '127.0.0.1', noDelay: true };
  const socket = connect({ ...where, ca, servername: HOST, ...more });
  await once(socket, 'secureConnect');
  socket.on('error', () => socket.destroy());
  return socket;
}

async function learnSession(options: TlsLoadOptions): Promise<Buffer> {
  const socket = await secure(options, {});
  const [session] = (await once(socket, 'session')) as [Buffer];
  socket.destroy();
  return session;
}
