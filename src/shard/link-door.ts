// Links on the ports of visitors: what begins with the request of a link goes to the control port's
// server, and everything else on to the tunnels.
//
//   first bytes --other than GET /connect--> a visitor, at once
//               --GET /connect, head whole--> offers our subprotocol: knocks    else: a visitor
//               --FIN, deadline--> a visitor, who is told what is wrong
//   knocks --upgraded--> a link        --deadline--> cut
//
// Invariant: a visitor loses no byte and is served as if nobody had looked; only a request that
// offers the subprotocol is a link's, so that a tunnel may have a /connect of its own; who knocks
// counts as a visitor, and has a deadline. Must not know: tokens, tunnels, or what a link is for.

import type { Socket } from 'node:net';
import type { Clock } from '../base/clock.ts';
import type { Endpoint } from '../base/ip.ts';
import { Roster, type Seat } from '../base/roster.ts';
import { SUBPROTOCOL } from '../link/ws-handshake.ts';
import { type FirstReader, type Settled, WaitingRoom } from './waiting-room.ts';

/** What a link's request begins with, and what may follow it. */
const START = 'GET /connect';
const BEHIND = ' ?';
/** Of the control port. */
const HEAD_BYTES_MAX = 16 * 1024;
const HEAD_END = '\r\n\r\n';
const PROTOCOL_FIELD = 'sec-websocket-protocol:';

export type Scheme = 'http' | 'https';

export interface LinkDoorOptions {
  /** On which ports links are let in. */
  readonly schemes: readonly Scheme[];
  readonly clock: Clock;
  readonly limits: { readonly headerTimeoutMs: number };
  /** From the whole head to the upgrade. */
  readonly upgradeTimeoutMs: number;
  /** Links and those that knock; beyond it they are cut. */
  readonly connectionsMax: number;
  /** Takes a link's connection, which nobody reads; its bytes are to be read again. */
  readonly onLink: (socket: Socket, knock: Knock) => void;
}

/** Of a link's connection that is no link yet. */
export interface Knock {
  /** Whom a proxy named. */
  readonly visitor: Endpoint | undefined;
  /** It is one now. */
  readonly onUpgraded: () => void;
}

/** What came first; absent when nothing did. */
type OnVisitor = (first: Buffer | undefined) => void;

export class LinkDoor {
  readonly #options: LinkDoorOptions;
  readonly #waiting: WaitingRoom<Caller>;
  readonly #knocking = new Roster<Knocking>();
  /** Of links, too. */
  #connectionsCount = 0;

  constructor(options: LinkDoorOptions) {
    this.#options = options;
    this.#waiting = new WaitingRoom(options.clock, () => options.limits.headerTimeoutMs);
  }

  /** Those that are neither a visitor nor a link yet. */
  get waitingCount(): number {
    return this.#waiting.size + this.#knocking.size;
  }

  isOpen(scheme: Scheme): boolean {
    return this.#options.schemes.includes(scheme);
  }

  /**
   * Calls `onVisitor` unless it is a link, or gone; `onSettled` in any case: before that, once it
   * is a link, or when it is closed.
   */
  admit(
    socket: Socket,
    arrival: { readonly first?: Buffer; readonly visitor?: Endpoint },
    { onVisitor, onSettled }: { readonly onVisitor: OnVisitor; readonly onSettled: () => void },
  ): void {
    const reader = new HeadReader();
    const settle = (outcome: Settled<Caller>): void => {
      const { bytes } = reader;
      if (outcome === 'link') {
        const knocking = this.#expect(socket, onSettled);
        if (knocking !== undefined) this.#handOver(knocking, bytes, arrival.visitor);
        return;
      }
      onSettled();
      if (outcome !== 'closed') onVisitor(bytes.length > 0 ? bytes : undefined);
    };
    this.#waiting.enter(socket, reader, settle, arrival.first);
  }

  /** About once a second: deadlines. */
  sweep(nowMs: number): void {
    this.#waiting.sweep(nowMs);
    for (const { deadlineMs, socket } of this.#knocking) if (nowMs >= deadlineMs) socket.destroy();
  }

  /** Undefined: there is no room for it. */
  #expect(socket: Socket, onSettled: () => void): Knocking | undefined {
    const { clock, connectionsMax, upgradeTimeoutMs } = this.#options;
    if (this.#connectionsCount >= connectionsMax) {
      onSettled();
      socket.destroy();
      return undefined;
    }
    const knocking = new Knocking(socket, clock.nowMs() + upgradeTimeoutMs, onSettled);
    knocking.seat = this.#knocking.enter(knocking);
    this.#connectionsCount += 1;
    socket.once('close', () => {
      this.#connectionsCount -= 1;
      knocking.settle();
    });
    return knocking;
  }

  #handOver(knocking: Knocking, bytes: Buffer, visitor: Endpoint | undefined): void {
    const { socket } = knocking;
    socket.pause();
    socket.unshift(bytes);
    this.#options.onLink(socket, { visitor, onUpgraded: () => knocking.settle() });
    socket.resume();
  }
}

/** Settled once: as a link, or by its end. */
class Knocking {
  readonly socket: Socket;
  readonly deadlineMs: number;
  /** The door's. */
  seat: Seat<Knocking> | undefined;
  readonly #onSettled: () => void;

  constructor(socket: Socket, deadlineMs: number, onSettled: () => void) {
    this.socket = socket;
    this.deadlineMs = deadlineMs;
    this.#onSettled = onSettled;
  }

  settle(): void {
    if (this.seat?.item === undefined) return;
    this.seat.leave();
    this.#onSettled();
  }
}

type Caller = 'visitor' | 'link';

class HeadReader implements FirstReader<Caller> {
  bytes: Buffer = Buffer.alloc(0);

  read(piece: Buffer): Caller | 'more' {
    this.bytes = this.bytes.length === 0 ? piece : Buffer.concat([this.bytes, piece]);
    return judgeHead(this.bytes);
  }
}

/** Whose head begins like this? */
export function judgeHead(bytes: Buffer): Caller | 'more' {
  const length = Math.min(bytes.length, START.length);
  if (bytes.toString('latin1', 0, length) !== START.slice(0, length)) return 'visitor';
  if (bytes.length <= START.length) return 'more';
  if (!BEHIND.includes(String.fromCharCode(bytes[START.length] ?? 0))) return 'visitor';
  const end = bytes.indexOf(HEAD_END, 0, 'latin1');
  if (end === -1) return bytes.length < HEAD_BYTES_MAX ? 'more' : 'visitor';
  const lines = bytes.toString('latin1', 0, end).split('\r\n');
  return lines.some(offersLink) ? 'link' : 'visitor';
}

function offersLink(line: string): boolean {
  if (!line.toLowerCase().startsWith(PROTOCOL_FIELD)) return false;
  const offered = line.slice(PROTOCOL_FIELD.length).split(',');
  return offered.some((protocol) => protocol.trim() === SUBPROTOCOL);
}
