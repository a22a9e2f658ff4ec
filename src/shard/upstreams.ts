// The private services of a client: dials one for each stream that an exit node opens, or sends
// it datagrams.
//
// Invariant: what is dialled comes from the client's own table, never from the peer; a dial that
// fails resets its stream with the reason. Must not know: links, or HTTP.

import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Clock } from '../base/clock.ts';
import { attemptsWithin } from '../base/dial-attempts.ts';
import { ERRORS } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { loggable } from '../base/loggable.ts';
import { trustIn } from '../base/own-authorities.ts';
import { isUdpTunnel, readPortName } from '../base/port-name.ts';
import { Roster } from '../base/roster.ts';
import { showTarget } from '../base/target.ts';
import type { UpstreamEntry } from '../bridge/client-messages.ts';
import type { UpstreamFailure } from '../bridge/shard-sample.ts';
import {
  encodeDatagramHeader,
  encodeProxyHeader,
  type ProxyVersion,
} from '../edge/proxy-writer.ts';
import type { Stream } from '../mux/stream.ts';
import { TEXT_LENGTH_MAX } from '../wire/fields.ts';
import type { TunnelOffer } from '../wire/hello.ts';
import type { Open } from '../wire/open.ts';
import { DescriptorWatch } from './descriptor-watch.ts';
import type { Meters } from './meters.ts';
import type { Holding } from './orphaned-bytes.ts';
import { type DialFailure, type RelayLimits, SocketRelay } from './socket-relay.ts';
import { Told } from './told.ts';
import { UdpUpstreams } from './udp-upstreams.ts';

/** What Node, OpenSSL and we call an error by. */
const CODE = /^[A-Z][A-Z0-9_]{0,63}$/u;

export interface UpstreamsOptions {
  readonly limits: RelayLimits & { readonly udpIdleTimeoutMs: number };
  readonly clock: Clock;
  readonly meters: Meters;
  readonly log: Logger;
}

export class Upstreams {
  readonly #options: UpstreamsOptions;
  readonly #relays = new Roster<SocketRelay>();
  readonly #datagrams: UdpUpstreams;
  /** Of tunnels whose upstream could not be connected to. */
  readonly #told = new Told();
  readonly #descriptors: DescriptorWatch;
  /** By tunnel, of those in `#entries`. */
  readonly #failures = new Map<string, UpstreamFailure>();
  #entries: ReadonlyMap<string, UpstreamEntry> = new Map();
  #withheld: ReadonlySet<string> = new Set();

  constructor(options: UpstreamsOptions) {
    this.#options = options;
    const { meters, ...shared } = options;
    this.#descriptors = new DescriptorWatch(options.clock, options.log);
    const { onError: onFailure } = this.#descriptors;
    this.#datagrams = new UdpUpstreams({ ...shared, meter: meters.datagrams, onFailure });
  }

  get connectionsCount(): number {
    return this.#relays.size + this.#datagrams.flowsCount;
  }

  get holdings(): Iterable<Holding> {
    return this.#relays;
  }

  replace(entries: readonly UpstreamEntry[]): void {
    this.#entries = new Map(entries.map((entry) => [entry.name, entry]));
    for (const tunnel of this.#failures.keys()) {
      if (!this.#entries.has(tunnel)) this.#failures.delete(tunnel);
    }
  }

  /** The last of each tunnel that has had one. */
  failures(): UpstreamFailure[] {
    return [...this.#failures.values()];
  }

  /** What to register with an exit node. */
  offers(): TunnelOffer[] {
    return [...this.#entries.values()].filter(({ name }) => !this.#withheld.has(name)).map(offerOf);
  }

  /** These are not offered from now on; what must change on links that have offered them. */
  withhold(names: readonly string[]): { gone: string[]; back: TunnelOffer[] } {
    const before = this.#withheld;
    this.#withheld = new Set(names);
    const back = this.offers().filter(({ name }) => before.has(name));
    return { gone: names.filter((name) => !before.has(name)), back };
  }

  /** Serves `stream` with the upstream of its tunnel. */
  serve(stream: Stream, open: Open): void {
    const entry = this.#entries.get(open.tunnel);
    if (entry === undefined) {
      stream.reset('SLW_STREAM_UNKNOWN_TUNNEL');
      return;
    }
    stream.addMeter(this.#options.meters.tunnel(entry.name));
    if (isUdpTunnel(entry.name)) {
      this.#datagrams.serve(stream, entry, datagramHeader(entry, open));
      return;
    }
    const { limits, clock } = this.#options;
    const socket = dial(entry, limits.upstreamConnectTimeoutMs);
    socket.on('error', this.#descriptors.onError);
    // Kept by the socket until it is connected, and so before every byte of the visitor.
    if (entry.proxyProtocol !== 'off') socket.write(proxyHeader(entry.proxyProtocol, open));
    const relay = new SocketRelay({
      socket,
      limits,
      state: 'dialling',
      nowMs: clock.nowMs(),
      relays: this.#relays,
      onDialFailed: (why) => this.#onDialFailed(entry, why),
    });
    stream.sink = relay;
    relay.join(stream);
  }

  #onDialFailed(entry: UpstreamEntry, why: DialFailure): void {
    const { name: tunnel } = entry;
    // One that was dialled for a table before this.
    if (this.#entries.has(tunnel)) {
      const wallMs = this.#options.clock.wallMs();
      this.#failures.set(tunnel, { tunnel, code: codeOf(why), wallMs });
    }
    this.#tell(entry, why);
  }

  /** Visitors see a 502 or a reset, and only this says why. An error is what does not pass. */
  #tell({ name: tunnel, ...entry }: UpstreamEntry, why: DialFailure): void {
    const { clock, log } = this.#options;
    if (!this.#told.isNews(tunnel, clock.nowMs())) return;
    const about = { tunnel, upstream: entry.path ?? showTarget(entry), ...reasonOf(why) };
    if (entry.tls && isBeyondTcp(why)) log.error(about, 'no TLS connection to the upstream');
    else log.warn(about, 'no connection to the upstream');
  }

  sweep(nowMs: number): void {
    for (const relay of this.#relays) relay.sweep(nowMs);
    this.#datagrams.sweep(nowMs);
  }

  /** No new streams come; datagrams, which have no end of their own, end when they are silent. */
  drain(): void {
    this.#datagrams.drain();
  }

  /** The thread is about to die: its end would close these as if all had been said. */
  cutAll(): void {
    for (const relay of this.#relays) relay.cut();
    this.#datagrams.closeAll();
  }

  /** The thread ends. */
  cutUnsent(): void {
    for (const relay of this.#relays) relay.cutUnsent();
  }
}

/** Is a connection there, and what came over it wrong? */
function isBeyondTcp(why: DialFailure): boolean {
  if (typeof why === 'string' || why instanceof AggregateError) return false;
  return why.syscall !== 'connect' && why.syscall !== 'getaddrinfo';
}

/** A code and no text: what errors say may quote names and certificates. */
function codeOf(why: DialFailure): string {
  const code = typeof why === 'string' ? why : (why.code ?? '');
  return CODE.test(code) ? code : 'SLW_STREAM_UNREACHABLE';
}

/** Where several addresses were tried, of the first: what holds them has no text of its own. */
function reasonOf(why: DialFailure): { readonly code: string; readonly reason: string } {
  if (typeof why === 'string') return { code: why, reason: ERRORS[why].text };
  const first: unknown = why instanceof AggregateError ? why.errors[0] : why;
  const { message } = first instanceof Error ? first : why;
  return { code: why.code ?? '', reason: loggable(message) };
}

function offerOf({ name, label, options }: UpstreamEntry): TunnelOffer {
  const offer = { name, label: label.slice(0, TEXT_LENGTH_MAX) };
  return options === undefined ? offer : { ...offer, options: Object.entries(options) };
}

function proxyHeader(version: ProxyVersion, { toAddress, toPort = 0, ...open }: Open): Buffer {
  const destination = toAddress === undefined ? undefined : { address: toAddress, port: toPort };
  return encodeProxyHeader(version, open, destination);
}

/** Where it arrived is known but for the address, where an exit node listens at all of them. */
function datagramHeader({ proxyProtocol, name }: UpstreamEntry, open: Open): Buffer | undefined {
  if (proxyProtocol === 'off') return undefined;
  const { toAddress: address = '', toPort: port = readPortName(name)?.port ?? 0 } = open;
  return encodeDatagramHeader(open, { address, port });
}

function dial(entry: UpstreamEntry, timeoutMs: number): Socket {
  const { path, host, port, tls, ca, serverName, isUnverified } = entry;
  if (path !== undefined) return connectTcp({ path, allowHalfOpen: true });
  const options = {
    host,
    port,
    allowHalfOpen: true,
    noDelay: true,
    ...attemptsWithin(timeoutMs),
  };
  if (!tls) return connectTcp(options);
  // An IP address is no valid server name in TLS (RFC 6066 section 3).
  const isName = /[a-z]/i.test(host) && !host.includes(':');
  const servername = serverName ?? (isName ? host : undefined);
  // Whatever NODE_TLS_REJECT_UNAUTHORIZED says.
  const rejectUnauthorized = isUnverified !== true;
  const named = servername === undefined ? {} : { servername };
  return connectTls({
    ...options,
    rejectUnauthorized,
    ...named,
    ...trustIn(ca),
  });
}
