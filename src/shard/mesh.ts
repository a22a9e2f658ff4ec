// Sessions to the other shards, for visitors and links that sit in different threads.
//
//   visitor's shard --OPEN { link }--> link's shard: splice onto that link
//
// Invariant: the same frames and credit rules as on a link; a shard's port that closes loses the
// streams on it and nothing else. Must not know: tunnels, visitors, who chose the link.

import type { MessagePort } from 'node:worker_threads';
import type { ErrorCode } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { ShardSettings } from '../bridge/shard-task.ts';
import { PortLink } from '../link/port-link.ts';
import type { OpenRequest, Session } from '../mux/session.ts';
import type { Stream, StreamSink } from '../mux/stream.ts';
import type { Open } from '../wire/open.ts';
import { createSession } from './session-settings.ts';
import { createSplice } from './splice.ts';

export interface MeshOptions {
  readonly shard: number;
  readonly settings: ShardSettings;
  readonly log: Logger;
  /** Opens a stream on a link of this shard. */
  readonly openLocal: (request: OpenRequest, sink: StreamSink) => Stream | ErrorCode;
}

interface Peer {
  readonly session: Session;
  readonly link: PortLink;
}

export class Mesh {
  readonly #options: MeshOptions;
  readonly #peers = new Map<number, Peer>();
  #closedBytes = 0;

  constructor(options: MeshOptions) {
    this.#options = options;
  }

  /** Bytes that came over the mesh so far. */
  get receivedBytes(): number {
    let bytes = this.#closedBytes;
    for (const { link } of this.#peers.values()) bytes += link.receivedBytes;
    return bytes;
  }

  get streamsCount(): number {
    let count = 0;
    for (const { session } of this.#peers.values()) count += session.streamsCount;
    return count;
  }

  /** Joins the port of another shard; a new port replaces the one of a shard that died. */
  attach(shard: number, port: MessagePort): void {
    const old = this.#peers.get(shard);
    if (old !== undefined) {
      this.#retire(shard, old);
      old.session.close('SLW_LINK_REPLACED');
    }
    const link = new PortLink(port);
    const session = createSession({
      link,
      settings: this.#options.settings,
      opens: this.#options.shard < shard ? 'odd' : 'even',
      events: {
        onControl() {
          // Shards greet nobody: control has introduced them.
        },
        onOpen: (stream, open) => this.#onOpen(stream, open),
        onGoAway() {
          // Followed by the port's end.
        },
        onIdle() {
          // A mesh session lives as long as its shards.
        },
        onEnd: (code) => this.#onEnd(shard, peer, code),
      },
    });
    const peer: Peer = { session, link };
    this.#peers.set(shard, peer);
    session.start();
    session.activate(session.announce());
  }

  canOpen(shard: number): boolean {
    return this.#peers.get(shard)?.session.canOpen === true;
  }

  open(shard: number, request: OpenRequest, sink: StreamSink): Stream | ErrorCode {
    return (
      this.#peers.get(shard)?.session.open(request, sink, request.link) ?? 'SLW_STREAM_NO_LINK'
    );
  }

  tick(nowMs: number): void {
    for (const { session } of this.#peers.values()) session.tick(nowMs);
  }

  close(): void {
    for (const { session } of [...this.#peers.values()]) session.close('SLW_LINK_DRAINING');
  }

  #onOpen(inner: Stream, open: Open): void {
    const splice = createSplice();
    // Not more is asked of the client than the visitor's shard is ready for.
    const request = { ...open, windowBytesMax: open.window };
    const outer = this.#options.openLocal(request, splice.outer);
    if (typeof outer === 'string') {
      inner.reset(outer);
      return;
    }
    inner.sink = splice.inner;
    splice.inner.stream = inner;
    splice.outer.stream = outer;
  }

  #onEnd(shard: number, peer: Peer, code: ErrorCode): void {
    this.#retire(shard, peer);
    this.#options.log.debug({ peer: shard, code }, 'mesh port closed');
  }

  /** Its bytes stay counted, from the very moment that it is no longer asked. */
  #retire(shard: number, peer: Peer): void {
    if (this.#peers.get(shard) !== peer) return;
    this.#peers.delete(shard);
    this.#closedBytes += peer.link.receivedBytes;
  }
}
