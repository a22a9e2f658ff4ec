// Every message between control and shards: plain data, one interface each.
//
// Invariant: nothing here has behaviour or refers to memory of either side; payload never crosses,
// and of credentials only what a peer itself presented (a shard accepts the control port) and the
// keys of certificates, never tokens that the exit node keeps. Must not know: who sends what when;
// docs/internals.md tells.

import type { MessagePort } from 'node:worker_threads';
import type { ErrorCode } from '../base/errors.ts';
import type { ForwardRule } from '../base/forward-rules.ts';
import type { InspectSettings } from '../base/inspection.ts';
import type { Network } from '../base/network.ts';
import type { Target } from '../base/target.ts';
import type { OfferedOptions, TunnelOptions } from '../base/tunnel-options.ts';
import type { VisitorLimits } from '../base/visitor-limits.ts';
import type { InspectedDetail, InspectedRequest } from './inspected.ts';
import type { LoginControlMethods, LoginSettings } from './login-messages.ts';

/** Limits and times for sessions and sockets, as the operator set them. */
export interface ShardSettings {
  readonly agent: string;
  readonly logLevel: string;
  readonly logFormat: 'json' | 'pretty';
  readonly windowInitialBytes: number;
  readonly windowMaxBytes: number;
  readonly sessionMemoryMaxBytes: number;
  readonly frameMaxBytes: number;
  readonly streamsPerLinkMax: number;
  readonly linkPingIntervalMs: number;
  readonly linkDeadAfterMs: number;
  readonly upstreamConnectTimeoutMs: number;
  readonly tcpIdleTimeoutMs: number;
  readonly udpIdleTimeoutMs: number;
  readonly halfCloseTimeoutMs: number;
  readonly headerTimeoutMs: number;
  readonly bodyIdleTimeoutMs: number;
  readonly keepAliveTimeoutMs: number;
  readonly upstreamResponseTimeoutMs: number;
  /** Of this shard alone. */
  readonly visitorConnectionsMax: number;
  readonly udpFlowsMax: number;
  readonly udpFlowsPerAddressMax: number;
  readonly udpNewFlowsPerSecondMax: number;
  // Lists of an exit node; absent or empty, what they allow is off.
  readonly allowIps?: readonly Network[];
  readonly controlAllowIps?: readonly Network[];
  readonly acceptProxyProtocol?: readonly Network[];
  readonly trustedProxies?: readonly Network[];
  /** What clients may reach. */
  readonly clientForwarding?: readonly ForwardRule[];
}

/** What a running shard takes over; of `settings` only what may change differs. */
export interface LiveSettings {
  readonly settings: ShardSettings;
  readonly limits: VisitorLimits;
  readonly inspect: InspectSettings;
}

/** How a shard of the exit node treats visitors. */
export interface VisitorSettings {
  /** Of this shard alone. */
  readonly limits: VisitorLimits;
  readonly inspect: InspectSettings;
  readonly accessLog: boolean;
  /** On which ports of visitors links are let in, too. */
  readonly linkSchemes: readonly ('http' | 'https')[];
  /** The operator's own pages, by status. */
  readonly errorPages: readonly (readonly [number, string])[];
}

/** What the control port speaks TLS with, PEM. */
export interface PortTls {
  readonly cert: string;
  readonly key: string;
  /** Clients are asked for a certificate of this CA. */
  readonly clientCa: string | undefined;
}

export interface HttpsSettings {
  /** 0: no Strict-Transport-Security. */
  readonly hstsMaxAgeSeconds: number;
  /** Public port to which plain requests are redirected; 0: they are not. */
  readonly redirectPort: number;
}

/** What a shard is started with. */
export interface ShardTask {
  readonly role: 'exit' | 'client';
  readonly port: MessagePort;
  readonly shard: number;
  readonly settings: ShardSettings;
  /** Absent at a client, which has none. */
  readonly visitors?: VisitorSettings;
  readonly tls: PortTls | undefined;
  /** How HTTPS visitors are served; only at an exit node, and only when it has HTTPS. */
  readonly https?: HttpsSettings;
  /** A test hook of the contract: fail in this way after so long. */
  readonly fault:
    | { readonly kind: 'shard-throw' | 'shard-oom' | 'shard-block'; readonly afterMs: number }
    | undefined;
}

// --- both roles ----------------------------------------------------------------------------

export interface TunnelSample {
  readonly tunnel: string;
  readonly streams: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Ended streams by code; SLW_NONE for cleanly. */
  readonly results: readonly (readonly [ErrorCode, number])[];
}

export interface RequestSample {
  readonly tunnel: string;
  readonly method: string;
  readonly status: number;
  readonly count: number;
  /** Whole microseconds, so that sums are the same in whatever order shards are added up. */
  readonly durationUs: number;
  /** Cumulative counts, one a bucket of REQUEST_BUCKETS_SECONDS. */
  readonly buckets: readonly number[];
}

export interface LinkSample {
  readonly link: string;
  readonly streams: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly roundTripMs: number;
  readonly queuedBytes: number;
}

/** Running totals since the shard started. */
export interface ShardSample {
  readonly tunnels: readonly TunnelSample[];
  readonly requests: readonly RequestSample[];
  readonly links: readonly LinkSample[];
  readonly stalled: { readonly held: number; readonly waiting: number };
  readonly meshBytes: number;
  readonly visitorConnections: number;
  readonly protocolErrors: readonly (readonly [ErrorCode, number])[];
  readonly acceptErrors: readonly (readonly [string, number])[];
  readonly logDropped: number;
  /** HTTP requests that are being served, by tunnel. */
  readonly inFlight: readonly (readonly [string, number])[];
  /** How often a limit refused a visitor or held one back, by limit. */
  readonly limited: readonly (readonly [string, number])[];
  /** Visitors of the HTTPS port that were refused before a handshake, by reason. */
  readonly tlsRefused: readonly (readonly [string, number])[];
  /** Who was not on an allow list, by list. */
  readonly denied: readonly (readonly [string, number])[];
  /** Datagrams that passed, by direction, and those that were dropped, by reason. */
  readonly datagrams: {
    readonly passed: readonly (readonly [string, number])[];
    readonly dropped: readonly (readonly [string, number])[];
  };
  /** Of the time since the last sample for the same watch; absent for `none`. */
  readonly loopDelay?: LoopDelay;
}

/** In seconds. */
export interface LoopDelay {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** Who watches the event loop: each has a measurement of its own, begun anew by its sample. */
export type LoopWatch = 'scrape' | 'look' | 'none';

/** Upper bounds of the request duration histogram: prom-client's defaults and a long tail. */
export const REQUEST_BUCKETS_SECONDS: readonly number[] = [
  0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
];

// --- exit node ------------------------------------------------------------------------------

export interface ListenRequest {
  /** `control`, `http`, `https`, or a tunnel's name, which says whether it is TCP or UDP. */
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly reusePort: boolean;
  /** Listening sockets of a predecessor, to be used in place of a new one. */
  readonly inherited?: readonly number[];
}

/** A listener that is open: its port, and the descriptors of its sockets. */
export interface Listening {
  readonly port: number;
  readonly fds: readonly number[];
}

/** What a login gave; `throttled`: too many of this address failed; `unavailable`: nobody could say
 * now, as an issuer of tokens does not answer. */
export type Access = 'allowed' | 'refused' | 'throttled' | 'unavailable';

export interface LinkHello {
  readonly link: string;
  readonly client: string;
  readonly instance: string;
  readonly agent: string;
  readonly remoteAddress: string;
  /** The name in the client's certificate; absent when a token let it in. */
  readonly identity?: string;
  /** Names the token that let it in; absent when a certificate did. No secret. */
  readonly credential?: string;
}

/** What a client that was let in may do by the token that let it in. */
export interface ClientGrant {
  /** The name of the token; absent: one that has no name. */
  readonly token?: string;
  /** What it may reach; absent: all that the server allows. */
  readonly forwards?: readonly ForwardRule[];
}

export interface PlainRequest {
  readonly method: string;
  readonly target: string;
  readonly authorization: string | undefined;
  readonly remoteAddress: string;
  /** The name in a client certificate that was verified. */
  readonly identity?: string;
}

export interface PlainAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** What visitors who ask for `name`, a host or a wildcard, are shown; PEM. */
export interface CertificatePair {
  readonly name: string;
  readonly cert: string;
  readonly key: string;
}

export interface CertificateChange {
  readonly set: readonly CertificatePair[];
  /** Names. */
  readonly drop: readonly string[];
}

/** What a certificate authority will ask to see. */
export type Challenge =
  | { readonly kind: 'http-01'; readonly token: string; readonly text: string }
  | ({ readonly kind: 'tls-alpn-01' } & CertificatePair);

export interface RouteChange {
  /** Control's running number; a shard ignores what is not newer. */
  readonly number: number;
  readonly kind: 'add' | 'remove' | 'forget';
  readonly tunnel: string;
  readonly client: string;
  readonly link: string;
  readonly shard: number;
  /** Of an added route: the name of the token that let its client in; absent: one that has no
   * name. */
  readonly token?: string;
  /** Of an added route: what its client declared for the tunnel. */
  readonly options?: TunnelOptions | undefined;
}

/** What one shard may let the visitors of a token use; what is absent is not limited. */
export interface TokenBudgetShare {
  readonly token: string;
  /** Open streams more than it was given so far. */
  readonly slots?: number;
  /** More are open than the limit, which was lowered: none begins, whatever slots there are. */
  readonly isFull?: boolean;
  readonly requestsPerSecond?: number;
  readonly bytesInPerSecond?: number;
  readonly bytesOutPerSecond?: number;
  readonly month?: 'open' | 'spent';
}

export interface TokenBudgetChange {
  /** These are all; else others stay as they are. */
  readonly isWhole: boolean;
  readonly shares: readonly TokenBudgetShare[];
}

/** What was used of a rate since the last report, and how many could have used more. */
export interface TokenRateUse {
  readonly used: number;
  readonly waiting: number;
}

/** What the visitors of a limited token used in one shard since its last report. */
export interface TokenUse {
  readonly token: string;
  readonly requests: TokenRateUse;
  readonly bytesIn: TokenRateUse;
  readonly bytesOut: TokenRateUse;
  /** How often each limit refused somebody or held one back, by key of the tokens file. */
  readonly limited: readonly (readonly [string, number])[];
}

/** A tunnel as a client asks for it. */
export interface TunnelRequest {
  readonly name: string;
  readonly label: string;
  readonly options?: OfferedOptions | undefined;
}

export interface TunnelAnswer {
  readonly name: string;
  readonly code: ErrorCode | '';
  readonly reason: string;
}

/** What control asks or tells a shard of the exit node. */
export type ExitShardMethods = {
  listen: { takes: ListenRequest; gives: Listening };
  unlisten: { takes: { name: string }; gives: unknown };
  route: { takes: readonly RouteChange[]; gives: unknown };
  mesh: { takes: { shard: number; port: MessagePort }; gives: unknown };
  /** What the control port speaks TLS with from now on. */
  tls: { takes: PortTls; gives: unknown };
  settings: { takes: LiveSettings; gives: unknown };
  tokenBudgets: { takes: TokenBudgetChange; gives: unknown };
  /** What holds for links from now on. */
  grants: {
    takes: readonly { readonly link: string; readonly grant: ClientGrant }[];
    gives: unknown;
  };
  /** Who has logged in, from now on. */
  logins: { takes: LoginSettings; gives: unknown };
  /** Give back slots of a token that no stream has, half of them or all; the answer is how many. */
  recallSlots: { takes: { token: string; isAll: boolean }; gives: number };
  /** The newest requests that are kept, of one tunnel or of all. */
  inspected: {
    takes: { tunnel: string | undefined; limit: number };
    gives: readonly InspectedRequest[];
  };
  inspect: { takes: { id: string }; gives: InspectedDetail | undefined };
  /** Sends a kept request again; undefined when it is no longer kept. */
  replay: {
    takes: { id: string };
    gives: { readonly id: string } | { readonly problem: string } | undefined;
  };
  closeLinks: { takes: { links: readonly string[]; code: ErrorCode }; gives: unknown };
  certificates: { takes: CertificateChange; gives: unknown };
  /** Answer these from now on, and no others. */
  challenges: { takes: readonly Challenge[]; gives: unknown };
  /** What session tickets are sealed with from now on. */
  ticketKey: { takes: Uint8Array; gives: unknown };
  sample: { takes: { loop: LoopWatch }; gives: ShardSample };
  /** Tell clients that a successor takes new links; these go on. */
  move: { takes: undefined; gives: unknown };
  /** Stop accepting, tell clients to go unless they moved; answered when no stream is left. */
  drain: { takes: { isMoved: boolean }; gives: unknown };
  stop: { takes: undefined; gives: unknown };
};

/** What a shard of the exit node asks or tells control. */
export type ExitControlMethods = LoginControlMethods & {
  authorize: {
    takes: { authorization: string | undefined; remoteAddress: string; identity?: string };
    gives: { access: Access; credential?: string };
  };
  hello: {
    takes: LinkHello;
    gives: { node: string; shards: number; grant: ClientGrant; spreadMs: number };
  };
  register: {
    takes: { link: string; tunnels: readonly TunnelRequest[] };
    gives: readonly TunnelAnswer[];
  };
  unregister: { takes: { link: string; names: readonly string[] }; gives: unknown };
  /** The client takes no more streams on it; those that live go on. */
  linkLeaving: { takes: { link: string }; gives: unknown };
  linkGone: { takes: { link: string; code: ErrorCode }; gives: unknown };
  /** More slots of a token are wanted; the answer is how many there are. */
  askSlots: { takes: { token: string }; gives: number };
  tokenUse: { takes: readonly TokenUse[]; gives: unknown };
  request: { takes: PlainRequest; gives: PlainAnswer };
  /** A request on the control port was answered without asking control. */
  answered: { takes: { path: string; status: number }; gives: unknown };
};

// --- client ---------------------------------------------------------------------------------

export interface UpstreamEntry {
  readonly name: string;
  readonly label: string;
  /** Of a Unix socket, in place of host and port. */
  readonly path?: string | undefined;
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
  /** The header written before a visitor's bytes, or before each of its datagrams. */
  readonly proxyProtocol: 'off' | 'v1' | 'v2';
  /** The CA to trust for it, PEM; the system's when there is none. */
  readonly ca?: string | undefined;
  /** Whose certificate it must show; by default that of `host`. */
  readonly serverName?: string | undefined;
  /** Any certificate will do. */
  readonly isUnverified?: boolean | undefined;
  readonly options?: TunnelOptions | undefined;
}

/** A port of the client's own, for a service on the server's side. */
export interface LocalListen {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** Absent: whoever connects says whom it wants, by SOCKS. */
  readonly target?: Target;
}

export interface LinkDial {
  readonly link: string;
  /** The place of the server among those of the client. */
  readonly server: number;
  readonly url: string;
  /** Empty: the certificate of `own` stands in for it. */
  readonly token: string;
  readonly ca: string | undefined;
  /** The client's own certificate, PEM. */
  readonly own?: { readonly cert: string; readonly key: string };
  /** The proxy on the way, with its login. */
  readonly proxy?: string;
  readonly client: string;
  readonly instance: string;
  readonly mask: 'auto' | 'always' | 'never';
}

export interface LinkWelcome {
  readonly link: string;
  readonly node: string;
  readonly shard: number;
  readonly shards: number;
  readonly agent: string;
  /** Within which to come back when the server is lost; 0: as the client likes. */
  readonly spreadMs: number;
}

/** What the client's control asks or tells a shard. */
export type ClientShardMethods = {
  upstreams: { takes: readonly UpstreamEntry[]; gives: unknown };
  /** Tunnels that are not offered for now, by name: these and no others. */
  withhold: { takes: readonly string[]; gives: unknown };
  /** Opens a local port; the answer is which. */
  listenLocal: { takes: LocalListen; gives: number };
  dial: { takes: LinkDial; gives: unknown };
  /** Keep the link and offer the tunnels on it. */
  keep: { takes: { link: string }; gives: unknown };
  close: { takes: { link: string; code: ErrorCode }; gives: unknown };
  sample: { takes: { loop: LoopWatch }; gives: ShardSample };
  drain: { takes: undefined; gives: unknown };
  stop: { takes: undefined; gives: unknown };
};

/** What a shard of the client tells its control. */
export type ClientControlMethods = {
  welcomed: { takes: LinkWelcome; gives: unknown };
  registered: { takes: { link: string; results: readonly TunnelAnswer[] }; gives: unknown };
  goAway: { takes: { link: string; code: ErrorCode }; gives: unknown };
  ended: { takes: { link: string; code: ErrorCode; detail: string }; gives: unknown };
};
