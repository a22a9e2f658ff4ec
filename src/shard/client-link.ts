// A link at the client: dial, HELLO, WELCOME, the tunnels on offer, streams, and its end.
//
//   dialling --101--> greeting --WELCOME, told to control--> welcomed --keep--> kept, REGISTER
//                  kept, or before keep --GOAWAY 27--> moved: it serves, and opens nothing
//                                       kept, moved --GOAWAY, ours or theirs--> leaving
//                                       kept --our ids are used up--> spent --no stream--> closed
//
// Invariant: told to control exactly once that it ended, whatever the reason and however far it
// came, and once a reason that no new streams are taken. Must not know: whether it will be dialled
// again, or what else the client holds.

import type { Socket } from 'node:net';
import type { Clock } from '../base/clock.ts';
import { type ErrorCode, type SluicewayError, WireError } from '../base/errors.ts';
import { plainAddress } from '../base/ip.ts';
import type { Logger } from '../base/log.ts';
import { loggable } from '../base/loggable.ts';
import { isUdpTunnel } from '../base/port-name.ts';
import { isLoopbackHost, showTarget, type Target } from '../base/target.ts';
import type { Bridge } from '../bridge/calls.ts';
import type {
  ClientControlMethods,
  ClientShardMethods,
  LinkDial,
} from '../bridge/client-messages.ts';
import type { ShardSettings } from '../bridge/shard-task.ts';
import type { MaskKey } from '../link/mask-key.ts';
import { dialWebSocket, type Upgraded } from '../link/ws-handshake.ts';
import { WsLink } from '../link/ws-link.ts';
import type { Session } from '../mux/session.ts';
import type { SessionEvents } from '../mux/session-options.ts';
import type { Stream, StreamMeter, StreamSink } from '../mux/stream.ts';
import { FRAME } from '../wire/frame.ts';
import {
  decodeRegistered,
  decodeWelcome,
  encodeHello,
  encodeRegister,
  encodeUnregister,
  FEATURES,
  type TunnelOffer,
  UDP_FEATURE,
  VERSIONS,
} from '../wire/hello.ts';
import { CONTROL_BODY_BYTES_MAX, packBySize } from '../wire/limits.ts';
import { FORWARD, type Open } from '../wire/open.ts';
import { ControlBudget } from './control-budget.ts';
import type { LinkGauge } from './link-sample.ts';
import type { ForwardLink } from './local-ingress.ts';
import { createSession } from './session-settings.ts';
import type { Upstreams } from './upstreams.ts';

/** From the upgrade to the welcome. */
const WELCOME_TIMEOUT_MS = 10_000;
/** Of a REGISTER body, with room for its keys. */
const REGISTER_BYTES_MAX = CONTROL_BODY_BYTES_MAX - 1024;
/** Keys and lengths of one offer in msgpack. */
const OFFER_OVERHEAD_BYTES = 40;
/** Of one text in msgpack, and of the list around it. */
const TEXT_OVERHEAD_BYTES = 6;
/** In which REGISTERED may come; a REGISTER may cross a GOAWAY. */
const ANSWERED: ReadonlySet<State> = new Set(['welcomed', 'kept', 'moved', 'leaving', 'spent']);

export interface ClientLinkOptions {
  readonly dial: LinkDial;
  readonly settings: ShardSettings;
  readonly bridge: Bridge<ClientShardMethods, ClientControlMethods>;
  readonly upstreams: Upstreams;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onEnd: (code: ErrorCode) => void;
  readonly onIdle: () => void;
  /** Where our ids begin, for tests of their end. */
  readonly firstId?: number;
}

type State =
  | 'dialling'
  | 'greeting'
  | 'welcomed'
  | 'kept'
  | 'moved'
  | 'leaving'
  | 'spent'
  | 'ended';

export class ClientLink implements SessionEvents, ForwardLink {
  readonly #options: ClientLinkOptions;
  readonly #meter: StreamMeter = { streams: 0, bytesIn: 0, bytesOut: 0 };
  readonly #giveUp: () => void;
  #state: State = 'dialling';
  #session: Session | undefined;
  #sinceMs: number;
  readonly #controls = new ControlBudget();
  /** Why no new streams are taken, as control was told; as many as there are codes, at most. */
  readonly #goAways = new Set<ErrorCode>();
  #calls = 0;
  #canUdp = false;

  constructor(options: ClientLinkOptions) {
    this.#options = options;
    this.#sinceMs = options.clock.nowMs();
    const { url, token, ca, own, proxy } = options.dial;
    this.#giveUp = dialWebSocket(
      { url, token, ca, own, proxy, agent: options.settings.agent },
      {
        onUpgraded: (upgraded) => this.#greet(upgraded),
        onFailure: (error: SluicewayError) => this.#finish(error.code, error.message),
      },
    );
  }

  get streamsCount(): number {
    return this.#session?.streamsCount ?? 0;
  }

  get server(): number {
    return this.#options.dial.server;
  }

  /** Not closed once control keeps it, and until either side has said that it goes. */
  get forwarding(): ForwardLink['forwarding'] {
    const session = this.#session;
    if (this.#state !== 'kept' || session === undefined || session.isLeaving) return 'closed';
    return session.canOpen ? 'open' : 'full';
  }

  /** Opens a stream for `from`, which the exit node shall join to `target`. */
  openForward(target: Target, from: Socket, sink: StreamSink): Stream | ErrorCode {
    const { remoteAddress = '', remotePort = 0 } = from;
    const tunnel = `${FORWARD}${showTarget(target)}`;
    const address = plainAddress(remoteAddress);
    const opened = this.#session?.open({ tunnel, address, port: remotePort, link: '' }, sink);
    if (opened === undefined) return 'SLW_STREAM_NO_LINK';
    if (typeof opened !== 'string') opened.addMeter(this.#meter);
    else if (this.#session?.isLeaving === true) this.#spend();
    return opened;
  }

  tick(nowMs: number): void {
    this.#controls.tick();
    const isLate = this.#state === 'greeting' && nowMs - this.#sinceMs >= WELCOME_TIMEOUT_MS;
    if (isLate) this.#session?.close('SLW_LINK_HELLO_TIMEOUT');
    else if (this.#state === 'spent' && this.streamsCount === 0) {
      this.#session?.close('SLW_LINK_IDS_SPENT');
    } else this.#session?.tick(nowMs);
  }

  /** Registers `offers`, in as many messages as they need. */
  offer(offers: readonly TunnelOffer[]): void {
    if (this.#state === 'welcomed') {
      this.#state = this.#goAways.has('SLW_LINK_MOVED') ? 'moved' : 'kept';
    }
    if (!this.#isOffered) return;
    const known = this.#canUdp ? offers : offers.filter(({ name }) => !isUdpTunnel(name));
    if (known.length < offers.length) this.#refuseUdp(offers);
    for (const tunnels of pack(known)) {
      this.#calls += 1;
      const body = encodeRegister({ call: this.#calls, tunnels });
      this.#session?.sendControl(FRAME.REGISTER, body);
    }
  }

  /** Of what was offered some is withdrawn, and some is back. */
  change(gone: readonly string[], back: readonly TunnelOffer[]): void {
    if (!this.#isOffered) return;
    for (const names of packBySize(gone, REGISTER_BYTES_MAX, nameBytes)) {
      this.#session?.sendControl(FRAME.UNREGISTER, encodeUnregister({ names }));
    }
    this.offer(back);
  }

  /** No new streams; those that live go on. */
  leave(): void {
    if (this.#isOffered) this.#state = 'leaving';
    this.#session?.leave('SLW_LINK_DRAINING');
  }

  close(code: ErrorCode): void {
    if (this.#session === undefined) {
      this.#giveUp();
      this.#finish(code, '');
    } else this.#session.close(code);
  }

  /** What there is to sample; nothing before the upgrade. */
  gauge(): LinkGauge | undefined {
    const session = this.#session;
    if (session === undefined) return undefined;
    return { key: this.#options.dial.link, session, meter: this.#meter };
  }

  // --- SessionEvents -----------------------------------------------------------------------

  onControl(type: number, body: Uint8Array): void {
    const { bridge, dial } = this.#options;
    this.#controls.spendMessage();
    if (type === FRAME.WELCOME && this.#state === 'greeting') {
      const welcome = decodeWelcome(body);
      const { version, features, node, shard, shards, agent, limits, spread = 0 } = welcome;
      if (!VERSIONS.includes(version)) throw new WireError('SLW_WIRE_VERSION');
      this.#state = 'welcomed';
      this.#canUdp = features.includes(UDP_FEATURE);
      this.#session?.activate(limits);
      bridge.tell('welcomed', {
        ...{ link: dial.link, node: loggable(node), shard, shards },
        ...{ agent: loggable(agent), spreadMs: spread },
      });
    } else if (type === FRAME.REGISTERED && ANSWERED.has(this.#state)) {
      const { results } = decodeRegistered(body);
      this.#controls.spendTunnels(results.length);
      bridge.tell('registered', {
        link: dial.link,
        results: results.map(({ name, code, reason, scheme }) => ({
          name: loggable(name),
          // Of the server's table, which may be newer than ours.
          code: loggable(code) as ErrorCode | '',
          reason: loggable(reason),
          scheme,
        })),
      });
    } else {
      throw new WireError('SLW_WIRE_FRAME_TYPE', `frame type ${type} now`);
    }
  }

  onOpen(stream: Stream, open: Open): void {
    stream.addMeter(this.#meter);
    this.#options.upstreams.serve(stream, open);
  }

  onGoAway(code: ErrorCode): void {
    if (this.#isOffered) this.#state = code === 'SLW_LINK_MOVED' ? 'moved' : 'leaving';
    this.#tellGoAway(code);
  }

  onIdle(): void {
    this.#options.onIdle();
  }

  onEnd(code: ErrorCode, detail: string): void {
    this.#finish(code, detail);
  }

  // --- inside ------------------------------------------------------------------------------

  /** The exit node sends visitors here: what is on offer has to be what is well. */
  get #isOffered(): boolean {
    return this.#state === 'kept' || this.#state === 'moved';
  }

  /** A server that does not see the end of ids come has not said so: another is needed. */
  #spend(): void {
    if (this.#state !== 'kept') return;
    this.#state = 'spent';
    this.#tellGoAway('SLW_LINK_IDS_SPENT');
  }

  /** A server says why as it leaves, and again as it closes; once is news. */
  #tellGoAway(code: ErrorCode): void {
    if (this.#goAways.has(code)) return;
    this.#goAways.add(code);
    this.#options.bridge.tell('goAway', { link: this.#options.dial.link, code });
  }

  #greet({ socket, head }: Upgraded): void {
    const { settings, dial, clock, firstId } = this.#options;
    const mask = chooseMask(dial, socket.remoteAddress ?? '');
    const session = createSession({
      link: new WsLink({ socket, head, mask }),
      events: this,
      settings,
      opens: 'odd',
      clock,
      firstId,
    });
    this.#session = session;
    this.#state = 'greeting';
    this.#sinceMs = clock.nowMs();
    session.start();
    const { client, instance } = dial;
    const limits = session.announce();
    const { agent } = settings;
    session.sendControl(
      FRAME.HELLO,
      encodeHello({ versions: VERSIONS, features: FEATURES, client, instance, agent, limits }),
    );
  }

  /** An older server would only say that it knows no such name. */
  #refuseUdp(offers: readonly TunnelOffer[]): void {
    const { bridge, dial } = this.#options;
    const code = 'SLW_TUNNEL_KIND';
    const reason = 'the server knows no UDP tunnels; update it';
    const names = offers.map(({ name }) => name).filter(isUdpTunnel);
    const results = names.map((name) => ({ name, code, reason }) as const);
    bridge.tell('registered', { link: dial.link, results });
  }

  #finish(code: ErrorCode, detail: string): void {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    const { bridge, dial, onEnd } = this.#options;
    bridge.tell('ended', { link: dial.link, code, detail: loggable(detail) });
    onEnd(code);
  }
}

/**
 * Masks guard proxies between a client and a server from bytes that somebody else chose (RFC 6455
 * section 10.3). Over TLS there is nobody to guard, and none on loopback: there the zero key does,
 * which costs nothing.
 */
function chooseMask(dial: LinkDial, remoteAddress: string): MaskKey {
  if (dial.mask !== 'auto') return dial.mask === 'always' ? 'random' : 'zero';
  return dial.url.startsWith('wss:') || isLoopbackHost(remoteAddress) ? 'zero' : 'random';
}

function nameBytes(name: string): number {
  return Buffer.byteLength(name) + TEXT_OVERHEAD_BYTES;
}

function pack(offers: readonly TunnelOffer[]): TunnelOffer[][] {
  return packBySize(offers, REGISTER_BYTES_MAX, ({ name, label, options = [] }) => {
    const texts = options.flatMap(([key, values]) => [key, ...values]);
    const optionBytes = texts.reduce((sum, text) => sum + text.length + TEXT_OVERHEAD_BYTES, 0);
    return Buffer.byteLength(name) + Buffer.byteLength(label) + optionBytes + OFFER_OVERHEAD_BYTES;
  });
}
