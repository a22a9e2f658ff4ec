// A client's link at the exit node: greeting, registration, and its end.
//
//   accepted --HELLO--> control: hello --WELCOME--> active --REGISTER--> control: register
//                                           control: linkLeaving <--GOAWAY--/
//   active --ids nearly spent: MOVED, or other news--> parting --the client has had its time-->
//     withdrawn, control: linkLeaving --a tick--> GOAWAY --no stream--> closed
//
// Invariant: nothing but HELLO is read before control has agreed to it; every end is told to
// control exactly once; what a client opens goes where forwards go. Must not know: tokens, routes,
// sockets of visitors.

import type { Clock } from '../base/clock.ts';
import { type ErrorCode, SluicewayError, WireError } from '../base/errors.ts';
import { ForwardRules } from '../base/forward-rules.ts';
import type { Logger } from '../base/log.ts';
import { loggable } from '../base/loggable.ts';
import { isUdpTunnel } from '../base/port-name.ts';
import type { Bridge } from '../bridge/calls.ts';
import type {
  ClientGrant,
  ExitControlMethods,
  ExitShardMethods,
  LinkPort,
  TunnelAnswer,
  TunnelRequest,
} from '../bridge/exit-messages.ts';
import type { ShardSettings } from '../bridge/shard-task.ts';
import type { Link } from '../link/link.ts';
import type { Session } from '../mux/session.ts';
import type { SessionEvents } from '../mux/session-options.ts';
import type { Stream, StreamMeter } from '../mux/stream.ts';
import { FRAME } from '../wire/frame.ts';
import {
  decodeHello,
  decodeRegister,
  decodeUnregister,
  encodeRegistered,
  encodeWelcome,
  FEATURES,
  type Hello,
  UDP_FEATURE,
  VERSIONS,
} from '../wire/hello.ts';
import { CONTROL_BODY_BYTES_MAX, packBySize } from '../wire/limits.ts';
import type { Open } from '../wire/open.ts';
import { ControlBudget } from './control-budget.ts';
import type { ForwardScope, Forwards } from './forwards.ts';
import { createSession } from './session-settings.ts';
import type { TokenBudget } from './token-budget.ts';
import type { TokenBudgets } from './token-budgets.ts';

/** From the upgrade to the hello (design: B1). */
const HELLO_TIMEOUT_MS = 10_000;
/** Results of one REGISTERED, so that its body stays below the limit with room to spare. */
const RESULTS_BYTES_MAX = CONTROL_BODY_BYTES_MAX - 1024;
/** For people; the code says the same to programs. */
const REASON_LENGTH_MAX = 120;
/** Keys and lengths of one result in msgpack. */
const RESULT_OVERHEAD_BYTES = 45;
/** Ids left at which a client is told to dial another link: more than one link can open in all the
 * time that it then has. */
const IDS_LEFT_MIN = 1 << 22;
/** For a client to have another link: the longest back-off, and a dial. */
const PARTING_MS = 40_000;
/** For control to answer a REGISTER. It may wait for shards that stand still: for the end of a step
 * before, for the port to open and for it to be closed again, a call's 10 s each, and for the same
 * of another link of the client. */
const REGISTER_TIMEOUT_MS = 60_000;
/** What a client may be called; the log and metrics show it. */
const CLIENT_ID = /^[A-Za-z0-9._-]{1,64}$/;

export interface ExitLinkOptions {
  readonly key: string;
  readonly link: Link;
  readonly shard: number;
  readonly remoteAddress: string;
  readonly identity?: string;
  readonly credential?: string;
  /** By which it came; absent: the control port. */
  readonly port?: LinkPort;
  readonly settings: ShardSettings;
  readonly bridge: Bridge<ExitShardMethods, ExitControlMethods>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly forwards: Forwards;
  readonly budgets: TokenBudgets;
  /** The link is gone; forget it. */
  readonly onEnd: (code: ErrorCode) => void;
  /** A leaving link has no stream left. */
  readonly onIdle: () => void;
  /** Greeted: it may be told something. */
  readonly onActive: () => void;
  /** It takes no more streams. */
  readonly onLeaving: () => void;
  /** Where our ids begin, for tests of their end. */
  readonly firstId?: number | undefined;
}

type State = 'waiting' | 'asking' | 'active' | 'parting' | 'withdrawn' | 'leaving' | 'ended';

/** What a client that leaves, or is to, has asked for is answered all the same. */
const GREETED: ReadonlySet<State> = new Set(['active', 'parting', 'withdrawn', 'leaving']);

export class ExitLink implements SessionEvents, ForwardScope {
  readonly key: string;
  readonly session: Session;
  readonly meter: StreamMeter = { streams: 0, bytesIn: 0, bytesOut: 0 };
  readonly #options: ExitLinkOptions;
  /** When it was accepted, or began to part. */
  #sinceMs: number;
  /** Why it parts. */
  #partCode: ErrorCode = 'SLW_NONE';
  readonly remoteAddress: string;
  readonly port: LinkPort;
  /** What its token allows it to reach; undefined: all that the server allows. */
  rules: ForwardRules | undefined;
  #token: string | undefined;
  /** That both sides named. */
  #features: readonly string[] = [];
  readonly #controls = new ControlBudget();
  /** REGISTERs that came; the number of a client's call may come twice. */
  #registersCount = 0;
  #state: State = 'waiting';

  constructor(options: ExitLinkOptions) {
    this.key = options.key;
    this.#options = options;
    this.remoteAddress = options.remoteAddress;
    this.port = options.port ?? 'control';
    this.#sinceMs = options.clock.nowMs();
    const { link, settings, clock, firstId } = options;
    this.session = createSession({ link, events: this, settings, opens: 'even', clock, firstId });
    this.session.start();
  }

  tick(nowMs: number): void {
    this.#controls.tick();
    const sinceMs = nowMs - this.#sinceMs;
    if (this.#state === 'waiting' && sinceMs >= HELLO_TIMEOUT_MS) {
      this.session.close('SLW_LINK_HELLO_TIMEOUT');
    } else {
      this.session.tick(nowMs);
      this.#goOnParting(sinceMs);
    }
  }

  /** Says why no more streams are to come; a move is only announced. */
  leave(code: ErrorCode): void {
    // Visitors of a process that is being replaced have no other link to come to.
    if (this.#state === 'parting') this.#state = 'active';
    this.session.leave(code);
  }

  /** Its client knows that it is to dial another link: this one goes when there was time for it. */
  part(code: ErrorCode): void {
    if (this.#state !== 'active') return;
    this.#state = 'parting';
    this.#partCode = code;
    this.#sinceMs = this.#options.clock.nowMs();
  }

  onControl(type: number, body: Uint8Array): void {
    this.#controls.spendMessage();
    if (type === FRAME.HELLO && this.#state === 'waiting') {
      this.#state = 'asking';
      void this.#greet(decodeHello(body));
    } else if (type === FRAME.REGISTER && this.#isGreeted) {
      const { call, tunnels } = decodeRegister(body);
      this.#controls.spendTunnels(tunnels.length);
      void this.#register(call, tunnels);
    } else if (type === FRAME.UNREGISTER && this.#isGreeted) {
      const { names } = decodeUnregister(body);
      this.#controls.spendTunnels(names.length);
      this.#options.bridge.tell('unregister', { link: this.key, names });
    } else {
      throw new WireError('SLW_WIRE_FRAME_TYPE', `frame type ${type} now`);
    }
  }

  get #isGreeted(): boolean {
    return GREETED.has(this.#state);
  }

  /** For the log. */
  get link(): string {
    return this.key;
  }

  get budget(): TokenBudget | undefined {
    return this.#options.budgets.of(this.#token);
  }

  /** What its token allows from now on. */
  grant({ token, forwards }: ClientGrant): void {
    this.#token = token;
    this.rules = forwards && new ForwardRules(forwards);
  }

  onOpen(stream: Stream, open: Open): void {
    stream.addMeter(this.meter);
    this.#options.forwards.serve(stream, open, this);
  }

  onGoAway(code: ErrorCode): void {
    // Said once: all routes are looked through for it.
    if (this.#state !== 'active' && this.#state !== 'parting') return;
    // The client drains: no new stream comes here, and it closes the link when the last has ended.
    this.#withdraw('leaving', code);
  }

  onIdle(): void {
    this.#options.onIdle();
  }

  onEnd(code: ErrorCode, detail: string): void {
    const wasKnown = this.#state !== 'waiting';
    this.#state = 'ended';
    const { log, bridge } = this.#options;
    log.info({ link: this.key, code, detail: loggable(detail) }, 'link ended');
    if (wasKnown) bridge.tell('linkGone', { link: this.key, code });
    this.#options.onEnd(code);
  }

  /** One step a tick, so that other shards have heard of one before the next. */
  #goOnParting(sinceMs: number): void {
    const { session } = this;
    if (this.#state === 'active' && session.idsLeft < IDS_LEFT_MIN) {
      session.leave('SLW_LINK_MOVED');
      this.part('SLW_LINK_IDS_SPENT');
    } else if (this.#state === 'parting') {
      // It leaves already when ids were gone before their end was seen to come.
      if (session.isLeaving || sinceMs >= PARTING_MS) this.#withdraw('withdrawn', this.#partCode);
    } else if (this.#state === 'withdrawn') {
      if (!session.isLeaving) session.leave(this.#partCode);
      else if (session.streamsCount === 0) session.close(this.#partCode);
    }
  }

  /** Nobody is to choose it any more. */
  #withdraw(state: 'withdrawn' | 'leaving', code: ErrorCode): void {
    this.#state = state;
    const { log, bridge, onLeaving } = this.#options;
    log.debug({ link: this.key, code }, 'link is leaving');
    onLeaving();
    // Other shards would go on to choose it.
    bridge.tell('linkLeaving', { link: this.key });
  }

  async #greet(hello: Hello): Promise<void> {
    const { bridge, remoteAddress, identity, credential, shard, settings } = this.#options;
    const version = VERSIONS.find((offered) => hello.versions.includes(offered));
    if (version === undefined) return this.session.close('SLW_WIRE_VERSION');
    const areNamesValid = CLIENT_ID.test(hello.client) && CLIENT_ID.test(hello.instance);
    if (!areNamesValid) return this.session.close('SLW_WIRE_BODY_INVALID');
    const { client, instance } = hello;
    const agent = loggable(hello.agent);
    try {
      const answer = await bridge.call('hello', {
        link: this.key,
        client,
        instance,
        agent,
        remoteAddress,
        port: this.port,
        ...(identity === undefined ? {} : { identity }),
        ...(credential === undefined ? {} : { credential }),
      });
      if (this.#state !== 'asking') return;
      this.#state = 'active';
      const features = FEATURES.filter((feature) => hello.features.includes(feature));
      this.#features = features;
      const { node, shards, grant, spreadMs: spread } = answer;
      this.grant(grant);
      const limits = this.session.announce();
      this.session.sendControl(
        FRAME.WELCOME,
        encodeWelcome({
          ...{ version, features, node, shard, shards, agent: settings.agent, limits },
          ...(spread > 0 ? { spread } : {}),
        }),
      );
      this.session.activate(hello.limits);
      this.#options.onActive();
    } catch (error) {
      this.#refuse(error);
    }
  }

  async #register(call: number, tunnels: readonly TunnelRequest[]): Promise<void> {
    try {
      const results = await this.#askControl(tunnels.filter(({ name }) => this.#knows(name)));
      if (!this.#isGreeted) return;
      const others = tunnels.filter(({ name }) => !this.#knows(name)).map(unknownKind);
      for (const part of packResults([...results, ...others])) {
        this.session.sendControl(FRAME.REGISTERED, encodeRegistered({ call, results: part }));
      }
    } catch (error) {
      this.#refuse(error);
    }
  }

  /** Tunnels that control does not answer for are refused for now: streams live on the link. And
   * control is told so, which may come to them later. */
  async #askControl(tunnels: readonly TunnelRequest[]): Promise<readonly TunnelAnswer[]> {
    const { bridge, log } = this.#options;
    const link = this.key;
    this.#registersCount += 1;
    const call = this.#registersCount;
    try {
      return await bridge.call('register', { link, call, tunnels }, REGISTER_TIMEOUT_MS);
    } catch (error) {
      if (!(error instanceof SluicewayError)) throw error;
      const { code, message: reason } = error;
      log.warn({ link, code, reason }, 'control did not answer');
      bridge.tell('giveUpRegister', { link, call });
      return tunnels.map(({ name }) => ({ name, code, reason }));
    }
  }

  /** What the client did not name it would not understand. */
  #knows(tunnel: string): boolean {
    return !isUdpTunnel(tunnel) || this.#features.includes(UDP_FEATURE);
  }

  #refuse(error: unknown): void {
    if (this.#state === 'ended') return;
    const code = error instanceof SluicewayError ? error.code : 'SLW_SHARD_FAILED';
    this.#options.log.warn({ link: this.key, code }, 'link refused');
    this.session.close(code.startsWith('SLW_LINK_') ? code : 'SLW_LINK_ENDED');
  }
}

function unknownKind({ name }: TunnelRequest): TunnelAnswer {
  const reason = 'the feature udp was not agreed on';
  return { name, code: 'SLW_TUNNEL_KIND', reason };
}

/** In as many messages as they need, each below the limit of a control body. */
function packResults(results: readonly TunnelAnswer[]): TunnelAnswer[][] {
  const sized = results.map((result) => ({
    ...result,
    reason: result.reason.slice(0, REASON_LENGTH_MAX),
  }));
  return packBySize(sized, RESULTS_BYTES_MAX, ({ name, code, reason }) => {
    const bytes = Buffer.byteLength(name) + Buffer.byteLength(code) + Buffer.byteLength(reason);
    return bytes + RESULT_OVERHEAD_BYTES;
  });
}
