// Node's own parser (llhttp, strict) as the other opinion: bytes in, what it read out.

import {
  type ClientRequest,
  createServer,
  type IncomingMessage,
  request,
  type Server,
} from 'node:http';
import { Duplex } from 'node:stream';

export interface OtherRequest {
  readonly method: string;
  readonly target: string;
  readonly host: string | undefined;
  readonly body: string;
  readonly isComplete: boolean;
  readonly fields: readonly string[];
}

export interface OtherVerdict {
  readonly requests: readonly OtherRequest[];
  readonly isRefused: boolean;
}

interface Collected {
  readonly message: IncomingMessage;
  readonly pieces: Buffer[];
}

/** A connection whose input is given at once. */
class Wire extends Duplex {
  override _read(): void {}

  override _write(_chunk: Buffer, _encoding: string, done: () => void): void {
    done();
  }

  // What http calls on a socket.
  setTimeout(): this {
    return this;
  }

  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  destroySoon(): void {
    this.destroy();
  }
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export class OtherServer {
  readonly #server: Server;
  #collected: Collected[] = [];

  constructor() {
    const collect = (message: IncomingMessage): void => {
      const pieces: Buffer[] = [];
      this.#collected.push({ message, pieces });
      message.on('data', (piece: Buffer) => pieces.push(piece));
      message.on('error', () => {
        // The connection is cut on purpose; `isComplete` tells.
      });
    };
    this.#server = createServer({ maxHeaderSize: 64 * 1024 }, collect);
    this.#server.maxHeadersCount = 0;
    this.#server.on('checkContinue', collect);
    this.#server.on('checkExpectation', collect);
  }

  async read(bytes: Buffer): Promise<OtherVerdict> {
    this.#collected = [];
    let isRefused = false;
    const onError = (_error: Error, socket: Duplex): void => {
      isRefused = true;
      socket.destroy();
    };
    this.#server.on('clientError', onError);
    const wire = new Wire();
    wire.on('error', () => {});
    this.#server.emit('connection', wire);
    wire.push(bytes);
    await settled();
    await settled();
    const requests = this.#collected.map(({ message, pieces }) => ({
      method: message.method ?? '',
      target: message.url ?? '',
      host: message.headers.host,
      body: Buffer.concat(pieces).toString('latin1'),
      isComplete: message.complete,
      fields: message.rawHeaders,
    }));
    this.#server.off('clientError', onError);
    wire.destroy();
    return { requests, isRefused };
  }
}

export interface OtherResponse {
  readonly status: number;
  readonly body: string;
  readonly isComplete: boolean;
}

/** What Node's client reads as the answer to `method`; undefined when it reads none. */
export async function readOtherResponse(
  bytes: Buffer,
  method: string,
): Promise<OtherResponse | undefined> {
  const wire = new Wire();
  wire.on('error', () => {});
  let answer: IncomingMessage | undefined;
  const pieces: Buffer[] = [];
  const asking: ClientRequest = request({
    method,
    createConnection: () => wire,
    maxHeaderSize: 65_536,
  });
  asking.on('error', () => {});
  asking.on('response', (message) => {
    answer = message;
    message.on('data', (piece: Buffer) => pieces.push(piece));
    message.on('error', () => {});
  });
  asking.end();
  await settled();
  wire.push(bytes);
  wire.push(null);
  await settled();
  await settled();
  wire.destroy();
  if (answer === undefined) return undefined;
  const body = Buffer.concat(pieces).toString('latin1');
  return { status: answer.statusCode ?? 0, body, isComplete: answer.complete };
}
