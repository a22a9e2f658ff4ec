// Load over TLS: handshakes, full and resumed, and requests on connections that stay.
//
// Owns its sockets and ends them. Ceiling: one thread of Node makes some 1,500 full handshakes a
// second, so a side that is faster is told apart by its CPU time alone. Must not know: what stands
// behind the address.

import { once } from 'node:events';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { type LoadOptions, pause, warmUpMs } from './load.ts';
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
  const counter = { count: 0 };
  const request = Buffer.from(`GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
  const open = Array.from({ length: options.connections }, () => secure(options, {}));
  const sockets = await Promise.all(open);
  const [first] = sockets;
  if (first === undefined) return 0;
  const answerBytes = await probe(first, request);
  for (const socket of sockets) {
    let pending = answerBytes;
    socket.on('data', (piece: Buffer) => {
      pending -= piece.length;
      if (pending > 0) return;
      pending = answerBytes;
      counter.count += 1;
      socket.write(request);
    });
    socket.write(request);
  }
  const rate = await counted(options, counter);
  for (const socket of sockets) socket.removeAllListeners('data').destroy();
  return rate;
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
  const rate = await Promise.race([counted(options, counter), loops.then(() => 0)]);
  isOver = true;
  await loops;
  return rate;
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

async function probe(socket: TLSSocket, request: Buffer): Promise<number> {
  socket.write(request);
  let answer = '';
  for (;;) {
    const [piece] = (await once(socket, 'data')) as [Buffer];
    answer += piece.toString('latin1');
    const head = answer.indexOf('\r\n\r\n');
    const length = Number(/content-length: (\d+)/i.exec(answer)?.[1] ?? -1);
    if (head !== -1 && length >= 0 && answer.length >= head + 4 + length) return answer.length;
  }
}

async function counted(
  { ms, meter, warmUpMs: warmMs = warmUpMs(ms) }: LoadOptions,
  counter: { count: number },
): Promise<number> {
  await pause(warmMs);
  meter?.begin();
  const startCount = counter.count;
  const startMs = performance.now();
  await pause(ms);
  const seconds = (performance.now() - startMs) / 1000;
  meter?.end();
  return (counter.count - startCount) / seconds;
}
