// How an issuer of certificates sees a challenge over plain HTTP where lists turn visitors away:
// where it looks from is not published, so that nobody can list it.
//
//   denied --no challenge is up--> not taken
//          --> waiting --GET of a challenge that is up, whole--> answered, lingering
//                      --any other byte, FIN, deadline, too many--> cut
//
// Invariant: who came here is answered from here or cut, and never reaches an ingress; before the
// answer no byte of ours is sent. At most GUESTS_MAX are here, each for one deadline, and the one
// that came first makes room for the next. Must not know: lists, tunnels, or orders.

import type { Socket } from 'node:net';
import type { Clock } from '../base/clock.ts';
import { Roster, type Seat } from '../base/roster.ts';
import { PUSH } from '../http/head-parser.ts';
import { RequestParser } from '../http/request-head.ts';
import { type AcmeChallenges, CHALLENGE_PATH } from './acme-challenges.ts';
import { challengeAnswer, type FrontAnswer } from './http-front.ts';
import { turnAway } from './socket-relay.ts';
import { type FirstReader, WaitingRoom } from './waiting-room.ts';

/** Guess: Let's Encrypt looks from five places at once, for each of a few names. */
export const GUESTS_MAX = 32;
/** From its coming to its end, the answer included: as long as for the head of a request. */
export const GUEST_MS = 10_000;
/** How every issuer asks (RFC 8555 8.3); what begins otherwise is not read to its end. */
const BEGINNING = Buffer.from(`GET ${CHALLENGE_PATH}`, 'latin1');

export interface IssuerDoorOptions {
  readonly challenges: AcmeChallenges;
  readonly clock: Clock;
  /** Counts one that is cut, or has gone, without an answer. */
  readonly onDenied: (socket: Socket) => void;
}

type Outcome = FrontAnswer | 'refused';

export class IssuerDoor {
  readonly #options: IssuerDoorOptions;
  readonly #guests = new Roster<Guest>();
  readonly #waiting: WaitingRoom<Outcome>;

  constructor(options: IssuerDoorOptions) {
    this.#options = options;
    // The guests' own deadline is for the answer, too.
    this.#waiting = new WaitingRoom(options.clock, () => Number.POSITIVE_INFINITY);
  }

  get guestsCount(): number {
    return this.#guests.size;
  }

  /** False leaves `socket`, of somebody who is denied, as it is; `first` was read before. */
  take(socket: Socket, first: Buffer | undefined): boolean {
    const { challenges, clock, onDenied } = this.#options;
    // Without an address it is gone already.
    if (!challenges.hasTexts || socket.remoteAddress === undefined) return false;
    if (this.#guests.size >= GUESTS_MAX) this.#guests.first?.cut();
    const guest = new Guest(socket, clock.nowMs() + GUEST_MS);
    guest.seat = this.#guests.enter(guest);
    const settle = (outcome: Outcome | 'silent' | 'closed'): void => {
      if (typeof outcome === 'object') {
        guest.answer(outcome);
        return;
      }
      onDenied(socket);
      guest.cut();
    };
    this.#waiting.enter(socket, new ChallengeReader(challenges), settle, first);
    return true;
  }

  /** About once a second: deadlines. */
  sweep(nowMs: number): void {
    for (const guest of this.#guests) {
      if (nowMs >= guest.deadlineMs) guest.cut();
    }
  }
}

class Guest {
  readonly deadlineMs: number;
  /** The door's. */
  seat: Seat<Guest> | undefined;
  readonly #socket: Socket;

  constructor(socket: Socket, deadlineMs: number) {
    this.#socket = socket;
    this.deadlineMs = deadlineMs;
  }

  /** What else it sends is dropped, so that it can read the answer. */
  answer({ bytes }: FrontAnswer): void {
    const socket = this.#socket;
    socket.on('error', ignoreError);
    socket.on('close', () => this.seat?.leave());
    socket.end(bytes);
    socket.resume();
  }

  /** Idempotent; one that waits is settled by the close that follows. */
  cut(): void {
    this.seat?.leave();
    if (!this.#socket.destroyed) turnAway(this.#socket);
  }
}

/** Of one connection: is it a request for a challenge that is up, and nothing else? */
class ChallengeReader implements FirstReader<Outcome> {
  readonly #challenges: AcmeChallenges;
  readonly #parser = new RequestParser();
  #readBytes = 0;

  constructor(challenges: AcmeChallenges) {
    this.#challenges = challenges;
  }

  read(piece: Buffer): Outcome | 'more' {
    if (!this.#beginsWell(piece)) return 'refused';
    const after = this.#parser.push(piece, 0);
    if (after === PUSH.MORE) return 'more';
    if (after === PUSH.REFUSED) return 'refused';
    return challengeAnswer(this.#challenges, this.#parser) ?? 'refused';
  }

  #beginsWell(piece: Buffer): boolean {
    const at = Math.min(this.#readBytes, BEGINNING.length);
    const expected = BEGINNING.subarray(at, at + piece.length);
    this.#readBytes += piece.length;
    return piece.subarray(0, expected.length).equals(expected);
  }
}

function ignoreError(): void {
  // 'close' follows.
}
