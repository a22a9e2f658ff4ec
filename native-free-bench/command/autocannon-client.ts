// The connection of one autocannon client, dialled here in place of its own way.
//
// autocannon 9 dials again when a connection ends, and keeps the request that was under way: each
// later answer would be timed from the request before its own, and what was never answered would be
// no failure. It also asks again behind an answer that closes the connection, takes an interim one
// (100, 103) for the answer, joins headers of one name, and keeps a body as one string, which Node
// ends at 512 MiB. Invariant: a request ends once, as a whole answer or as a failure; an answer is
// timed from its own request. Written for the exact version in package.json, since it goes by names
// that are not public. Must not know: what is counted.

import type { EventEmitter } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { Client } from 'autocannon';

/** After a failure, as in paced-line.ts: a target that is gone would be hammered. */
const RETRY_MS = 100;

/** The one of 1xx that ends what was asked: HTTP is over on this connection. */
const SWITCHED = 101;

interface Head {
  readonly statusCode: number;
  readonly shouldKeepAlive: boolean;
}

/** What autocannon's client has beside what its types tell. */
interface Inside extends EventEmitter {
  readonly opts: { readonly hostname: string; readonly port: number };
  conn: Socket;
  readonly parser: {
    initialize(type: 'RESPONSE'): void;
    /** An error where the bytes are no answer. */
    execute(piece: Buffer): Error | number;
    finish(): unknown;
    /** Called when a message is whole. */
    nextRequest(): void;
  };
  readonly pipelinedRequests: {
    addBody(piece: Buffer): void;
    /** The request that is out, of which there is one at most. */
    peek(): { readonly startTime: [seconds: number, nanoseconds: number] } | undefined;
  };
  readonly timeout: number;
  readonly timeoutTicker: { reschedule(ms: number): void };
  getRequestBuffer(): Buffer;
  _connect(): void;
  _doRequest(): void;
  /** Forgets the request that is under way, too. */
  _destroyConnection(): void;
}

/** When the request that is out was sent, by `performance.now`. */
export type OutSince = () => number | undefined;

export interface ClientOptions {
  /** What is sent, again and again. */
  readonly request: Buffer;
  readonly onBytes: (bytes: number) => void;
}

/** For `setupClient`, which comes before the first connection. */
export function dialsItself(client: Client, { request, onBytes }: ClientOptions): OutSince {
  const inside = client as unknown as Inside;
  const ask = inside._doRequest;
  const tellWhole = inside.parser.nextRequest;
  let isLastAnswer = false;
  let isInterim = false;
  let retry: NodeJS.Timeout | undefined;
  const fail = (error: Error): void => {
    // autocannon counts it, and tells it as `reqError`.
    inside.emit('connError', error);
    inside._destroyConnection();
    inside.timeoutTicker.reschedule(inside.timeout);
    retry = setTimeout(inside._connect, RETRY_MS);
  };
  inside.on('headers', ({ statusCode, shouldKeepAlive }: Head) => {
    isInterim = statusCode < 200 && statusCode !== SWITCHED;
    isLastAnswer = !isInterim && !shouldKeepAlive;
  });
  inside.parser.nextRequest = () => {
    if (isInterim) inside.parser.initialize('RESPONSE');
    else tellWhole.call(inside.parser);
  };
  inside.getRequestBuffer = () => request;
  inside.pipelinedRequests.addBody = () => undefined;
  inside.on('done', () => clearTimeout(retry));
  inside._doRequest = () => {
    if (!isLastAnswer) return ask.call(inside);
    inside._destroyConnection();
    inside._connect();
  };
  inside._connect = () => {
    clearTimeout(retry);
    isLastAnswer = false;
    inside.parser.initialize('RESPONSE');
    inside.conn = dial(inside, onBytes, fail);
    inside._doRequest();
  };
  return () => {
    const out = inside.pipelinedRequests.peek();
    if (out === undefined) return undefined;
    const [seconds, nanoseconds] = process.hrtime(out.startTime);
    return performance.now() - seconds * 1e3 - nanoseconds / 1e6;
  };
}

function dial(
  inside: Inside,
  onBytes: ClientOptions['onBytes'],
  fail: (error: Error) => void,
): Socket {
  const { hostname: host, port } = inside.opts;
  const conn = connect({ host, port, noDelay: true });
  const failHere = (error: Error): void => {
    if (inside.conn === conn) fail(error);
  };
  conn.on('data', (piece: Buffer) => {
    onBytes(piece.length);
    const taken = inside.parser.execute(piece);
    if (taken instanceof Error) failHere(taken);
  });
  conn.on('error', failHere);
  conn.on('end', () => {
    // Of an answer without a length this is the end, and there is another connection then.
    inside.parser.finish();
    failHere(new Error('closed'));
  });
  return conn;
}
