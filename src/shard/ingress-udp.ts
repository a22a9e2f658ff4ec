// UDP visitors: datagrams on a tunnel's port, each visitor's address and port a flow to a client.
//
//   datagram --flow is known--> its stream
//            --lists, limits, a link--> a new flow and stream
//            --none of these--> dropped and counted, without an answer
//   reset unseen by its client --> new flows of the tunnel go to others for a while
//
// Invariant: nothing that nobody asked for is sent to anybody; the answers of a flow go to its
// visitor alone, from the port where it came in; a visitor who is no longer allowed is served no
// longer. Must not know: which ports there are, or where lists and limits come from.

import type { RemoteInfo } from 'node:dgram';
import type { Clock } from '../base/clock.ts';
import type { ErrorCode } from '../base/errors.ts';
import { plainAddress } from '../base/ip.ts';
import { memoryPressure, PRESSURE } from '../base/memory-pressure.ts';
import type { AddressSet } from '../base/network-set.ts';
import { Roster } from '../base/roster.ts';
import type { Listening, ListenRequest } from '../bridge/exit-messages.ts';
import { QueueAccount } from '../mux/datagram-queue.ts';
import type { AccessLog } from './access-log.ts';
import type { AllowListName, AllowLists } from './allow-lists.ts';
import type { DatagramMeter, DropReason } from './datagram-meter.ts';
import { type FlowLimits, FlowTable } from './flow-table.ts';
import type { Router } from './router.ts';
import { DRAIN_IDLE_MS, UdpFlow } from './udp-flow.ts';
import { bindUdp, UdpSocket } from './udp-socket.ts';

/** A flow whose visitor has not gone on after an answer ends earlier, as most never do (RFC 4787
 * wants two minutes for those who do; Linux' conntrack has these 30 s). */
const YOUNG_IDLE_MS_MAX = 30_000;

export interface UdpIngressLimits extends FlowLimits {
  readonly udpIdleTimeoutMs: number;
}

export interface UdpIngressOptions {
  readonly router: Pick<Router, 'admits' | 'openStream' | 'noteEnd'>;
  /** Read each time: they may change. */
  readonly limits: UdpIngressLimits;
  readonly clock: Clock;
  readonly lists: Pick<AllowLists, 'allowsVisitor' | 'deny'>;
  /** Peers that have to say who visits, which a datagram cannot. */
  readonly proxies: AddressSet | undefined;
  readonly meter: DatagramMeter;
  /** Undefined: it is off. */
  readonly access: AccessLog | undefined;
  /** The last flow has ended. */
  readonly onIdle: () => void;
}

/** A port that is open, with its flows by the visitor's port and address, each in a place that is
 * emptied: what a Map has dropped may live on (base/roster.ts). */
interface OpenPort {
  readonly tunnel: string;
  readonly socket: UdpSocket;
  readonly flows: Map<string, { flow: UdpFlow | undefined }>;
  /** Where its datagrams arrive, as far as it is known. */
  readonly arrival: { readonly toAddress?: string; readonly toPort?: number };
}

/** Of a socket for all addresses Node does not say at which of them a datagram came. */
const ANY_ADDRESS: ReadonlySet<string> = new Set(['0.0.0.0', '::']);

export class UdpIngress {
  readonly #options: UdpIngressOptions;
  readonly #table: FlowTable<UdpFlow>;
  readonly #account = new QueueAccount();
  readonly #ports = new Map<string, Promise<OpenPort>>();
  /** Every flow that has not ended, those that are ending included, and its visitor's address. */
  readonly #flows = new Roster<{ readonly flow: UdpFlow; readonly address: string }>();
  #state: 'serving' | 'draining' = 'serving';

  constructor(options: UdpIngressOptions) {
    this.#options = options;
    this.#table = new FlowTable(options.limits, options.clock.nowMs());
  }

  get flowsCount(): number {
    return this.#flows.size;
  }

  /** Opens a tunnel's port, unless it is open. Rejects with a SluicewayError. */
  async open(request: ListenRequest): Promise<Listening> {
    const { name } = request;
    const { socket } = await (this.#ports.get(name) ?? this.#open(request));
    // Node names no descriptor of it: a successor opens a socket of its own beside it.
    return { port: socket.port, fds: [] };
  }

  /** Closes a tunnel's port, if that is one of these; its flows end. */
  close(name: string): void {
    const opening = this.#ports.get(name);
    this.#ports.delete(name);
    opening?.then(
      (port) => this.#closePort(port),
      () => undefined,
    );
  }

  closeAll(): void {
    for (const name of [...this.#ports.keys()]) this.close(name);
  }

  /** No new flows. With `isMoved` a successor has the ports, and these are closed. */
  drain(isMoved: boolean): void {
    this.#state = 'draining';
    if (isMoved) this.closeAll();
  }

  /** About once a second. */
  sweep(nowMs: number): void {
    const { udpIdleTimeoutMs } = this.#options.limits;
    const longMs = this.#state === 'draining' ? DRAIN_IDLE_MS : udpIdleTimeoutMs;
    const shortMs = Math.min(longMs, YOUNG_IDLE_MS_MAX);
    for (const { flow } of this.#flows) flow.sweep(nowMs, flow.isSettled ? longMs : shortMs);
  }

  /** Lists have changed: ends the flows of who is no longer allowed, and says how many. */
  cutDenied(): number {
    const { lists, clock } = this.#options;
    const denied = [...this.#flows].filter(
      ({ flow, address }) => flow.isOpen && !lists.allowsVisitor(address),
    );
    for (const { flow } of denied) {
      lists.deny('visitors');
      flow.end(clock.nowMs());
    }
    return denied.length;
  }

  #open(request: ListenRequest): Promise<OpenPort> {
    const { name } = request;
    const opening = this.#bind(request);
    this.#ports.set(name, opening);
    // The caller hears of a failure; here it only makes the name free again, unless it was closed
    // and opened meanwhile.
    opening.catch(() => {
      if (this.#ports.get(name) === opening) this.#ports.delete(name);
    });
    return opening;
  }

  async #bind(request: ListenRequest): Promise<OpenPort> {
    const bound = await bindUdp(request);
    const socket = new UdpSocket(bound, this.#options.meter, (datagram, from) =>
      this.#onDatagram(port, datagram, from),
    );
    const { address, port: toPort } = bound.address();
    const arrival = ANY_ADDRESS.has(address) ? {} : { toAddress: plainAddress(address), toPort };
    const port: OpenPort = { tunnel: request.name, socket, flows: new Map(), arrival };
    return port;
  }

  #closePort({ socket, flows }: OpenPort): void {
    socket.close();
    const nowMs = this.#options.clock.nowMs();
    for (const { flow } of [...flows.values()]) flow?.end(nowMs);
  }

  #onDatagram(port: OpenPort, datagram: Buffer, from: RemoteInfo): void {
    const key = `${from.port} ${from.address}`;
    const flow = port.flows.get(key)?.flow ?? this.#admit(port, key, from);
    flow?.take(datagram);
  }

  /** A new flow, or none, which is counted. */
  #admit(port: OpenPort, key: string, from: RemoteInfo): UdpFlow | undefined {
    const { clock, lists, meter } = this.#options;
    const nowMs = clock.nowMs();
    const address = plainAddress(from.address);
    const refusal = this.#refusal(from.port, address);
    if (refusal !== undefined) {
      meter.drop(refusal);
      return undefined;
    }
    const denies = this.#deniedBy(port.tunnel, address);
    if (denies !== undefined) {
      lists.deny(denies);
      return undefined;
    }
    const verdict = this.#table.judge(address, nowMs);
    const flow = typeof verdict === 'string' ? undefined : this.#begin(port, key, from);
    if (typeof verdict === 'string') meter.drop(verdict);
    else if (flow === undefined) meter.drop('refused');
    else verdict.over?.end(nowMs);
    return flow;
  }

  #refusal(fromPort: number, address: string): DropReason | undefined {
    // Nobody can be answered on port 0.
    if (fromPort === 0) return 'refused';
    if (this.#state === 'draining') return 'draining';
    if (memoryPressure.level === PRESSURE.FULL) return 'memory';
    return this.#options.proxies?.has(address) === true ? 'proxy' : undefined;
  }

  #deniedBy(tunnel: string, address: string): AllowListName | undefined {
    const { lists, router } = this.#options;
    if (!lists.allowsVisitor(address)) return 'visitors';
    return router.admits(tunnel, address) ? undefined : 'tunnels';
  }

  /** Undefined: nobody may carry it. */
  #begin(port: OpenPort, key: string, from: RemoteInfo): UdpFlow | undefined {
    const { router, meter, clock } = this.#options;
    const { tunnel, socket, flows, arrival } = port;
    const address = plainAddress(from.address);
    const startMs = clock.nowMs();
    const flow = new UdpFlow({
      ...{ account: this.#account, meter, nowMs: startMs, takes: 'in' },
      send: (datagram) => socket.send(datagram, from),
      onSettled: () => this.#table.settle(place),
      onClose: () => {
        flows.delete(key);
        keyed.flow = undefined;
        this.#table.leave(place);
      },
      onEnd: (code) => {
        this.#table.gone();
        seat.leave();
        router.noteEnd(tunnel, way, code);
        this.#note({ tunnel, address, startMs, code }, flow);
        if (this.#flows.size === 0) this.#options.onIdle();
      },
    });
    const visitor = { address, port: from.port, ...arrival };
    const opened = router.openStream(tunnel, visitor, flow);
    if (typeof opened === 'string') return undefined;
    const { way } = opened;
    const place = this.#table.enter(flow, address);
    const keyed: { flow: UdpFlow | undefined } = { flow };
    flows.set(key, keyed);
    const seat = this.#flows.enter({ flow, address });
    flow.join(opened.stream);
    return flow;
  }

  #note({ tunnel, address, startMs, code }: FlowEnd, { inBytes, outBytes }: UdpFlow): void {
    const { access, clock } = this.#options;
    access?.onConnection({
      ...{ tunnel, visitor: address, code, bytesIn: inBytes, bytesOut: outBytes },
      durationMs: clock.nowMs() - startMs,
    });
  }
}

interface FlowEnd {
  readonly tunnel: string;
  readonly address: string;
  readonly startMs: number;
  readonly code: ErrorCode;
}
