// Load on a TCP service: echoes of 64 bytes, or bulk that it sends or swallows.
//
// Invariant: a connection that ends is a failure, and is dialled again after a pause; an echo is
// the bytes that were sent, no others and no more; nothing is asked of the service but what the
// name of the load says. Uploads count what the system took, since a service that swallows says
// nothing. Must not know: rounds, reports.

import { connect, type Socket } from 'node:net';
import { pour } from '../harness/pour.ts';
import { ANSWER_MS_MAX, reasonOf, SilentError } from './http-load.ts';
import { type PacedLine, startPace } from './paced-line.ts';
import type { Running, TargetLoad } from './running.ts';
import type { Tally } from './tally.ts';

const ECHO = Buffer.alloc(64, 0x62);
const CHUNK = Buffer.alloc(64 * 1024, 0x61);
const RETRY_MS = 100;

export function startTcp(load: TargetLoad, tally: Tally): Running {
  return load.load === 'echo' ? startEchoes(load, tally) : startBulk(load, tally);
}

function startEchoes(load: TargetLoad, tally: Tally): Running {
  const { connections, perSecond } = load;
  const echoes = Array.from({ length: connections }, () => new EchoConnection(load.url, tally));
  const pace = startPace({
    ...{ connections, perSecond, tally },
    send: (index, line) => echoes[index]?.send(line),
  });
  return {
    tellOut: pace.stop,
    stop: async () => {
      for (const echo of echoes) echo.close();
    },
  };
}

/** One connection, opened when it has something to send. */
class EchoConnection {
  readonly #url: URL;
  readonly #tally: Tally;
  #socket: Socket | undefined;
  #line: PacedLine | undefined;
  #pending = 0;

  constructor(url: URL, tally: Tally) {
    this.#url = url;
    this.#tally = tally;
  }

  send(line: PacedLine): void {
    this.#line = line;
    this.#pending = ECHO.length;
    this.#socket ??= this.#open();
    this.#socket.write(ECHO);
  }

  close(): void {
    this.#line = undefined;
    this.#socket?.destroy();
  }

  #open(): Socket {
    const socket = dial(this.#url);
    let reason = 'closed';
    socket.setTimeout(ANSWER_MS_MAX, () => {
      if (this.#line !== undefined) socket.destroy(new SilentError());
    });
    socket.on('error', (error) => {
      reason = reasonOf(error);
    });
    socket.on('data', (piece: Buffer) => {
      this.#tally.moved(piece.length);
      const wrong = wrongIn(piece, this.#pending);
      this.#pending -= piece.length;
      // Of what came behind an echo nobody waits to be told.
      if (wrong !== undefined && this.#line === undefined) this.#tally.failed(wrong);
      if (wrong !== undefined) socket.destroy(new Error(wrong));
      else if (this.#pending === 0) this.#settle()?.answered();
    });
    socket.on('end', () => socket.destroy());
    socket.on('close', () => {
      // Without a message under way it is opened again for the next one.
      this.#socket = undefined;
      this.#settle()?.failed(reason);
    });
    return socket;
  }

  #settle(): PacedLine | undefined {
    const line = this.#line;
    this.#line = undefined;
    return line;
  }
}

/** What is wrong with bytes that came back, where `pending` of an echo are to come. */
function wrongIn(piece: Buffer, pending: number): string | undefined {
  if (piece.length > pending) return 'more came back than was sent';
  return ECHO.subarray(0, piece.length).equals(piece) ? undefined : 'something else came back';
}

function startBulk({ url, load, connections }: TargetLoad, tally: Tally): Running {
  /** With when its last bytes moved. */
  const sockets = new Map<Socket, number>();
  const timers = new Set<NodeJS.Timeout>();
  let isStopped = false;
  const open = (): void => {
    const socket = dial(url);
    const onMoved = (bytes: number): void => {
      sockets.set(socket, performance.now());
      tally.moved(bytes);
    };
    sockets.set(socket, performance.now());
    let reason = 'closed';
    socket.on('error', (error) => {
      reason = reasonOf(error);
    });
    socket.on('end', () => socket.destroy());
    socket.on('close', () => {
      sockets.delete(socket);
      if (isStopped) return;
      tally.failed(reason);
      const timer = setTimeout(() => {
        timers.delete(timer);
        open();
      }, RETRY_MS);
      timers.add(timer);
    });
    if (load === 'download') socket.on('data', (piece: Buffer) => onMoved(piece.length));
    else upload(socket, onMoved);
  };
  for (let index = 0; index < connections; index += 1) open();
  return {
    tellOut: () => {
      for (const atMs of sockets.values()) tally.lastMoved(atMs);
    },
    stop: async () => {
      isStopped = true;
      for (const timer of timers) clearTimeout(timer);
      for (const socket of sockets.keys()) socket.destroy();
    },
  };
}

function upload(socket: Socket, onMoved: (bytes: number) => void): void {
  // What comes back is thrown away, or the service would stall.
  socket.resume();
  const onTaken = (error?: Error | null): void => {
    if (error === undefined || error === null) onMoved(CHUNK.length);
  };
  socket.once('connect', () => pour(socket, CHUNK, onTaken));
}

function dial(url: URL): Socket {
  return connect({ host: hostOf(url), port: Number(url.port), noDelay: true });
}

/** A URL has brackets around IPv6, a socket has none. */
function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[|\]$/gu, '');
}

/** Resolves when the service does what the load needs, to begin with. */
export function probeTcp({ url, load }: TargetLoad): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = dial(url);
    socket.setTimeout(ANSWER_MS_MAX, () => socket.destroy(new SilentError()));
    socket.once('connect', () => {
      if (load === 'echo') socket.write(ECHO);
      if (load === 'upload') finish();
    });
    let got = 0;
    socket.on('data', (piece: Buffer) => {
      const wrong = load === 'echo' ? wrongIn(piece, ECHO.length - got) : undefined;
      got += piece.length;
      if (wrong !== undefined) socket.destroy(new Error(wrong));
      else if (load === 'download' || got === ECHO.length) finish();
    });
    const finish = (): void => {
      socket.destroy();
      resolve();
    };
    socket.on('error', reject);
    socket.on('end', () => socket.destroy());
    socket.on('close', () => reject(new Error('closed before anything came')));
  });
}
