// The links to one server: how many, on which of its shards, and when to dial again.
//
//   nothing up --dial one--> welcome tells shard and shards --dial the rest--> covered
//   surplus on a shard: closed and dialled again after a pause, as the kernel chooses the shard
//   up --GOAWAY 27--> moved: visitors come by it until another is kept, which makes it leaving
//   up, moved --another GOAWAY--> leaving
//
// Invariant: links dialled, up and waiting never exceed the target; with none up only one dial is
// under way, after a back-off with full jitter, so that a restarted server is not stormed. A search
// gives way to whatever else is waited for. Must not know: WebSockets, streams; links live in
// shards and are named by key.

import { Backoff } from '../base/backoff.ts';
import type { Clock, Timer } from '../base/clock.ts';
import type { ErrorCode } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { LinkWelcome } from '../bridge/client-messages.ts';
import type { LinkFailure } from './ending.ts';
import type { LinkView } from './local-status.ts';

/** Links to one server at most (contract). */
const LINKS_MAX = 16;
/** Pauses between dials in search of a shard without a link: short at first, as the kernel finds
 * the last of eight shards after some twenty dials; rare when a shard stays out of reach. */
const SEARCH_BASE_MS = 20;
const SEARCH_GROWTH = 1.5;
const SEARCH_MAX_MS = 60_000;
/** After a move is announced: at once, but not all clients in the same moment. Guess. */
const MOVE_WITHIN_MS = 300;
/** With many clients: well within the 10 s that a successor waits for them. */
const MOVE_WITHIN_MS_MAX = 4000;
const BACKOFF_BASE_MS = 500;
const BACKOFF_MAX_MS = 30_000;
/** A server that is back after a long time is found within so long, and some for the dial: 500
 * clients are then 85 attempts a second (decision 0040). */
const BACKOFF_MAX_MS_USUAL = 12_000;
/** A server that kept a link for so long is well again (design, section 4.2). */
const BACKOFF_RESET_MS = 30_000;

export interface ServerLinksOptions {
  readonly url: string;
  /** 0: one a shard of the server. */
  readonly links: number;
  /** Of our own, over which links are spread. */
  readonly ownShards: number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly random: () => number;
  /** Starts a dial in a shard of our own; `welcomed` or `ended` follows for the key. */
  readonly dial: (server: ServerLinks, ownShard: number) => string;
  readonly keep: (link: string) => void;
  readonly close: (link: string, code: ErrorCode) => void;
  /** A dial failed or a link was lost. */
  readonly onFailure: (server: ServerLinks, failure: LinkFailure) => void;
}

type LinkState = 'dialling' | 'up' | 'moved' | 'leaving';

interface LinkEntry {
  state: LinkState;
  readonly ownShard: number;
  /** Of the server; -1 until it has said. */
  shard: number;
  upMs: number;
}

/** No dial begins before its end. */
interface Pause {
  readonly before: 'retry' | 'move' | 'search';
  readonly timer: Timer;
}

export class ServerLinks {
  readonly url: string;
  readonly #options: ServerLinksOptions;
  readonly #backoff: Backoff;
  readonly #links = new Map<string, LinkEntry>();
  #shards = 1;
  /** Within which all clients of the server should come back, as it said last. */
  #spreadMs = 0;
  #searches = 0;
  #pause: Pause | undefined;
  #state: 'open' | 'closed' = 'open';
  /** Of the last failure; empty when there was none since a link came up. */
  lastError = '';

  constructor(options: ServerLinksOptions) {
    this.url = options.url;
    this.#options = options;
    const { random } = options;
    this.#backoff = new Backoff({ baseMs: BACKOFF_BASE_MS, maxMs: BACKOFF_MAX_MS_USUAL, random });
  }

  /** No link is dialled any more. */
  get isClosed(): boolean {
    return this.#state === 'closed';
  }

  /** Links by which visitors come. */
  get servingCount(): number {
    return this.#count('up') + this.#count('moved');
  }

  /** All links, for whoever looks. */
  views(): LinkView[] {
    return [...this.#links].map(([link, { state, shard }]) => ({
      link,
      state,
      serverShard: shard,
    }));
  }

  /** Dials what is missing. */
  fill(): void {
    if (this.#state === 'closed' || this.#pause !== undefined) return;
    const up = this.#count('up');
    const target = up === 0 ? 1 : this.#target();
    for (let missing = target - up - this.#count('dialling'); missing > 0; missing -= 1) {
      const ownShard = this.#emptiestShard();
      const key = this.#options.dial(this, ownShard);
      this.#links.set(key, { state: 'dialling', ownShard, shard: -1, upMs: 0 });
    }
  }

  onWelcome({ link, shard, shards, node, agent, spreadMs }: LinkWelcome): void {
    const entry = this.#links.get(link);
    if (entry === undefined || this.#state === 'closed') return;
    this.#shards = shards;
    this.#spread(spreadMs);
    if (this.#isSurplus(shard)) {
      this.#links.delete(link);
      this.#options.close(link, 'SLW_LINK_SURPLUS');
      this.#searchLater();
    } else {
      entry.state = 'up';
      this.lastError = '';
      entry.shard = shard;
      entry.upMs = this.#options.clock.nowMs();
      this.#options.log.info({ url: this.url, link, node, shard, agent }, 'link up');
      this.#options.keep(link);
      this.#succeedMoved();
      this.#searches = 0;
      this.fill();
    }
  }

  /** The server takes no new streams on this link: another is dialled beside it. */
  onGoAway(link: string, code: ErrorCode): void {
    const entry = this.#links.get(link);
    // In the greeting it is a refusal, of which the link's end tells.
    if (entry === undefined || entry.state === 'dialling') return;
    this.#resetIfWell(entry);
    const before = entry.state;
    if (code !== 'SLW_LINK_MOVED') entry.state = 'leaving';
    else if (before === 'up') entry.state = 'moved';
    // Of one that was told to move before its successor is on the way.
    if (before !== 'up') return;
    if (code === 'SLW_LINK_MOVED') this.#moveSoon();
    else this.#retryLater();
  }

  onEnd(link: string, code: ErrorCode, detail: string): void {
    const entry = this.#links.get(link);
    // A surplus link was forgotten when we closed it.
    if (entry === undefined) return;
    this.#links.delete(link);
    if (this.#state === 'closed') return;
    this.#resetIfWell(entry);
    // Expected, and its successor has been dialled.
    if (entry.state === 'leaving' || entry.state === 'moved') return;
    this.lastError = detail === '' ? code : `${code}: ${detail}`;
    // What is lost while a retry waits already is no further attempt.
    const attempts = this.#backoff.attempts + (this.#pause?.before === 'retry' ? 0 : 1);
    this.#options.onFailure(this, { code, detail, attempts, linksLeft: this.#links.size });
    this.#retryLater();
  }

  /** No more dials; what is up stays. */
  close(): void {
    this.#state = 'closed';
    this.#pause?.timer.cancel();
  }

  /** Asked as a link ceases to be up, announced or not: how long it leaves says nothing. */
  #resetIfWell({ state, upMs }: LinkEntry): void {
    const upForMs = this.#options.clock.nowMs() - upMs;
    if (state === 'up' && upForMs >= BACKOFF_RESET_MS) this.#backoff.reset();
  }

  #retryLater(): void {
    const waitsFor = this.#pause?.before;
    if (waitsFor === 'retry' || waitsFor === 'move' || this.#state === 'closed') return;
    const delayMs = this.#backoff.nextMs();
    this.#options.log.info({ url: this.url, delayMs: Math.round(delayMs) }, 'dialling again');
    this.#fillAfter('retry', delayMs);
  }

  /** A successor listens already: nothing is to be waited for. */
  #moveSoon(): void {
    if (this.#state === 'closed') return;
    const withinMs = Math.min(MOVE_WITHIN_MS_MAX, Math.max(MOVE_WITHIN_MS, this.#spreadMs));
    this.#fillAfter('move', withinMs * this.#options.random());
  }

  /**
   * A successor has listeners, or will have them in a moment, and says how its link is. The old
   * process may stay for a day with its last streams, has none, and tells nothing more. Done once
   * the new link is kept: tunnels are up by the old one until they are registered by that.
   */
  #succeedMoved(): void {
    for (const entry of this.#links.values()) {
      if (entry.state === 'moved') entry.state = 'leaving';
    }
  }

  #spread(saidMs: number): void {
    this.#spreadMs = Math.max(saidMs, this.#keptSpreadMs);
    const longestMs = Math.min(BACKOFF_MAX_MS, this.#spreadMs);
    this.#backoff.setRange({
      baseMs: Math.max(BACKOFF_BASE_MS, longestMs),
      maxMs: Math.max(BACKOFF_MAX_MS_USUAL, longestMs),
    });
  }

  /**
   * Who comes first to a server that was started again hears of few others: half of what it had
   * heard before is kept. One that has kept a link for long has all of them back, and is believed.
   */
  get #keptSpreadMs(): number {
    if (this.#count('up') === 0) return this.#spreadMs / 2;
    const sinceMs = this.#options.clock.nowMs() - BACKOFF_RESET_MS;
    for (const { state, upMs } of this.#links.values()) {
      if (state === 'up' && upMs <= sinceMs) return 0;
    }
    return this.#spreadMs;
  }

  #searchLater(): void {
    if (this.#pause !== undefined || this.#state === 'closed') return;
    const ceilingMs = Math.min(SEARCH_MAX_MS, SEARCH_BASE_MS * SEARCH_GROWTH ** this.#searches);
    this.#searches += 1;
    this.#fillAfter('search', ceilingMs * this.#options.random());
  }

  /** Instead of what was waited for. */
  #fillAfter(before: Pause['before'], delayMs: number): void {
    this.#pause?.timer.cancel();
    const timer = this.#options.clock.after(delayMs, () => {
      this.#pause = undefined;
      this.fill();
    });
    this.#pause = { before, timer };
  }

  #target(): number {
    return Math.min(LINKS_MAX, this.#options.links || this.#shards);
  }

  /** Would this shard have a second link while another has none? */
  #isSurplus(shard: number): boolean {
    const covered = new Set<number>();
    for (const entry of this.#links.values()) if (entry.state === 'up') covered.add(entry.shard);
    const isCovered = covered.has(shard);
    const canCoverMore = covered.size < Math.min(this.#shards, this.#target());
    return isCovered && canCoverMore;
  }

  /**
   * Of those with the fewest links the first, so that local forwards find one. What has moved or
   * leaves is not counted: its successor takes its place, and a surplus one may still be there for
   * a while.
   */
  #emptiestShard(): number {
    const counts = new Array<number>(this.#options.ownShards).fill(0);
    for (const { state, ownShard } of this.#links.values()) {
      if (state === 'dialling' || state === 'up') counts[ownShard] = (counts[ownShard] ?? 0) + 1;
    }
    return counts.indexOf(Math.min(...counts));
  }

  #count(state: LinkState): number {
    let count = 0;
    for (const entry of this.#links.values()) if (entry.state === state) count += 1;
    return count;
  }
}
