// What a session is given by its owner, and what it tells that owner.
//
// Types alone, so that who opens streams or hears of them needs no session: the rooms that route
// are written against these. Must not know: how a session works.

import type { Clock } from '../base/clock.ts';
import type { ErrorCode } from '../base/errors.ts';
import type { Link } from '../link/link.ts';
import type { SessionLimits } from '../wire/limits.ts';
import type { Open, OpenFields } from '../wire/open.ts';
import type { KeepaliveOptions } from './keepalive.ts';
import type { PeerBoundsOptions } from './peer-bounds.ts';
import type { Stream } from './stream.ts';
import type { StreamTableOptions } from './stream-table.ts';

export interface SessionEvents {
  /** A control body other than OPEN. May raise WireError. Valid during the call only. */
  onControl(type: number, body: Uint8Array): void;
  /** The peer opened `stream`: set its sink and accept or reset it. */
  onOpen(stream: Stream, open: Open): void;
  /** The peer will take no new streams, for this reason. */
  onGoAway(code: ErrorCode): void;
  /** A leaving session has no stream left. */
  onIdle(): void;
  /** The session is over; every stream has been told. The last call. */
  onEnd(code: ErrorCode, detail: string): void;
}

export interface SessionOptions extends StreamTableOptions, PeerBoundsOptions {
  readonly link: Link;
  readonly events: SessionEvents;
  readonly clock: Clock;
  readonly limits: SessionLimits;
  readonly keepalive: KeepaliveOptions;
  /** A stream that we opened and that is not answered within this time is reset. */
  readonly openTimeoutMs: number;
}

export interface OpenRequest extends OpenFields {
  /** Which link shall carry it, of several. */
  readonly link: string;
  /** Receive window to begin with at most; it may grow. */
  readonly windowBytesMax?: number | undefined;
}
