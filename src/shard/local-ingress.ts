// Local forwards at the client: a connection on a local port becomes a stream that the exit node
// dials for.
//
//   accepted --a link has room--> OPEN forward:HOST:PORT --> relay
//            --none has--> waiting --one comes up, or has room--> the same
//                                  --LINK_WAIT_MS--> reset
//
// Invariant: listeners outlive links; a connection that cannot be served is reset and never looks
// like a clean end; of servers the first that has a link is used. Must not know: who listens, what
// the rules at the exit node are.

import type { Socket } from 'node:net';
import type { Clock } from '../base/clock.ts';
import { ERRORS, type ErrorCode } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { Roster } from '../base/roster.ts';
import { showTarget, type Target } from '../base/target.ts';
import type { Stream, StreamSink } from '../mux/stream.ts';
import { type Meters, OTHER } from './meters.ts';
import type { Holding } from './orphaned-bytes.ts';
import {
  type RelayEnd,
  type RelayLimits,
  type RelayOptions,
  SocketRelay,
  turnAway,
} from './socket-relay.ts';
import { Told } from './told.ts';

/** For a link, when none is up: the back-off's first tries fit in it. Guess. */
const LINK_WAIT_MS = 5000;
/** Connections that wait for a link. Guess. */
const WAITING_MAX = 1024;

/** A link as local connections see it. */
export interface ForwardLink {
  /** The place of its server among those of the client. */
  readonly server: number;
  /** Full: it has as many streams, or unanswered OPENs, as it may. */
  readonly forwarding: 'closed' | 'full' | 'open';
  readonly streamsCount: number;
  openForward(target: Target, from: Socket, sink: StreamSink): Stream | ErrorCode;
}

export interface LocalIngressOptions {
  readonly links: () => Iterable<ForwardLink>;
  readonly limits: RelayLimits;
  readonly clock: Clock;
  readonly meters: Meters;
  readonly log: Logger;
}

/** What to do once a link has room; with none, who waits is turned away for that reason. */
type Begin = (found: ForwardLink | ErrorCode) => void;

interface Waiting {
  readonly begin: Begin;
  readonly deadlineMs: number;
}

export class LocalIngress {
  readonly #options: LocalIngressOptions;
  readonly #relays = new Roster<SocketRelay>();
  /** In the order of their deadlines. */
  readonly #waiting = new Roster<Waiting>();
  readonly #told = new Told();

  constructor(options: LocalIngressOptions) {
    this.#options = options;
  }

  get connectionsCount(): number {
    return this.#relays.size + this.#waiting.size;
  }

  get holdings(): Iterable<Holding> {
    return this.#relays;
  }

  accept(target: Target, socket: Socket): void {
    this.whenLinked(socket, (found) => {
      if (typeof found === 'string') this.#refuse(target, socket, found);
      else this.#open(found, target, socket);
    });
  }

  /** Calls `begin` once, now or later, unless `socket` has closed by then. */
  whenLinked(socket: Socket, begin: Begin): void {
    // Who came before takes what room there is.
    this.admit();
    const chosen = this.#choose();
    if (typeof chosen !== 'string' || this.#waiting.size >= WAITING_MAX) {
      begin(chosen);
      return;
    }
    const onClose = (): void => seat.leave();
    const waiting: Waiting = {
      begin: (found) => {
        seat.leave();
        socket.off('close', onClose);
        socket.off('error', ignoreError);
        begin(found);
      },
      deadlineMs: this.#options.clock.nowMs() + LINK_WAIT_MS,
    };
    socket.on('error', ignoreError);
    socket.once('close', onClose);
    const seat = this.#waiting.enter(waiting);
  }

  /** Those who wait go on, as far as there is room: a link is up, or streams have ended. */
  admit(): void {
    for (const waiting of this.#waiting) {
      const chosen = this.#choose();
      if (typeof chosen === 'string') return;
      waiting.begin(chosen);
    }
  }

  /** Carries a stream on `socket`; without `reopen` one that is open already. */
  relay(target: Target, socket: Socket, reopen?: RelayOptions['reopen']): SocketRelay {
    const { limits, clock } = this.#options;
    return new SocketRelay({
      ...{ socket, limits, state: 'open', nowMs: clock.nowMs(), relays: this.#relays, reopen },
      onEnd: (end) => this.#onEnd(target, end),
    });
  }

  /** The OPEN has crossed a GOAWAY. */
  #openAgain(target: Target, sink: StreamSink, socket: Socket): Stream | undefined {
    const chosen = this.#choose();
    const opened =
      typeof chosen === 'string' ? chosen : this.openStream(chosen, target, { socket, sink });
    return typeof opened === 'string' ? undefined : opened;
  }

  /** Opens a stream for a connection to `target`. */
  openStream(
    link: ForwardLink,
    target: Target,
    from: { readonly socket: Socket; readonly sink: StreamSink },
  ): Stream | ErrorCode {
    const opened = link.openForward(target, from.socket, from.sink);
    if (typeof opened !== 'string') opened.addMeter(this.#options.meters.tunnel(OTHER));
    return opened;
  }

  /** Says once in a while why a target cannot be reached. */
  tell(target: Target, code: ErrorCode): void {
    const { log, clock } = this.#options;
    const shown = showTarget(target);
    if (!TOLD.has(code) || !this.#told.isNews(`${shown} ${code}`, clock.nowMs())) return;
    const missing = MISSING[code]?.(shown);
    const why = { target: shown, code, reason: ERRORS[code].text };
    log.warn(missing === undefined ? why : { ...why, missing }, 'forward refused');
  }

  sweep(nowMs: number): void {
    for (const relay of this.#relays) relay.sweep(nowMs);
    this.admit();
    this.#giveUp(nowMs);
  }

  /** Nobody waits any more. */
  drain(): void {
    this.#giveUp(Number.POSITIVE_INFINITY);
  }

  /** Those whose deadline has come. */
  #giveUp(nowMs: number): void {
    for (const waiting of this.#waiting) {
      if (nowMs < waiting.deadlineMs) break;
      const chosen = this.#choose();
      waiting.begin(typeof chosen === 'string' ? chosen : 'SLW_STREAM_NO_LINK');
    }
  }

  cutAll(): void {
    for (const relay of this.#relays) relay.cut();
  }

  /** The thread ends. */
  cutUnsent(): void {
    for (const relay of this.#relays) relay.cutUnsent();
  }

  #open(link: ForwardLink, target: Target, socket: Socket): void {
    let isFirst = true;
    const relay = this.relay(target, socket, (code) => {
      if (!isFirst || code !== 'SLW_LINK_DRAINING') return undefined;
      // Once: no server is to have the client open streams for as long as it refuses them.
      isFirst = false;
      return this.#openAgain(target, relay, socket);
    });
    const opened = this.openStream(link, target, { socket, sink: relay });
    if (typeof opened === 'string') {
      relay.abort(opened);
      return;
    }
    relay.join(opened);
    // Told while it waited for a link, and nobody listened.
    if (socket.readableEnded) opened.end();
  }

  #refuse(target: Target, socket: Socket, code: ErrorCode): void {
    this.tell(target, code);
    turnAway(socket);
  }

  #onEnd(target: Target, { code }: RelayEnd): void {
    this.tell(target, code);
  }

  /** Or why there is none. */
  #choose(): ForwardLink | ErrorCode {
    let best: ForwardLink | undefined;
    let lack: ErrorCode = 'SLW_STREAM_NO_LINK';
    for (const link of this.#options.links()) {
      const { forwarding } = link;
      if (forwarding === 'full') lack = 'SLW_STREAM_LIMIT';
      if (forwarding === 'open' && (best === undefined || isBetter(link, best))) best = link;
    }
    return best ?? lack;
  }
}

function isBetter(link: ForwardLink, best: ForwardLink): boolean {
  if (link.server !== best.server) return link.server < best.server;
  return link.streamsCount < best.streamsCount;
}

/** Endings that whoever configured the forward has to know of. */
const TOLD: ReadonlySet<ErrorCode> = new Set([
  ...(['SLW_FORWARD_NOT_ALLOWED', 'SLW_FORWARD_TOKEN', 'SLW_FORWARD_ADDRESS'] as const),
  ...(['SLW_STREAM_REFUSED', 'SLW_STREAM_UNREACHABLE', 'SLW_STREAM_CONNECT_TIMEOUT'] as const),
  ...(['SLW_STREAM_UNKNOWN_TUNNEL', 'SLW_STREAM_LIMIT', 'SLW_STREAM_NO_LINK'] as const),
]);

/** The rule that is missing, for whoever runs the server. */
const MISSING: Partial<Record<ErrorCode, (target: string) => string>> = {
  SLW_FORWARD_NOT_ALLOWED: (target) => `--client-forwarding ${target} of the server`,
  SLW_FORWARD_TOKEN: (target) => `forwards: ["${target}"] of the token`,
  SLW_FORWARD_ADDRESS: () => '--client-forwarding with the address itself, and so for the token',
};

function ignoreError(): void {
  // 'close' follows.
}
