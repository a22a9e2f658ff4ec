// The contract between a session and whatever carries its frames.
//
//   session --writeValue, writeBody--> Link --bytes--> peer
//   session <--onValue, onBody, onDataStart, onDataPiece-- Link <--bytes-- peer
//
// Invariant: frames leave in the order of the calls and within one turn of the event loop; payload
// arrives in pieces as the carrier delivers them, never collected into whole frames. A link never
// calls its sink from within a call of the sink's owner, but for isCongested, which may change.
// Must not know: streams and credit. Shape after undici's connection context: a plain object.

import type { ErrorCode, WireError } from '../base/errors.ts';
import type { FrameSink } from '../wire/decoder.ts';
import type { FrameType } from '../wire/frame.ts';

export interface LinkSink extends FrameSink {
  /** The peer broke the protocol; the sink says goodbye and closes the link. */
  onWireError(error: WireError): void;
  /** The link was congested and no longer is. */
  onDrain(): void;
  /** The link is gone. The last call. */
  onLinkClose(code: ErrorCode, detail: string): void;
}

export interface LinkStart {
  readonly sink: LinkSink;
  /** Largest DATA payload to accept. */
  readonly frameBytesMax: number;
}

export interface Link {
  readonly kind: 'websocket' | 'port' | 'memory';
  /** The sender should stop until onDrain. Frames written all the same are carried. */
  readonly isCongested: boolean;
  /** Longest DATA payload that the line takes in a moment; what others send waits behind it. */
  readonly frameBytesMax: number;
  /** Bytes that were written here and have not left yet. */
  readonly queuedBytes: number;
  /** All bytes that ever arrived, to tell a silent peer from a living one. */
  readonly receivedBytes: number;
  /** Begins to deliver. Called once. */
  start(start: LinkStart): void;
  writeValue(type: FrameType, stream: number, value: number): void;
  /** Takes ownership of `body`, which is not empty. */
  writeBody(type: FrameType, stream: number, body: Uint8Array): void;
  /** Flushes, says goodbye with `code`, and closes; onLinkClose follows. */
  close(code: ErrorCode): void;
  /** Closes at once, unflushed; onLinkClose follows. */
  destroy(): void;
}
