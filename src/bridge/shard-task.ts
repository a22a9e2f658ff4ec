// What a shard is started with, and which of it may change while it runs: plain data.
//
// Invariant: nothing here has behaviour or refers to memory of either side. Must not know: who
// reads which setting, or where an operator set it.

import type { MessagePort } from 'node:worker_threads';
import type { ForwardRule } from '../base/forward-rules.ts';
import type { InspectSettings } from '../base/inspection.ts';
import type { Network } from '../base/network.ts';
import type { NetworkTable } from '../base/network-set.ts';
import type { VisitorLimits } from '../base/visitor-limits.ts';

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
  /** Visitors that are kept out. */
  readonly denied?: NetworkTable;
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
  /** A test hook of the contract: fail in this way after so long, or once when there is a file. */
  readonly fault:
    | (({ readonly afterMs: number } | { readonly file: string }) & {
        readonly kind: 'shard-throw' | 'shard-oom' | 'shard-block';
      })
    | undefined;
}
