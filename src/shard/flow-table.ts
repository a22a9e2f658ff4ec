// How many flows of datagrams a shard has, and which of them makes room for a new one.
//
//   young --the visitor goes on after an answer--> settled          either --leave--> gone
//
// Invariant: never more flows than the limit, beside those that are ending, which are bounded too;
// a settled flow never makes room for a new one, so that a flood of visitors who were never heard
// of again ends nobody's game; who makes room is the oldest young one, of the same address where
// that is what is full. Must not know: sockets, streams, datagrams.

import { addressKey } from '../base/address-key.ts';
import { Roster, type Seat } from '../base/roster.ts';
import { TokenBucket } from '../base/token-bucket.ts';

/** Flows that have said FIN and wait for the peer's. Guess: half a second of the largest rate. */
const ENDING_MAX = 2048;

export interface FlowLimits {
  readonly udpFlowsMax: number;
  /** 0 is off. */
  readonly udpFlowsPerAddressMax: number;
  readonly udpNewFlowsPerSecondMax: number;
}

/** Of one flow, in the table from `enter` to `leave`. */
export interface FlowPlace<Flow> {
  readonly flow: Flow;
  readonly address: string;
  /** While it is young: among those of its address, and among all. */
  readonly seats: readonly Seat<FlowPlace<Flow>>[];
}

export type FlowRefusal = 'flows' | 'address-flows' | 'rate';

interface AddressFlows<Flow> {
  count: number;
  /** In the order in which they came. */
  readonly young: Roster<FlowPlace<Flow>>;
}

export class FlowTable<Flow> {
  /** Read each time: they may change. */
  readonly #limits: FlowLimits;
  readonly #begun: TokenBucket;
  readonly #young = new Roster<FlowPlace<Flow>>();
  readonly #addresses = new Map<string, AddressFlows<Flow>>();
  #count = 0;
  #endingCount = 0;

  constructor(limits: FlowLimits, nowMs: number) {
    this.#limits = limits;
    this.#begun = new TokenBucket(limits.udpNewFlowsPerSecondMax, nowMs);
  }

  get count(): number {
    return this.#count;
  }

  /** May a flow of `address` begin? `over` is one that must end for it first. */
  judge(address: string, nowMs: number): FlowRefusal | { readonly over: Flow | undefined } {
    const { udpFlowsMax, udpFlowsPerAddressMax, udpNewFlowsPerSecondMax } = this.#limits;
    const own = this.#addresses.get(addressKey(address));
    const isAddressFull = udpFlowsPerAddressMax > 0 && (own?.count ?? 0) >= udpFlowsPerAddressMax;
    const isFull = this.#count >= udpFlowsMax;
    const over = isAddressFull ? own?.young.first : isFull ? this.#young.first : undefined;
    if (isAddressFull && over === undefined) return 'address-flows';
    if (isFull && over === undefined) return 'flows';
    if (over !== undefined && this.#endingCount >= ENDING_MAX) return 'flows';
    this.#begun.setRate(udpNewFlowsPerSecondMax, nowMs);
    return this.#begun.take(nowMs) ? { over: over?.flow } : 'rate';
  }

  enter(flow: Flow, address: string): FlowPlace<Flow> {
    const key = addressKey(address);
    const seats: Seat<FlowPlace<Flow>>[] = [];
    const place = { flow, address: key, seats };
    const own = this.#addresses.get(key) ?? { count: 0, young: new Roster() };
    this.#addresses.set(key, own);
    own.count += 1;
    seats.push(own.young.enter(place), this.#young.enter(place));
    this.#count += 1;
    return place;
  }

  /** Its visitor has gone on after an answer. */
  settle(place: FlowPlace<Flow>): void {
    for (const seat of place.seats) seat.leave();
  }

  /** It ends, and counts as ending until `gone`. */
  leave(place: FlowPlace<Flow>): void {
    this.settle(place);
    this.#count -= 1;
    this.#endingCount += 1;
    const own = this.#addresses.get(place.address);
    if (own === undefined) return;
    own.count -= 1;
    if (own.count === 0) this.#addresses.delete(place.address);
  }

  gone(): void {
    this.#endingCount -= 1;
  }
}
