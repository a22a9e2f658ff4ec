// The last requests of inspected tunnels in this shard.
//
// Invariant: so many of each tunnel and so many bytes of all are kept, the oldest go first; a
// tunnel that is no longer inspected is forgotten at once. Off, nothing is made of a request. Must
// not know: how requests are carried, or who looks.

import type { Clock } from '../base/clock.ts';
import type { InspectSettings } from '../base/inspection.ts';
import type { Forwarding } from '../http/forwarding.ts';
import type { RequestParser } from '../http/request-head.ts';
import type { ExchangeOwner } from './exchange-owner.ts';
import { Trace } from './trace.ts';

/** Of all that is kept in a shard, heads and bodies. Guess: nothing beside a shard's windows. */
const KEPT_BYTES_MAX = 16 * 1024 * 1024;
/** What a request weighs beside its bytes. Measured roughly: some objects and strings. */
const TRACE_BYTES = 2048;
const OFF: InspectSettings = { tunnels: [], requestsMax: 1, bodyBytesMax: 0 };

export interface Arrived {
  readonly tunnel: string;
  readonly forwarding: Forwarding;
  readonly port: number;
  /** '' for a visitor's own. */
  readonly replayOf: string;
}

export class Inspector {
  /** Before the number of an id. */
  readonly #prefix: string;
  readonly #clock: Clock;
  #settings = OFF;
  /** All, the oldest first. */
  readonly #traces = new Map<string, Trace>();
  readonly #byTunnel = new Map<string, Trace[]>();
  #keptBytes = 0;
  #number = 0;

  /** `life` is drawn when a shard starts, as numbers begin anew: what has another's id is gone. */
  constructor(shard: number, life: string, clock: Clock) {
    this.#prefix = `${shard}-${life}`;
    this.#clock = clock;
  }

  get isOn(): boolean {
    return this.#settings.tunnels.length > 0;
  }

  get keptBytes(): number {
    return this.#keptBytes;
  }

  /** From now on, and for what is kept already. */
  apply(settings: InspectSettings): void {
    this.#settings = settings;
    for (const [tunnel, traces] of this.#byTunnel) {
      const keepsCount = this.#inspects(tunnel) ? settings.requestsMax : 0;
      while (traces.length > keepsCount) this.#forget(traces[0]);
      for (const trace of traces) trace.limitBodies(settings.bodyBytesMax);
    }
  }

  /** A visitor's request has come; undefined when it is not to be kept. */
  arrive(
    { socket, forwarding }: Pick<ExchangeOwner, 'socket' | 'forwarding'>,
    head: RequestParser | undefined,
    tunnel: string | undefined,
  ): Trace | undefined {
    if (head === undefined || tunnel === undefined) return undefined;
    return this.begin({ tunnel, forwarding, port: socket.remotePort ?? 0, replayOf: '' }, head);
  }

  /** Undefined when the tunnel is not inspected. */
  begin(arrived: Arrived, head: RequestParser): Trace | undefined {
    const { tunnel } = arrived;
    if (!this.#inspects(tunnel)) return undefined;
    this.#number += 1;
    const id = `${this.#prefix}-${this.#number}`;
    const trace: Trace = new Trace(
      {
        ...arrived,
        id,
        bodyBytesMax: this.#settings.bodyBytesMax,
        clock: this.#clock,
        onGrowth: (bytes) => {
          // A head that comes when it is forgotten already weighs nothing here.
          if (this.#traces.has(id)) this.#grow(bytes);
        },
      },
      head,
    );
    trace.bytes = TRACE_BYTES + trace.head.length;
    this.#traces.set(id, trace);
    const traces = this.#byTunnel.get(tunnel) ?? [];
    this.#byTunnel.set(tunnel, traces);
    traces.push(trace);
    if (traces.length > this.#settings.requestsMax) this.#forget(traces[0]);
    this.#grow(trace.bytes);
    return trace;
  }

  /** The newest first. */
  newest(tunnel: string | undefined, countMax: number): Trace[] {
    const traces = tunnel === undefined ? [...this.#traces.values()] : this.#byTunnel.get(tunnel);
    return (traces ?? []).slice(-countMax).reverse();
  }

  traceOf(id: string): Trace | undefined {
    return this.#traces.get(id);
  }

  #inspects(tunnel: string): boolean {
    const { tunnels } = this.#settings;
    return tunnels.includes(tunnel) || tunnels.includes('*');
  }

  #grow(bytes: number): void {
    this.#keptBytes += bytes;
    while (this.#keptBytes > KEPT_BYTES_MAX) {
      const [oldest] = this.#traces.values();
      if (oldest === undefined) return;
      this.#forget(oldest);
    }
  }

  #forget(trace: Trace | undefined): void {
    if (trace === undefined || !this.#traces.delete(trace.id)) return;
    this.#keptBytes -= trace.bytes;
    trace.drop();
    // The oldest of all is the oldest of its tunnel.
    const traces = this.#byTunnel.get(trace.tunnel) ?? [];
    traces.shift();
    if (traces.length === 0) this.#byTunnel.delete(trace.tunnel);
  }
}
