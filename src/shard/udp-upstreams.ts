// UDP services of a client: a socket of its own for each flow that an exit node opens.
//
// Invariant: a socket is connected to the address of the client's own table, so that no answer of
// anybody else gets in; that nobody listens there ends neither flow nor tunnel, as datagrams may
// be sent to who starts later; a flow that is not answered ends when its upstream's name has moved
// away, so that the next datagram follows; what was dropped, and why there is no way, is told
// of once in a while. Must not know: links, or who visits.

import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { loggable } from '../base/loggable.ts';
import { Roster } from '../base/roster.ts';
import type { UpstreamEntry } from '../bridge/client-messages.ts';
import { QueueAccount } from '../mux/datagram-queue.ts';
import type { Stream } from '../mux/stream.ts';
import type { DatagramMeter } from './datagram-meter.ts';
import { Told } from './told.ts';
import { DRAIN_IDLE_MS, UdpFlow } from './udp-flow.ts';
import { AddressBook, type LookUp, UpstreamSocket } from './upstream-socket.ts';

/** So long is asked without an answer before the name is looked up again: as long as what was
 * found is used (upstream-socket.ts). Guess. */
const UNANSWERED_MS = 5000;

export interface UdpUpstreamsOptions {
  readonly limits: { readonly udpIdleTimeoutMs: number };
  readonly clock: Clock;
  readonly meter: DatagramMeter;
  readonly log: Logger;
  /** A socket could not be opened. */
  readonly onFailure: (error: Error) => void;
  readonly lookUp?: LookUp;
}

interface UpstreamFlow {
  readonly flow: UdpFlow;
  readonly socket: UpstreamSocket;
  readonly host: string;
  /** Its datagrams as of the last sweep. */
  inCount: number;
  outCount: number;
  /** Since when the upstream was sent some and has answered none. */
  unansweredMs: number | undefined;
}

export class UdpUpstreams {
  readonly #options: UdpUpstreamsOptions;
  readonly #account = new QueueAccount();
  readonly #addresses: AddressBook;
  readonly #flows = new Roster<UpstreamFlow>();
  readonly #told = new Told();
  #toldCount = 0;
  #state: 'serving' | 'draining' = 'serving';

  constructor(options: UdpUpstreamsOptions) {
    this.#options = options;
    this.#addresses = new AddressBook(options.clock, options.lookUp);
  }

  get flowsCount(): number {
    return this.#flows.size;
  }

  /** `header` goes before each datagram of the visitor. */
  serve(stream: Stream, { name, host, port }: UpstreamEntry, header: Buffer | undefined): void {
    const { clock, meter } = this.#options;
    const socket = new UpstreamSocket({
      ...{ meter, port, header, account: this.#account },
      address: this.#addresses.addressOf(host),
      onDatagram: (datagram) => flow.take(datagram),
      onFailure: (error) => {
        this.#tellFailure(name, host, error);
        flow.abort('SLW_STREAM_UNREACHABLE');
      },
    });
    const flow = new UdpFlow({
      ...{ account: this.#account, meter, nowMs: clock.nowMs(), takes: 'out' },
      send: (datagram) => socket.send(datagram),
      onClose: () => socket.close(),
      onEnd: () => seat.leave(),
    });
    const none = { inCount: 0, outCount: 0, unansweredMs: undefined };
    const seat = this.#flows.enter({ flow, socket, host, ...none });
    stream.sink = flow;
    flow.join(stream);
    // There is nobody to be reached first: UDP has no connections.
    stream.accept();
  }

  /** Flows that are silent end soon. */
  drain(): void {
    this.#state = 'draining';
  }

  /** About once a second. */
  sweep(nowMs: number): void {
    const { udpIdleTimeoutMs } = this.#options.limits;
    const idleMs = this.#state === 'draining' ? DRAIN_IDLE_MS : udpIdleTimeoutMs;
    for (const entry of this.#flows) {
      entry.flow.sweep(nowMs, idleMs);
      if (isUnanswered(entry, nowMs)) this.#follow(entry);
    }
    this.#tell(nowMs);
  }

  closeAll(): void {
    for (const { socket } of this.#flows) socket.close();
  }

  /** Ends a flow to where its upstream is no longer: the next datagram begins a new one. */
  #follow({ flow, socket: { address }, host }: UpstreamFlow): void {
    if (address === undefined) return;
    this.#addresses.has(host, address).then(
      (isThere) => {
        if (!isThere) flow.end(this.#options.clock.nowMs());
      },
      // It is not known to be elsewhere.
      () => undefined,
    );
  }

  /** Visitors hear nothing at all, and only this says why. */
  #tellFailure(tunnel: string, host: string, error: NodeJS.ErrnoException): void {
    const { clock, log, onFailure } = this.#options;
    onFailure(error);
    if (!this.#told.isNews(tunnel, clock.nowMs())) return;
    log.error({ tunnel, host: loggable(host), code: error.code }, 'no way to the upstream');
  }

  #tell(nowMs: number): void {
    const { meter, log } = this.#options;
    const { droppedCount } = meter;
    if (droppedCount === this.#toldCount || !this.#told.isNews('dropped', nowMs)) return;
    this.#toldCount = droppedCount;
    const counts = meter.sample().dropped.filter(([, count]) => count > 0);
    log.warn({ dropped: Object.fromEntries(counts) }, 'datagrams dropped, so far');
  }
}

/** Was more sent to its upstream, which has not answered for a while? Notes the counts. */
function isUnanswered(entry: UpstreamFlow, nowMs: number): boolean {
  const { inCount, outCount } = entry.flow;
  const isAnswered = inCount !== entry.inCount;
  const isAsked = outCount !== entry.outCount;
  entry.inCount = inCount;
  entry.outCount = outCount;
  if (isAnswered) entry.unansweredMs = undefined;
  if (isAnswered || !isAsked) return false;
  entry.unansweredMs ??= nowMs;
  return nowMs - entry.unansweredMs >= UNANSWERED_MS;
}
