// Streams that a client opens: dials for them what the rules allow, from the exit node's network.
//
//   OPEN forward:HOST:PORT --rules--> look-up --rules, each address--> dial that address --> relay
//
// Invariant: no packet leaves for a target that the server's rules, and those of the client's
// token, do not allow: a name is resolved once, and what is dialled is an address that was judged;
// a rule that is withdrawn cuts what came by it. Must not know: links, tokens, who visits there.

import { connect, isIP, type LookupFunction, type Socket } from 'node:net';
import type { Clock } from '../base/clock.ts';
import { attemptsWithin } from '../base/dial-attempts.ts';
import { ERRORS, type ErrorCode, SluicewayError } from '../base/errors.ts';
import { type ForwardRule, ForwardRules } from '../base/forward-rules.ts';
import { canonicalIp } from '../base/ip.ts';
import type { Logger } from '../base/log.ts';
import { Roster } from '../base/roster.ts';
import { readTarget, showTarget, type Target } from '../base/target.ts';
import type { Stream } from '../mux/stream.ts';
import { FORWARD, type Open } from '../wire/open.ts';
import { DescriptorWatch } from './descriptor-watch.ts';
import { Lookups } from './lookups.ts';
import { type Meters, OTHER } from './meters.ts';
import type { Holding } from './orphaned-bytes.ts';
import { type RelayLimits, SocketRelay } from './socket-relay.ts';
import type { TokenBudget } from './token-budget.ts';
import { Told } from './told.ts';

/** On whose behalf: what its token allows, looked at anew for each stream. */
export interface ForwardScope {
  /** For the log. */
  readonly link: string;
  /** Undefined: all that the server allows. */
  readonly rules: ForwardRules | undefined;
  readonly budget: TokenBudget | undefined;
}

export interface ForwardsOptions {
  readonly limits: RelayLimits;
  readonly rules: readonly ForwardRule[];
  readonly clock: Clock;
  readonly meters: Meters;
  readonly log: Logger;
  /** Counts a denial. */
  readonly onDenied: () => void;
}

interface Forward {
  readonly relay: SocketRelay;
  readonly target: Target;
  readonly scope: ForwardScope;
  readonly socket: Socket;
}

export class Forwards {
  readonly #options: ForwardsOptions;
  readonly #relays = new Roster<SocketRelay>();
  readonly #live = new Roster<Forward>();
  readonly #lookups = new Lookups();
  readonly #told = new Told();
  readonly #descriptors: DescriptorWatch;
  #rules: ForwardRules;

  constructor(options: ForwardsOptions) {
    this.#options = options;
    this.#descriptors = new DescriptorWatch(options.clock, options.log);
    this.#rules = new ForwardRules(options.rules);
  }

  get connectionsCount(): number {
    return this.#relays.size;
  }

  get holdings(): Iterable<Holding> {
    return this.#relays;
  }

  /** Dials for a stream that a client has opened, or resets it. */
  serve(stream: Stream, open: Open, scope: ForwardScope): void {
    const target = targetOf(open.tunnel);
    if (target === undefined) {
      stream.reset('SLW_STREAM_UNKNOWN_TUNNEL');
      return;
    }
    const { meters, onDenied } = this.#options;
    const refusal = scope.budget?.refuse(undefined) ?? this.#refusal(target, scope);
    if (refusal !== undefined) {
      if (refusal.startsWith('SLW_FORWARD_')) onDenied();
      // Limits of tokens have no number of their own on a link.
      stream.reset(ERRORS[refusal].wire === -1 ? 'SLW_STREAM_LIMIT' : refusal);
      return;
    }
    stream.addMeter(meters.tunnel(OTHER));
    scope.budget?.attach(stream);
    this.#dial(stream, target, scope);
  }

  /** These rules hold from now on, for what lives too. */
  replace(rules: readonly ForwardRule[]): void {
    this.#rules = new ForwardRules(rules);
    this.recheck();
  }

  /** Cuts what is not allowed any more. */
  recheck(): void {
    for (const forward of this.#live) this.#recheckOne(forward);
  }

  #recheckOne({ relay, target, scope, socket }: Forward): void {
    const { remoteAddress } = socket;
    // What is not connected yet is looked at again when it is.
    const code =
      remoteAddress === undefined
        ? this.#refusal(target, scope)
        : this.#judge(target, remoteAddress, scope);
    if (code === undefined) return;
    this.#options.onDenied();
    relay.abort(code);
  }

  sweep(nowMs: number): void {
    for (const relay of this.#relays) relay.sweep(nowMs);
  }

  /** The thread is about to die. */
  cutAll(): void {
    for (const relay of this.#relays) relay.cut();
  }

  /** The thread ends. */
  cutUnsent(): void {
    for (const relay of this.#relays) relay.cutUnsent();
  }

  #dial(stream: Stream, target: Target, scope: ForwardScope): void {
    const { limits, clock } = this.#options;
    const { host, port } = target;
    const socket = connect({
      host: canonicalIp(host) ?? host,
      port,
      lookup: this.#lookupFor(target, scope),
      ...attemptsWithin(limits.upstreamConnectTimeoutMs),
      allowHalfOpen: true,
      noDelay: true,
    });
    socket.on('error', this.#descriptors.onError);
    const relay = new SocketRelay({
      socket,
      limits,
      state: 'dialling',
      nowMs: clock.nowMs(),
      relays: this.#relays,
      onEnd: () => seat.leave(),
    });
    const forward = { relay, target, scope, socket };
    const seat = this.#live.enter(forward);
    // Rules may have changed since it was dialled.
    socket.once('connect', () => this.#recheckOne(forward));
    stream.sink = relay;
    relay.join(stream);
  }

  /** Gives the addresses that are allowed; an error with our code when there is none. */
  #lookupFor(target: Target, scope: ForwardScope): LookupFunction {
    return (name, { all }, callback) => {
      this.#lookups.lookUp(name, (error, found) => {
        // Told when none is left alone: while one may be dialled, nobody is denied anything.
        const allowed = found.filter(
          ({ address }) => this.#verdict(target, address, scope) === undefined,
        );
        const [first] = allowed;
        if (first === undefined) {
          const codes = found.map(({ address }) => this.#judge(target, address, scope));
          const code = codes[codes.length - 1];
          if (code !== undefined) this.#options.onDenied();
          callback(code === undefined ? notFound(name, error) : new SluicewayError(code), '', 0);
        } else if (all === true) callback(null, allowed);
        else callback(null, first.address, first.family);
      });
    };
  }

  /** Why a target is refused before anything is asked of anybody. */
  #refusal(target: Target, scope: ForwardScope): ErrorCode | undefined {
    const { host, port } = target;
    const address = canonicalIp(host);
    if (address !== undefined) return this.#judge(target, address, scope);
    if (!this.#rules.mayFit(host, port)) {
      return this.#deny('SLW_FORWARD_NOT_ALLOWED', target, scope);
    }
    const isFit = scope.rules === undefined || scope.rules.mayFit(host, port);
    return isFit ? undefined : this.#deny('SLW_FORWARD_TOKEN', target, scope);
  }

  /** Why an address is refused, which is told. */
  #judge(target: Target, address: string, scope: ForwardScope): ErrorCode | undefined {
    const code = this.#verdict(target, address, scope);
    return code === undefined ? undefined : this.#deny(code, target, scope, address);
  }

  #verdict(target: Target, address: string, scope: ForwardScope): ErrorCode | undefined {
    const { host, port } = target;
    const asked = canonicalIp(host) ?? host;
    const byServer = this.#rules.judge(asked, address, port);
    const byToken = scope.rules?.judge(asked, address, port) ?? 'allowed';
    if (byServer === 'allowed' && byToken === 'allowed') return undefined;
    const isReserved =
      byServer === 'reserved' || (byServer === 'allowed' && byToken === 'reserved');
    const lacking = byServer === 'allowed' ? 'SLW_FORWARD_TOKEN' : 'SLW_FORWARD_NOT_ALLOWED';
    return isReserved ? 'SLW_FORWARD_ADDRESS' : lacking;
  }

  #deny(code: ErrorCode, target: Target, scope: ForwardScope, address?: string): ErrorCode {
    const shown = showTarget(target);
    const { log, clock } = this.#options;
    if (!this.#told.isNews(`${scope.link} ${shown} ${code}`, clock.nowMs())) return code;
    const isReserved = code === 'SLW_FORWARD_ADDRESS' && address !== undefined;
    const named = isReserved ? showTarget({ ...target, host: address }) : shown;
    const missing =
      code === 'SLW_FORWARD_TOKEN'
        ? `forwards: ["${named}"] of the token`
        : `--client-forwarding ${named}`;
    log.warn({ link: scope.link, target: shown, address, code, missing }, 'forward denied');
    return code;
  }
}

/** Undefined for what is no forward, and for what a socket would dial without a look-up and no rule
 * can judge: an address with a zone. */
function targetOf(tunnel: string): Target | undefined {
  if (!tunnel.startsWith(FORWARD)) return undefined;
  const target = readTarget(tunnel.slice(FORWARD.length));
  const isLiteral = target !== undefined && isIP(target.host) !== 0;
  return isLiteral && canonicalIp(target.host) === undefined ? undefined : target;
}

function notFound(name: string, error: Error | undefined): Error {
  if (error instanceof SluicewayError) return error;
  return new SluicewayError('SLW_STREAM_UNREACHABLE', `${name} has no address`, { cause: error });
}
