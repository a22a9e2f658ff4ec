// Small upstreams and visitors of a test's own: HTTP and TCP servers on loopback, raw sockets.
//
// Invariant: servers and sockets are gone after the test, with every connection. Must not know:
// tunnels; the same functions work against an upstream directly.

import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import type { TestContext } from 'node:test';
import { undoAfter } from './cleanup.ts';
import { within } from './deadline.ts';

const LOOPBACK = '127.0.0.1';
const ANSWER_MS = 20_000;

/** An HTTP server on a free port; gives the port. */
export async function startHttp(
  t: TestContext,
  answer: (request: http.IncomingMessage, response: http.ServerResponse) => void,
): Promise<number> {
  const server = http.createServer(answer);
  undoAfter(t, () => {
    server.closeAllConnections();
    server.close();
  });
  return await listen(server);
}

/** A TCP server on a free port, half-open sockets allowed; gives the port. */
export async function startTcp(
  t: TestContext,
  serve: (socket: net.Socket) => void,
): Promise<number> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => {
      // A visitor that was cut: the test looks at its own end.
    });
    serve(socket);
  });
  undoAfter(t, () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return await listen(server);
}

/** A TCP server that sends back what it gets. */
export function startEcho(t: TestContext): Promise<number> {
  return startTcp(t, (socket) => socket.pipe(socket));
}

async function listen(server: net.Server): Promise<number> {
  server.listen(0, LOOPBACK);
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('not a TCP server');
  return address.port;
}

/** A connected visitor socket, gone after the test. */
export async function connectTo(t: TestContext, port: number): Promise<net.Socket> {
  const socket = net.connect({ port, host: LOOPBACK, allowHalfOpen: true });
  undoAfter(t, () => {
    socket.destroy();
  });
  await within(ANSWER_MS, `connected to port ${port}`, once(socket, 'connect'));
  socket.on('error', () => {
    // Cut by the other side: tests look at 'close'.
  });
  return socket;
}

/** Sends bytes and reads as many back; throws when the connection ends first. */
export async function echoBytes(socket: net.Socket, bytes: Buffer): Promise<Buffer> {
  const answer = new Promise<Buffer>((resolve, reject) => {
    const pieces: Buffer[] = [];
    let got = 0;
    const onData = (piece: Buffer): void => {
      pieces.push(piece);
      got += piece.length;
      if (got < bytes.length) return;
      socket.off('data', onData).off('close', onClose);
      resolve(Buffer.concat(pieces));
    };
    const onClose = (): void => reject(new Error(`closed after ${got} of ${bytes.length} bytes`));
    socket.on('data', onData).once('close', onClose);
    if (socket.destroyed) onClose();
  });
  socket.write(bytes);
  return await within(ANSWER_MS, 'an echo', answer);
}

/** The same with a text. */
export async function echoOnce(socket: net.Socket, text: string): Promise<string> {
  return (await echoBytes(socket, Buffer.from(text))).toString();
}

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

export interface Request {
  readonly port: number;
  readonly host: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** The response to a GET once its head is there; its body is the caller's. */
export async function openGet(t: TestContext, wanted: Request): Promise<http.IncomingMessage> {
  const request = http.get({
    ...{ host: LOOPBACK, port: wanted.port, path: wanted.path ?? '/', agent: false },
    headers: { ...wanted.headers, host: wanted.host },
  });
  undoAfter(t, () => {
    request.destroy();
  });
  const responded = once(request, 'response') as Promise<[http.IncomingMessage]>;
  const [response] = await within(ANSWER_MS, `a response for ${wanted.host}`, responded);
  request.on('error', () => {
    // Cut behind the head: who reads the body sees it.
  });
  response.on('error', () => {
    // The same.
  });
  return response;
}

export async function bodyOf(response: http.IncomingMessage): Promise<string> {
  let body = '';
  for await (const piece of response.setEncoding('latin1')) body += String(piece);
  return body;
}

/** A whole GET on a connection of its own. */
export async function get(t: TestContext, wanted: Request): Promise<Answer> {
  const response = await openGet(t, wanted);
  const body = await within(ANSWER_MS, `a body for ${wanted.host}`, bodyOf(response));
  return { status: response.statusCode ?? 0, headers: response.headers, body };
}

export interface RawOptions {
  /** True to end our side behind the bytes. */
  readonly halfClose?: boolean;
}

/** Writes `bytes` to a port and gives what came back until the other side closed. */
export async function sendRaw(
  port: number,
  bytes: Uint8Array,
  options: RawOptions = {},
): Promise<string> {
  const socket = net.connect({ port, host: LOOPBACK });
  let got = '';
  socket.on('data', (piece) => {
    got += piece.toString('latin1');
  });
  socket.on('error', () => {
    // A refusal and a reset are ways of closing.
  });
  const closed = new Promise((resolve) => socket.once('close', resolve));
  if (options.halfClose) socket.end(bytes);
  else socket.write(bytes);
  try {
    await within(ANSWER_MS, `port ${port} closes`, closed);
  } finally {
    socket.destroy();
  }
  return got;
}
