// Named limits of the protocol and their relations. Numbers only.
//
// Invariant: the relations at the end hold, or the module does not load. Must not know: options
// and where they come from; an operator's choice arrives as `SessionLimits`.

import { assert } from '../base/assert.ts';

export const KIB = 1024;
export const MIB = 1024 * 1024;

/** Bytes of a control body (HELLO, REGISTER, OPEN ...): room for about 100 tunnels. Guess. */
export const CONTROL_BODY_BYTES_MAX = 16 * KIB;
/** Largest DATA payload that any peer may offer to receive (specification). */
export const FRAME_BYTES_MAX = 256 * KIB;
/** Smallest frame limit a peer may ask for: below it headers cost more than they carry. */
export const FRAME_BYTES_MIN = 4 * KIB;
/** Credit that an opener has before the stream is answered (default; announced in the hello). */
export const CREDIT_INITIAL = 64 * KIB;
/** Most credit that a stream may hold, so that sums stay exact small integers (specification). */
export const CREDIT_MAX = 0x7fff_ffff;
/** Streams that wait for OPENED at once. yamux has 256; at a round trip of 100 ms that would cap
 * a link at 2,560 new connections a second, so four times that. */
export const STREAMS_OPENING_MAX = 1024;
/** Frames without an effect (PING, PONG, GOAWAY, OPEN refused at once or withdrawn, frames on ended
 * streams) that one peer may send between two ticks. Guess, far above what a correct peer sends. */
export const IDLE_FRAMES_MAX = 20_000;
/** Bytes queued for a link. Links stop data at 1 MiB, so more is answers that the peer makes us
 * give (RST, PONG, CREDIT) and does not read. Guess: room for half a million of them. */
export const LINK_QUEUE_BYTES_MAX = 8 * MIB;
/** Share of the window after which credit is given back: a quarter (measured with prototypes). */
export const CREDIT_GRANT_SHARE = 4;
/** From such a round trip on windows bound the rate, and what waits to be granted is not on its
 * way: with a quarter they carry three quarters of themselves in a round trip. Guess: from a city
 * away; nearer, a frame more costs and brings nothing. */
export const CREDIT_FAR_MS = 5;
/** The share there ... */
export const CREDIT_GRANT_SHARE_FAR = 16;
/** ... of windows that make it more than this. */
export const CREDIT_GRANT_BYTES_FAR = 64 * 1024;
/** Tunnels in one REGISTER. */
export const REGISTER_TUNNELS_MAX = 64;
/** Tunnels that one client may serve. Guess. */
export const CLIENT_TUNNELS_MAX = 1000;

/**
 * Cuts `items` into runs of at most `bytesMax`, as `sizeOf` has it, and REGISTER_TUNNELS_MAX items.
 * An item beyond `bytesMax` is a run of its own.
 */
export function packBySize<Item>(
  items: readonly Item[],
  bytesMax: number,
  sizeOf: (item: Item) => number,
): Item[][] {
  const runs: Item[][] = [];
  let bytes = 0;
  for (const item of items) {
    const size = sizeOf(item);
    const run = runs.at(-1);
    if (run === undefined || bytes + size > bytesMax || run.length === REGISTER_TUNNELS_MAX) {
      runs.push([item]);
      bytes = size;
    } else {
      run.push(item);
      bytes += size;
    }
  }
  return runs;
}

export interface SessionLimits {
  /** Largest DATA payload that we accept. */
  readonly frameBytes: number;
  /** Streams that the peer may have open at once. */
  readonly streams: number;
  /** Receive window of a new stream, in bytes. */
  readonly windowInitialBytes: number;
  /** A window grows up to this. */
  readonly windowMaxBytes: number;
  /** Payload bytes held for one session. */
  readonly memoryBytes: number;
}

export const DEFAULT_LIMITS: SessionLimits = {
  frameBytes: FRAME_BYTES_MAX,
  streams: 10_000,
  windowInitialBytes: 256 * KIB,
  windowMaxBytes: 8 * MIB,
  memoryBytes: 64 * MIB,
};

assert(
  FRAME_BYTES_MIN <= CREDIT_INITIAL,
  'a first frame of the smallest size fits the first credit',
);
assert(
  CREDIT_INITIAL <= DEFAULT_LIMITS.windowInitialBytes,
  'the first credit is part of the window',
);
assert(DEFAULT_LIMITS.windowMaxBytes <= DEFAULT_LIMITS.memoryBytes, 'one stream fits the session');
assert(DEFAULT_LIMITS.memoryBytes <= CREDIT_MAX, 'credit sums stay exact');
