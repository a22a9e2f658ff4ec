// How much a peer may ask for and have no use of.
//
// Invariant: a peer that keeps to the protocol never comes near a bound of these, so that reaching
// one ends its session, with a code that says so. Frames are counted between two ticks, whose
// distance the session's owner keeps. Must not know: frames, streams, or who the peer is.

import { WireError } from '../base/errors.ts';
import { IDLE_FRAMES_MAX, LINK_QUEUE_BYTES_MAX } from '../wire/limits.ts';

export interface PeerBoundsOptions {
  /** Frames without an effect from the peer between two ticks; IDLE_FRAMES_MAX when left out. */
  readonly idleFramesMax?: number;
  /** Bytes that wait for the peer when it is given up; LINK_QUEUE_BYTES_MAX when left out. */
  readonly queueBytesMax?: number;
}

export class PeerBounds {
  readonly #idleFramesMax: number;
  readonly #queueBytesMax: number;
  #idleFrames = 0;

  constructor(options: PeerBoundsOptions) {
    this.#idleFramesMax = options.idleFramesMax ?? IDLE_FRAMES_MAX;
    this.#queueBytesMax = options.queueBytesMax ?? LINK_QUEUE_BYTES_MAX;
  }

  /** A frame without an effect came. Raises WireError for one too many. */
  countIdle(): void {
    this.#idleFrames += 1;
    if (this.#idleFrames > this.#idleFramesMax) {
      throw new WireError('SLW_WIRE_FLOOD', 'too many frames without effect');
    }
  }

  /** Frames are counted anew. */
  tick(): void {
    this.#idleFrames = 0;
  }

  /** Does more wait for the peer than one that reads its answers lets wait? */
  isFloodedBy(queuedBytes: number): boolean {
    return queuedBytes > this.#queueBytesMax;
  }
}
