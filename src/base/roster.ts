// Who is there now, in the order of coming: sockets, relays, streams that wait.
//
//   enter --> seat --leave--> gone         a seat that was left is linked to nothing
//
// A Set would do, but for the garbage collector: what a Set or a Map has dropped may live on until
// the next full collection. V8 gives them a new table now and then, and links the old to the new
// for iterators that walk it. Once one of these tables has come to the old generation, it keeps all
// that come after it, each with whom it last held (docs/decisions/0038 has the figures).
//
// Invariant: a seat that was left holds neither its neighbours nor its item. Must not know: what
// sits there.

/** Where an item sits, from `enter` to `leave`. */
export class Seat<Item> {
  item: Item | undefined;
  before: Seat<Item> | undefined;
  behind: Seat<Item> | undefined;
  readonly #onLeave: (seat: Seat<Item>) => void;

  constructor(item: Item, onLeave: (seat: Seat<Item>) => void) {
    this.item = item;
    this.#onLeave = onLeave;
  }

  /** Idempotent. */
  leave(): void {
    if (this.item !== undefined) this.#onLeave(this);
  }
}

export class Roster<Item extends object> {
  #first: Seat<Item> | undefined;
  #last: Seat<Item> | undefined;
  #size = 0;
  readonly #onLeave = (seat: Seat<Item>): void => this.#remove(seat);

  get size(): number {
    return this.#size;
  }

  get first(): Item | undefined {
    return this.#first?.item;
  }

  enter(item: Item): Seat<Item> {
    const seat = new Seat(item, this.#onLeave);
    seat.before = this.#last;
    if (this.#last === undefined) this.#first = seat;
    else this.#last.behind = seat;
    this.#last = seat;
    this.#size += 1;
    return seat;
  }

  /** Oldest first, of those that are there now; whoever leaves meanwhile is left out. */
  *[Symbol.iterator](): Generator<Item, void> {
    const seats: Seat<Item>[] = [];
    for (let seat = this.#first; seat !== undefined; seat = seat.behind) seats.push(seat);
    for (const { item } of seats) if (item !== undefined) yield item;
  }

  #remove(seat: Seat<Item>): void {
    const { before, behind } = seat;
    if (before === undefined) this.#first = behind;
    else before.behind = behind;
    if (behind === undefined) this.#last = before;
    else behind.before = before;
    seat.item = undefined;
    seat.before = undefined;
    seat.behind = undefined;
    this.#size -= 1;
  }
}
