// How many datagrams passed a shard, and how many were dropped and why.
//
// Invariant: directions and reasons are these closed sets, so that a metric may carry them;
// `in` is from visitors and `out` to them, at either end of a link; counters only grow. Must not
// know: sockets, tunnels, or who asks.

const DIRECTIONS = ['in', 'out'] as const;
const REASONS = [
  // Waited for credit or the link, and newer ones came.
  'queue',
  // Waited in a flow that has ended.
  'ended',
  // Nobody serves the tunnel, or a limit of the tunnel or the token refuses.
  'refused',
  // Too many flows: in all, of one address, or begun in a second.
  'flows',
  'address-flows',
  'rate',
  // A peer of --accept-proxy-protocol, who must say who visits and cannot.
  'proxy',
  'draining',
  'memory',
  // The kernel would not send it: too long for the way, a firewall, no room for it, no descriptor.
  'send',
  // The upstream's machine said that nobody listens there, or its name has no address.
  'upstream',
] as const;

export type Direction = (typeof DIRECTIONS)[number];
export type DropReason = (typeof REASONS)[number];

export interface DatagramSample {
  readonly passed: readonly (readonly [string, number])[];
  readonly dropped: readonly (readonly [string, number])[];
}

export class DatagramMeter {
  readonly #passed: Record<Direction, number> = { in: 0, out: 0 };
  readonly #dropped = new Map<DropReason, number>(REASONS.map((reason) => [reason, 0]));

  count(direction: Direction): void {
    this.#passed[direction] += 1;
  }

  drop(reason: DropReason, count = 1): void {
    this.#dropped.set(reason, (this.#dropped.get(reason) ?? 0) + count);
  }

  get droppedCount(): number {
    return [...this.#dropped.values()].reduce((sum, count) => sum + count, 0);
  }

  sample(): DatagramSample {
    return {
      passed: DIRECTIONS.map((direction) => [direction, this.#passed[direction]] as const),
      dropped: [...this.#dropped],
    };
  }
}
