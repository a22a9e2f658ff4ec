// What an exchange asks of the visitor connection that it serves.
//
// Invariant: of the calls that end an exchange one comes, once. Must not know: how either side does
// its part.

import type { Socket } from 'node:net';
import type { ErrorCode } from '../base/errors.ts';
import type { Forwarding } from '../http/forwarding.ts';
import type { LoginGain } from '../http/head-writer.ts';
import type { RequestParser } from '../http/request-head.ts';
import type { Stream } from '../mux/stream.ts';
import type { SocketOutlet } from './socket-outlet.ts';
import type { Before } from './socket-relay.ts';

/** A stream that somebody else goes on with. */
export interface Released {
  readonly stream: Stream;
  readonly before: Before;
}

export interface ExchangeOwner {
  readonly socket: Socket;
  readonly forwarding: Forwarding;
  /** Every write to the socket goes this way. */
  readonly outlet: SocketOutlet;
  /** Lines that every response gets, beside its own. */
  readonly extraFields: Buffer | undefined;
  /** What the request at hand gains and loses by a login. */
  readonly loginGain: LoginGain | undefined;
  /** Why the request, which is to be sent once more, may not be. */
  judgeAgain(head: RequestParser): ErrorCode | undefined;
  /** The request was sent to the end, or a response that is waited for moved on. */
  onProgress(): void;
  /** The stream takes more of the request's body. */
  onWritable(): void;
  /** The response is complete. False: the connection ends after it. */
  onAnswered(isKeepAlive: boolean): void;
  /** No byte of a final response was sent: answer with the code's page. */
  onFailed(code: ErrorCode): void;
  /** What waits for the visitor is more than there is memory for: cut the connection, at once. */
  onMemoryShort(): void;
  /** The response broke: cut the connection. */
  onCut(): void;
  /** The upstream switched to WebSocket; `rest` came after its head. */
  onSwitched(released: Released, rest: Buffer): void;
}
