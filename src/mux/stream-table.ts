// The streams of a session, and which ids were ever used.
//
//   opened --> open --its end, bytes are held--> held --taken--> gone      --RST--> gone
//
// Invariant: an id is used once, by the side that its parity names, in growing order; so a frame on
// an unknown id is either late (its stream has ended) or a mistake, and the table can tell. Must
// not know: frames, credit, or what happens on a stream.

import { WireError } from '../base/errors.ts';
import { Roster } from '../base/roster.ts';
import { STREAM_ID_MAX } from '../wire/frame.ts';
import { STREAMS_OPENING_MAX } from '../wire/limits.ts';
import type { Stream } from './stream.ts';

/** Ids of the streams that we open: odd for who dialled the link, even for who accepted it. */
export type Parity = 'odd' | 'even';

export interface StreamTableOptions {
  readonly opens: Parity;
  /** Where our ids begin, for tests of their end; the first of our parity when left out. */
  readonly firstId?: number;
  /** Streams of ours that wait for an answer at once; STREAMS_OPENING_MAX when left out. */
  readonly streamsOpeningMax?: number;
}

/** Streams that one side has opened: those that live, and those of which only bytes are left. */
interface Tally {
  open: number;
  held: number;
}

interface Place {
  stream: Stream | undefined;
  state: keyof Tally;
}

/** May one more be opened? Those that are held have a bound of their own, as they are no streams to
 * their opener any more: their sinks are sockets, also where they are a byte each. */
function hasRoom({ open, held }: Readonly<Tally>, streamsMax: number): boolean {
  return open < streamsMax && held < streamsMax;
}

export class StreamTable {
  /** Places, as base/roster.ts says: what a Map has dropped may live on. */
  readonly #places = new Map<number, Place>();
  readonly #ours: Tally = { open: 0, held: 0 };
  readonly #peers: Tally = { open: 0, held: 0 };
  /** Ours that wait for OPENED, oldest first. */
  readonly #opening = new Roster<Stream>();
  readonly #oursOdd: number;
  readonly #openingMax: number;
  #nextId: number;
  #lastPeerId = 0;

  constructor(options: StreamTableOptions) {
    this.#oursOdd = options.opens === 'odd' ? 1 : 0;
    this.#openingMax = options.streamsOpeningMax ?? STREAMS_OPENING_MAX;
    this.#nextId = options.firstId ?? (options.opens === 'odd' ? 1 : 2);
  }

  get count(): number {
    return this.#places.size;
  }

  /** May we open one more, of at most `streamsMax`? */
  mayOpen(streamsMax: number): boolean {
    return hasRoom(this.#ours, streamsMax) && this.#opening.size < this.#openingMax;
  }

  /** May the peer? Asked before its stream is added. */
  mayAdmit(streamsMax: number): boolean {
    return hasRoom(this.#peers, streamsMax);
  }

  *values(): Generator<Stream, void> {
    for (const { stream } of this.#places.values()) if (stream !== undefined) yield stream;
  }

  /** Oldest first; a stream may be deleted while this is walked. */
  get opening(): Iterable<Stream> {
    return this.#opening;
  }

  /** An id for a stream that we open, or 0 when all are used. */
  takeId(): number {
    if (this.#nextId > STREAM_ID_MAX) return 0;
    const id = this.#nextId;
    this.#nextId += 2;
    return id;
  }

  /** How many either side may open yet; the fewer of both. */
  get idsLeft(): number {
    return Math.floor((STREAM_ID_MAX - Math.max(this.#nextId - 2, this.#lastPeerId)) / 2);
  }

  /** Notes the id of a stream that the peer opens. Raises WireError for one it must not use. */
  admit(id: number): void {
    if (this.#isOurs(id) || id <= this.#lastPeerId) {
      throw new WireError('SLW_WIRE_STREAM_ID', `OPEN with stream id ${id}`);
    }
    this.#lastPeerId = id;
  }

  add(stream: Stream): void {
    this.#places.set(stream.id, { stream, state: 'open' });
    this.#tallyOf(stream.id).open += 1;
  }

  addOpening(stream: Stream): void {
    this.add(stream);
    stream.openingSeat = this.#opening.enter(stream);
  }

  /** The peer answered: the stream no longer waits. */
  answer(stream: Stream): void {
    stream.openingSeat?.leave();
  }

  /** It has ended, and not all that came is taken. */
  hold({ id }: Stream): void {
    const place = this.#places.get(id);
    if (place?.state !== 'open') return;
    const tally = this.#tallyOf(id);
    place.state = 'held';
    tally.open -= 1;
    tally.held += 1;
  }

  /** False: it was not there. */
  delete(stream: Stream): boolean {
    stream.openingSeat?.leave();
    const place = this.#places.get(stream.id);
    if (place === undefined) return false;
    place.stream = undefined;
    this.#tallyOf(stream.id)[place.state] -= 1;
    return this.#places.delete(stream.id);
  }

  /** The stream, or undefined for one that has ended. Raises WireError for one that never was. */
  lookUp(id: number): Stream | undefined {
    const stream = this.#places.get(id)?.stream;
    if (stream !== undefined) return stream;
    if (id === 0 || (this.#isOurs(id) ? id >= this.#nextId : id > this.#lastPeerId)) {
      throw new WireError('SLW_WIRE_STREAM_ID', `frame on stream ${id}, which was never opened`);
    }
    return undefined;
  }

  /** Streams whose peer waits for credit, and those that wait for it themselves. */
  countStalled(): { held: number; waiting: number } {
    let held = 0;
    let waiting = 0;
    for (const stream of this.values()) {
      if (stream.window.availableBytes === 0) held += 1;
      if (stream.queuedBytes > 0) waiting += 1;
    }
    return { held, waiting };
  }

  /** Streams that hold bytes, first the one whose sink took nothing for the longest. */
  stalest(): Stream[] {
    const holding: Stream[] = [];
    for (const stream of this.values()) {
      if (stream.window.heldBytes > 0) holding.push(stream);
    }
    return holding.sort((a, b) => a.progressMs - b.progressMs);
  }

  #tallyOf(id: number): Tally {
    return this.#isOurs(id) ? this.#ours : this.#peers;
  }

  #isOurs(id: number): boolean {
    return id % 2 === this.#oursOdd;
  }
}
