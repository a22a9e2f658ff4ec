// What is told of the request at hand: to the metrics, the access log and the inspector.
//
//   arrive --begin--> under way --count--> counted
//             \------------settle--------> not under way any more
//
// Invariant: whatever arrives is counted once, by whoever answers it or gives it up, and is under
// way from `begin` to `settle` at most. Must not know: how a request is carried.

import type { ErrorCode } from '../base/errors.ts';
import type { RequestParser } from '../http/request-head.ts';
import type { AccessNote } from './access-log.ts';
import type { ExchangeOwner } from './exchange-owner.ts';
import type { HttpContext, InFlight } from './http-context.ts';
import type { Trace } from './trace.ts';

export class ExchangeRecord {
  /** When the last request was counted, which is when it was done with. */
  countedMs = 0;
  tunnel: string | undefined;
  method = '';
  /** It has arrived, and is not counted yet. */
  isDue = false;
  /** While its tunnel is inspected. */
  trace: Trace | undefined;
  readonly #context: HttpContext;
  readonly #owner: ExchangeOwner;
  #startMs = 0;
  #inFlight: InFlight | undefined;
  /** While the access log is on. */
  #note: AccessNote | undefined;

  constructor(context: HttpContext, owner: ExchangeOwner) {
    this.#context = context;
    this.#owner = owner;
  }

  /** Between the request before and the head of the one at hand, which is not counted yet. */
  get idleMs(): number {
    return this.#startMs - this.countedMs;
  }

  /** Of the last request: as the access log has it, else the peer. */
  get visitor(): string {
    return this.#note?.visitor ?? this.#owner.forwarding.origin.address;
  }

  /** A request has come, which may lead nowhere; no head when it could not be read. */
  arrive(head: RequestParser | undefined, tunnel: string | undefined, nowMs: number): void {
    this.isDue = true;
    this.tunnel = tunnel;
    this.method = head?.method ?? '';
    this.#startMs = nowMs;
    this.#note = this.#context.access?.note(this.#owner.forwarding.origin, head);
    this.trace = this.#context.inspector?.arrive(this.#owner, head, tunnel);
  }

  /** It is on its way to `tunnel`. */
  begin(tunnel: string): void {
    this.tunnel = tunnel;
    this.trace?.admitted();
    this.#inFlight = this.#context.meter.inFlight(tunnel);
    this.#inFlight.requests += 1;
  }

  /** Answered with `status`, or given up, for `code` and with so much of each body. */
  count(status: number, code: ErrorCode, bytesIn: number, bytesOut: number): void {
    const { meter, clock, access } = this.#context;
    const { tunnel, method } = this;
    this.isDue = false;
    this.countedMs = clock.nowMs();
    const durationMs = this.countedMs - this.#startMs;
    meter.onRequest(tunnel, method, status, durationMs);
    this.trace?.end(status, bytesIn, bytesOut);
    if (this.#note === undefined) return;
    access?.onRequest(this.#note, {
      ...{ tunnel, method, status, code },
      ...{ bytesIn, bytesOut, durationMs },
    });
  }

  /** Nothing of it is under way any more; idempotent. */
  settle(): void {
    if (this.#inFlight === undefined) return;
    this.#inFlight.requests -= 1;
    this.#inFlight = undefined;
  }
}
