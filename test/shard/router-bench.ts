// A router of one shard with streams of a session in memory, and notes of what it chose.
//
// Invariant: changes are numbered as control numbers them. Must not know: what is asked of it.

import assert from 'node:assert/strict';
import type { ErrorCode } from '../../src/base/errors.ts';
import type { RouteChange } from '../../src/bridge/exit-messages.ts';
import type { OpenRequest } from '../../src/mux/session-options.ts';
import type { Stream, StreamSink } from '../../src/mux/stream.ts';
import { Meters } from '../../src/shard/meters.ts';
import { type OpenedStream, ShardRouter, type StreamOpener } from '../../src/shard/router.ts';
import { RawPeer, RecordingSink } from '../mux/raw-peer.ts';

export const VISITOR = { address: '192.0.2.7', port: 1234 };
export const SHARD = 0;

/** Opens every stream on one session, whichever link was chosen, and notes the choice. */
export class NotingOpener implements StreamOpener {
  readonly chosen: { link: string; shard: number; request: OpenRequest }[] = [];
  readonly streams: Stream[] = [];
  readonly full = new Set<string>();
  readonly peer = new RawPeer();

  readonly doubted = new Set<string>();

  isDoubted(link: string): boolean {
    return this.doubted.has(link);
  }

  canOpen(link: string): boolean {
    return !this.full.has(link);
  }

  open(shard: number, request: OpenRequest, sink: StreamSink): Stream | ErrorCode {
    this.chosen.push({ link: request.link, shard, request });
    const stream = this.peer.session.open(request, sink);
    if (typeof stream !== 'string') this.streams.push(stream);
    return stream;
  }
}

export class Bench {
  readonly opener = new NotingOpener();
  readonly meters: Meters;
  readonly router: ShardRouter;
  #number = 0;

  constructor(t: { after(step: () => void): void }) {
    this.meters = new Meters();
    t.after(() => this.meters.close());
    this.router = new ShardRouter(SHARD, this.opener, this.meters);
  }

  apply(kind: RouteChange['kind'], tunnel: string, link = '', more: Partial<RouteChange> = {}) {
    this.#number += 1;
    const client = link.split('/')[0] ?? '';
    this.router.apply([
      { number: this.#number, kind, tunnel, link, client, shard: SHARD, ...more },
    ]);
  }

  open(tunnel: string): Stream {
    return this.opened(tunnel).stream;
  }

  opened(tunnel: string): OpenedStream {
    const opened = this.router.openStream(tunnel, VISITOR, new RecordingSink());
    assert.ok(typeof opened !== 'string', String(opened));
    return opened;
  }

  /** Links chosen for `count` visitors who stay. */
  choices(tunnel: string, count: number): string[] {
    const before = this.opener.chosen.length;
    for (let visitor = 0; visitor < count; visitor += 1) this.open(tunnel);
    return this.opener.chosen.slice(before).map(({ link }) => link);
  }
}
