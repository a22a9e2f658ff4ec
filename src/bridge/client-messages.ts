// Every message between control and shards of a client: plain data, one interface each.
//
// Invariant: nothing here has behaviour or refers to memory of either side; payload never crosses,
// and of credentials only those that a dial presents: a token, a key of the client's own, a login
// at the proxy on the way. Must not know: who sends
// what when; docs/internals.md tells.

import type { ErrorCode } from '../base/errors.ts';
import type { Target } from '../base/target.ts';
import type { TunnelOptions } from '../base/tunnel-options.ts';
import type { TunnelAnswer } from './exit-messages.ts';
import type { LoopWatch, ShardSample } from './shard-sample.ts';

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
  /** The shard dies of an error: all that it has counted. */
  lastSample: { takes: ShardSample; gives: unknown };
};
