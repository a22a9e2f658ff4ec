// Load on one address, for a given time: bulk each way, echoes, and HTTP requests.
//
// Owns its sockets and ends them. Each function opens connections, warms up, then counts for
// `ms`, and returns a rate. Invariant: what was not answered rightly is no part of a rate: a
// connection that is lost, or stands still all the time, or an answer other than a whole 200 ends
// the measurement with an Error. Must not know: what stands behind the address.

import { connect, type Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import autocannon from 'autocannon';
import { readPool } from '../../src/base/read-pool.ts';
import { SocketReads } from '../../src/link/socket-reads.ts';
import { type Lane, laneOf, laneOfPlace, type Place, watchLanes } from './lanes.ts';
import { pour } from './pour.ts';

export interface Target {
  readonly port: number;
  readonly host?: string;
  /** Opens the connections in a way of its own; ends of streams are as they come. */
  readonly dial?: (connections: number) => Promise<Socket[]>;
}

/** Load that is not counted, before a measurement of `ms`. */
export function warmUpMs(ms: number): number {
  return Math.min(ms, WARM_UP_MS_MAX);
}

export interface LoadOptions {
  readonly target: Target;
  readonly connections: number;
  readonly ms: number;
  /** Load that is not counted before `ms`; half a second at most when left out. */
  readonly warmUpMs?: number;
  /** Connections that stand still are what is measured, and no error. */
  readonly mayStandStill?: boolean;
  /** Told when counting begins and ends, to measure the same time in another way. */
  readonly meter?: Meter;
}

export interface Meter {
  begin(): void;
  end(): void;
}

const WARM_UP_MS_MAX = 500;
/** Whoever needs longer for a first answer is as good as silent; a guess. */
const FIRST_MS_MAX = 10_000;
/** One write in ten of 64 KiB ones, and a third of their CPU time. */
const UPLOAD_CHUNK = Buffer.alloc(1024 * 1024, 0x61);
const ECHO = Buffer.alloc(64, 0x62);
const OK_START = 'HTTP/1.1 200 ';
export const MB = 1e6;

/** First byte a raw connection sends: what the origin shall do; after patience, the next says. */
export const WANT = { DOWNLOAD: 'd', UPLOAD: 'u', ECHO: 'e', PATIENCE: 'p', LINE: 'l' } as const;

/** Of the HTTP origin: an answer that does not end. */
export const BULK_PATH = '/bulk';

/** MB/s received over all connections. */
export async function measureDownload(options: LoadOptions): Promise<number> {
  const counter = { count: 0 };
  const sockets = await open(options, WANT.DOWNLOAD);
  for (const socket of sockets) {
    readCheaply(socket, (bytes) => {
      counter.count += bytes;
    });
  }
  return (await rate(options, counter, sockets)) / MB;
}

/**
 * Reads a socket and keeps nothing, as the program reads its own: what a load costs takes the cores
 * from what is measured, and `data` events of 64 KiB cost three times as much.
 */
export function readCheaply(socket: Socket, onBytes: (bytes: number, piece: Buffer) => void): void {
  const onRead = (piece: Buffer): void => {
    onBytes(piece.length, piece);
    readPool.release(piece, piece.length);
  };
  new SocketReads(socket, { onRead });
}

/** MB/s that arrive at the origin, which answers each MB with one byte. */
export async function measureUpload(options: LoadOptions): Promise<number> {
  const counter = { count: 0 };
  const sockets = await open(options, WANT.UPLOAD);
  for (const socket of sockets) {
    socket.on('data', (piece: Buffer) => {
      counter.count += piece.length * MB;
    });
    pour(socket, UPLOAD_CHUNK);
  }
  return (await rate(options, counter, sockets)) / MB;
}

/** Round trips of 64 bytes a second over all connections, one at a time on each. */
export async function measureEchoes(options: LoadOptions): Promise<number> {
  const counter = { count: 0 };
  const sockets = await open(options, WANT.ECHO);
  for (const socket of sockets) {
    let pending = ECHO.length;
    readCheaply(socket, (bytes) => {
      pending -= bytes;
      if (pending > 0) return;
      pending = ECHO.length;
      counter.count += 1;
      socket.write(ECHO);
    });
    socket.write(ECHO);
  }
  return rate(options, counter, sockets);
}

/** Keep-alive requests a second; all answers are as long as the first one. */
export async function measureRequests(options: LoadOptions, host: string): Promise<number> {
  return measureRequestsOn(await open(options, ''), options, host);
}

/** The same on connections that are there, which it ends. */
export async function measureRequestsOn(
  sockets: Socket[],
  options: LoadOptions,
  host: string,
): Promise<number> {
  const counter = { count: 0 };
  const request = Buffer.from(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  const answerBytes = await probeAnswer(sockets[0] as Socket, request);
  for (const socket of sockets) {
    let pending = answerBytes;
    readCheaply(socket, (bytes, piece) => {
      if (pending === answerBytes && !isWell(piece)) socket.destroy();
      pending -= bytes;
      if (pending > 0) return;
      pending = answerBytes;
      counter.count += 1;
      socket.write(request);
    });
    socket.write(request);
  }
  return rate(options, counter, sockets);
}

/** Keep-alive requests a second by autocannon, a generator that is not ours. */
export async function measureByAutocannon(options: LoadOptions, host: string): Promise<number> {
  const { target, connections, ms, meter } = options;
  const answered = new Set<unknown>();
  meter?.begin();
  const result = await autocannon({
    setupClient: (client) => client.once('response', () => answered.add(client)),
    url: `http://${address(target).host}:${target.port}/`,
    headers: { host },
    connections,
    duration: Math.max(1, Math.round(ms / 1000)),
  });
  meter?.end();
  if (result.errors + result.non2xx > 0) throw new Error('autocannon met errors');
  const silent = connections - answered.size;
  if (silent > 0) throw new Error(`${silent} of ${connections} connections stood still`);
  return result['2xx'] / result.duration;
}

/** Requests a second with a new connection each. */
export async function measureConnects(options: LoadOptions, host: string): Promise<number> {
  const counter = { count: 0 };
  const failed = { count: 0 };
  const request = `GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;
  const probe = await dialOne(options.target);
  const answerBytes = await probeAnswer(probe, Buffer.from(request));
  probe.destroy();
  const places = Array.from({ length: options.connections }, (): Place => ({ ended: 0 }));
  let isOver = false;
  const run = (place: Place): void => {
    if (isOver) return;
    const socket = connect({ ...address(options.target), noDelay: true });
    place.socket = socket;
    socket.on('error', () => socket.destroy());
    let bytes = 0;
    let isWhole = false;
    socket.on('data', (piece: Buffer) => {
      if (bytes === 0 && !isWell(piece)) socket.destroy();
      bytes += piece.length;
    });
    socket.on('end', () => {
      isWhole = bytes === answerBytes;
    });
    socket.on('close', () => {
      (isWhole ? counter : failed).count += 1;
      place.ended += 1;
      run(place);
    });
    socket.write(request);
  };
  places.forEach(run);
  try {
    const result = await rate(options, counter, [], places.map(laneOfPlace));
    if (failed.count > 0) throw new Error(`${failed.count} requests had no whole answer of 200`);
    return result;
  } finally {
    isOver = true;
    for (const { socket } of places) socket?.destroy();
  }
}

/** Does an answer begin like one of 200? */
function isWell(piece: Buffer): boolean {
  return piece.toString('latin1', 0, OK_START.length) === OK_START;
}

function probeAnswer(socket: Socket, request: Buffer): Promise<number> {
  const answered = new Promise<number>((resolve, reject) => {
    const onClose = (): void => reject(new Error('the first request had no answer'));
    socket.once('close', onClose);
    let answer = '';
    const onData = (piece: Buffer): void => {
      answer += piece.toString('latin1');
      const head = answer.indexOf('\r\n\r\n');
      const length = Number(/content-length: (\d+)/i.exec(answer)?.[1] ?? -1);
      if (head === -1 || answer.length < head + 4 + length) return;
      socket.off('data', onData);
      socket.off('close', onClose);
      if (answer.startsWith(OK_START)) resolve(answer.length);
      else reject(new Error(`the first answer is ${answer.slice(0, answer.indexOf('\r'))}`));
    };
    socket.on('data', onData);
    socket.write(request);
  });
  return firstOf(answered, 'the first request had no answer');
}

/** What comes before a rate can be counted; it must come in time. */
export async function firstOf<T>(event: Promise<T>, complaint: string): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(new Error(`${complaint} within ${FIRST_MS_MAX / 1000} s`)),
    FIRST_MS_MAX,
  );
  try {
    return await Promise.race([event, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Connections that have said what they want; they are the caller's to end. */
export async function open(
  { target, connections }: Pick<LoadOptions, 'target' | 'connections'>,
  want: string,
): Promise<Socket[]> {
  const dial = target.dial ?? ((count: number) => dialAll(target, count));
  const sockets = await dial(connections);
  if (want !== '') for (const socket of sockets) socket.write(want);
  return sockets;
}

function dialAll(target: Target, count: number): Promise<Socket[]> {
  return Promise.all(Array.from({ length: count }, () => dialOne(target)));
}

/** One connection; from another address of loopback where `localAddress` says so. */
export function dialOne(target: Target, localAddress?: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const from = localAddress === undefined ? {} : { localAddress };
    const socket = connect({ ...address(target), ...from, noDelay: true }, () => resolve(socket));
    socket.once('error', reject);
  });
}

function address({ host = '127.0.0.1', port }: Target): { host: string; port: number } {
  return { host, port };
}

/**
 * Counts of `counter` a second, after the warm-up; ends `sockets`, of which none may be lost, and
 * none stand still.
 */
export async function rate(
  { ms, meter, warmUpMs: warmMs = warmUpMs(ms), mayStandStill = false }: LoadOptions,
  counter: { count: number },
  sockets: Socket[],
  lanes: readonly Lane[] = sockets.map(laneOf),
): Promise<number> {
  try {
    await pause(warmMs);
    const checkLanes = watchLanes(mayStandStill ? [] : lanes);
    meter?.begin();
    const startCount = counter.count;
    const startMs = performance.now();
    await pause(ms);
    const count = counter.count - startCount;
    const seconds = (performance.now() - startMs) / 1000;
    meter?.end();
    refuseLost(sockets);
    await checkLanes();
    return count / seconds;
  } finally {
    for (const socket of sockets) cut(socket);
  }
}

/** Throws where one of them has ended. */
export function refuseLost(sockets: readonly Socket[]): void {
  const lost = sockets.filter((socket) => socket.destroyed || socket.readableEnded).length;
  if (lost > 0) throw new Error(`${lost} of ${sockets.length} connections were lost, or refused`);
}

export function cut(socket: Socket): void {
  socket.removeAllListeners();
  socket.on('error', () => undefined);
  if (socket instanceof TLSSocket) socket.destroy();
  else socket.resetAndDestroy();
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
