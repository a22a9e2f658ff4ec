// Sessions to the other shards, for visitors and links that sit in different threads.
//
//   visitor's shard --OPEN { link }--> link's shard: splice onto that link
//
//   joined --ids nearly spent--> another port in its place, this one left --no stream--> closed
//
// Invariant: the same frames and credit rules as on a link; a shard that stands still is asked for
// no more streams than wait for it already, and its port stays; a port that closes loses the
// streams on it and nothing else; of two shards the one with the lower number alone renews their
// port, for the ids of both. Must not know: tunnels, visitors, who chose the link.

import type { MessagePort } from 'node:worker_threads';
import type { ErrorCode } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { Roster } from '../base/roster.ts';
import type { ShardSettings } from '../bridge/shard-task.ts';
import { PortLink } from '../link/port-link.ts';
import type { Session } from '../mux/session.ts';
import type { OpenRequest } from '../mux/session-options.ts';
import type { Stream, StreamSink } from '../mux/stream.ts';
import { MIB } from '../wire/limits.ts';
import type { Open } from '../wire/open.ts';
import type { Holding } from './orphaned-bytes.ts';
import { createSession } from './session-settings.ts';
import { createSplice, type SpliceEnd } from './splice.ts';

/** Ids left at which a port is renewed, looked at once a second: more than a shard can open. */
const IDS_LEFT_MIN = 1 << 20;
/** Bytes that wait for a shard when it is asked for no more streams. DATA stops at 1 MiB, so what
 * is beyond is mostly OPEN. Guess: some 70,000 visitors, for whom it is late anyway. */
const OPEN_QUEUE_BYTES_MAX = 8 * MIB;

export interface MeshOptions {
  readonly shard: number;
  readonly settings: ShardSettings;
  readonly log: Logger;
  /** Opens a stream on a link of this shard. */
  readonly openLocal: (request: OpenRequest, sink: StreamSink) => Stream | ErrorCode;
  /** Where ids begin on the ports that control gives, for tests of their end. */
  readonly firstId?: number;
}

interface Peer {
  readonly shard: number;
  readonly session: Session;
  readonly link: PortLink;
}

export class Mesh {
  readonly #options: MeshOptions;
  readonly #peers = new Map<number, Peer>();
  /** Their ports were renewed, and streams are on them yet. */
  readonly #left = new Set<Peer>();
  /** Who have said all, while other shards' visitors have not taken it; their links may be gone. */
  readonly #partings = new Roster<SpliceEnd>();
  #closedBytes = 0;

  constructor(options: MeshOptions) {
    this.#options = options;
  }

  /** Bytes that came over the mesh so far. */
  get receivedBytes(): number {
    let bytes = this.#closedBytes;
    for (const { link } of this.#all()) bytes += link.receivedBytes;
    return bytes;
  }

  get holdings(): Iterable<Holding> {
    return this.#partings;
  }

  get streamsCount(): number {
    let count = 0;
    for (const { session } of this.#all()) count += session.streamsCount;
    return count;
  }

  /** Joins the port of another shard; a new port replaces those of a shard that died. */
  attach(shard: number, port: MessagePort): void {
    for (const old of this.#all()) {
      if (old.shard !== shard) continue;
      this.#retire(old);
      old.session.close('SLW_LINK_REPLACED');
    }
    this.#join(shard, port, this.#options.firstId);
  }

  canOpen(shard: number): boolean {
    const session = this.#peers.get(shard)?.session;
    return session?.canOpen === true && session.queuedBytes < OPEN_QUEUE_BYTES_MAX;
  }

  open(shard: number, request: OpenRequest, sink: StreamSink): Stream | ErrorCode {
    const session = this.#peers.get(shard)?.session;
    if (session === undefined) return 'SLW_STREAM_NO_LINK';
    if (session.queuedBytes >= OPEN_QUEUE_BYTES_MAX) return 'SLW_STREAM_LIMIT';
    return session.open(request, sink, request.link);
  }

  tick(nowMs: number): void {
    for (const { session } of this.#all()) session.tick(nowMs);
    for (const end of this.#partings) end.sweep(nowMs, this.#options.settings.halfCloseTimeoutMs);
    for (const peer of [...this.#peers.values()]) {
      const isOurs = this.#options.shard < peer.shard;
      if (isOurs && peer.session.idsLeft < IDS_LEFT_MIN) this.#renew(peer);
    }
  }

  close(): void {
    for (const { session } of this.#all()) session.close('SLW_LINK_DRAINING');
  }

  #all(): Peer[] {
    return [...this.#peers.values(), ...this.#left];
  }

  #join(shard: number, port: MessagePort, firstId?: number): void {
    const link = new PortLink(port, (successor) => this.#onSuccessor(peer, successor));
    const session = createSession({
      link,
      firstId,
      settings: this.#options.settings,
      opens: this.#options.shard < shard ? 'odd' : 'even',
      events: {
        onControl() {
          // Shards greet nobody: control has introduced them.
        },
        onOpen: (stream, open) => this.#onOpen(stream, open),
        onGoAway() {
          // Of a port that was renewed here, or followed by the port's end.
        },
        // Any other says itself why it goes, and closes its port.
        onIdle: () => {
          if (this.#left.has(peer)) session.close('SLW_LINK_IDS_SPENT');
        },
        onEnd: (code) => this.#onEnd(peer, code),
      },
    });
    const peer: Peer = { shard, session, link };
    this.#peers.set(shard, peer);
    session.start();
    session.activate(session.announce());
  }

  /** What opens from here on goes over a new port; the other side leaves the old one. */
  #renew(peer: Peer): void {
    this.#left.add(peer);
    this.#join(peer.shard, peer.link.succeed());
  }

  /** All that the other side has opened on the old port was read before. */
  #onSuccessor(peer: Peer, port: MessagePort): void {
    this.#left.add(peer);
    this.#join(peer.shard, port);
    peer.session.leave('SLW_LINK_IDS_SPENT');
  }

  #onOpen(inner: Stream, open: Open): void {
    const splice = createSplice(this.#partings);
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

  #onEnd(peer: Peer, code: ErrorCode): void {
    const { log } = this.#options;
    const isCurrent = this.#peers.get(peer.shard) === peer;
    this.#retire(peer);
    log.debug({ peer: peer.shard, code }, 'mesh port closed');
    if (!isCurrent || !code.startsWith('SLW_WIRE_')) return;
    // Both shards live, and nobody joins them again: a mistake of ours, for a report.
    log.warn({ peer: peer.shard, code }, 'mesh port lost until one of its shards starts again');
  }

  /** Its bytes stay counted, from the very moment that it is no longer asked. */
  #retire(peer: Peer): void {
    const isCurrent = this.#peers.get(peer.shard) === peer;
    if (isCurrent) this.#peers.delete(peer.shard);
    if (isCurrent || this.#left.delete(peer)) this.#closedBytes += peer.link.receivedBytes;
  }
}
