// The options of `sluiceway server`, and the configuration that they make.
//
// Invariant: what an option is stands with its noun, such as https.ts; here is which a server has,
// in the order of help and docs. Must not know: how they depend on each other (server-check.ts).

import type { ForwardRule } from '../base/forward-rules.ts';
import type { InspectSettings } from '../base/inspection.ts';
import type { Masked } from '../base/masked.ts';
import type { Network } from '../base/network.ts';
import type { PortRange } from '../base/target.ts';
import type { VisitorLimits } from '../base/visitor-limits.ts';
import { type Address, address, addressOrOff, host, portRange } from './address.ts';
import { DRAIN_DELAY_OPTION, DRAIN_TIMEOUT_OPTION } from './drain.ts';
import { FAULT_OPTIONS, type Fault } from './fault.ts';
import { CONFIG_OPTION } from './file.ts';
import { forwardRule } from './forward.ts';
import { HTTPS_OPTIONS } from './https.ts';
import { buildHttps, type HttpsConfig } from './https-check.ts';
import { buildInspect, INSPECT_OPTIONS } from './inspect.ts';
import { buildLimits, LIMIT_OPTIONS, MEMORY_OPTION, type MemoryMax } from './limits.ts';
import { LOG_OPTIONS, type LogLevel } from './log.ts';
import { DENIED_MAX, deniedNetwork, network } from './network.ts';
import { type OidcConfig, oidcIssuer } from './oidc.ts';
import { type LogFormat, many, one, optional, present, type ValuesOf } from './option.ts';
import { boolean, choice, integer, path, text } from './quantity.ts';
import { adminAddr } from './readiness.ts';
import type { Resolution } from './resolve.ts';
import { TOKEN_OPTIONS } from './token.ts';
import { AUTO_TLS_OPTIONS, type AutoTlsConfig, buildAutoTls, type Environment } from './trust.ts';
import {
  buildServerTuning,
  SERVER_TUNING,
  SHARDS_MAX,
  SHARED_TUNING,
  type Tuning,
} from './tuning.ts';
import { UDP_PORT_OPTIONS } from './udp.ts';

export const SERVER_OPTIONS = {
  ...CONFIG_OPTION,
  'control-addr': one(address, {
    default: '0.0.0.0:8123',
    help: 'where clients connect, with /status, /metrics, /healthz and /readyz',
  }),
  'control-on-http': one(boolean, {
    default: 'false',
    help: 'let clients connect on the port of HTTP tunnels too, such as behind a TLS balancer',
  }),
  'control-on-https': one(boolean, {
    default: 'false',
    help: 'let clients connect on the port of HTTPS tunnels too: wss://HOST, on 443',
  }),
  'http-addr': one(addressOrOff, {
    default: '0.0.0.0:8000',
    defaultText: "0.0.0.0:8000, 0.0.0.0:80 with Let's Encrypt",
    help: 'HTTP tunnels, routed by Host; or off',
  }),
  ...HTTPS_OPTIONS,
  'tcp-addr': one(host, { default: '0.0.0.0', help: 'address on which TCP tunnel ports open' }),
  'tcp-ports': many(portRange, {
    default: '1024-65535',
    emptyWord: 'off',
    help: 'ports that clients may ask for at all; or off',
  }),
  ...UDP_PORT_OPTIONS,
  'admin-addr': adminAddr,
  'tls-cert': optional(path, { help: 'certificate chain for the control port, PEM' }),
  'tls-key': optional(path, { help: 'private key of --tls-cert, PEM' }),
  'allow-ips': many(network, {
    help: 'let in visitors from these addresses alone, or @FILE with one a line',
  }),
  'deny-ips': many(deniedNetwork, {
    help: 'keep visitors from these addresses out, or @FILE with one a line, or none',
    valuesMax: DENIED_MAX,
  }),
  'control-allow-ips': many(network, {
    help: 'let clients in on the control port from these addresses alone; likewise',
  }),
  'accept-proxy-protocol': many(network, {
    help: 'peers that must send a PROXY header on visitor ports; @FILE has one a line',
  }),
  'trusted-proxies': many(network, {
    help: 'peers whose X-Forwarded-For, -Proto and -Host are believed; @FILE has one a line',
  }),
  'client-forwarding': many(forwardRule, {
    help: 'let clients reach HOST:PORT from here by --local, such as nats.default.svc:4222',
  }),
  ...AUTO_TLS_OPTIONS,
  'client-ca': optional(path, {
    help: 'accept clients whose certificate this CA signed, without a token; PEM',
  }),
  ...TOKEN_OPTIONS,
  'tokens-file': optional(path, {
    help: 'file of tokens, each with the hosts and ports that it may serve',
  }),
  'oidc-issuer': optional(oidcIssuer, {
    help: 'accept JWTs of this issuer, by the rules under oidc: in the tokens file',
  }),
  'oidc-audience': optional(
    text('TEXT', /^[\x21-\x7e]{1,256}$/, 'is no audience; write printable ASCII without spaces'),
    { help: 'whom such a JWT must be meant for' },
  ),
  'login-providers': optional(path, {
    help: 'file of OpenID Connect issuers and GitHub, where visitors of tunnels can log in',
  }),
  'tokens-usage-file': optional(path, {
    help: 'keeps what tokens used of their bytes a month; beside the tokens file if none',
  }),
  shards: one(integer({ min: 1, max: SHARDS_MAX }), {
    default: ({ cores }) => String(Math.min(SHARDS_MAX, Math.max(1, cores - 1))),
    defaultText: 'cores - 1, at least 1',
    help: 'worker threads',
  }),
  'reuse-port': one(choice(['auto', 'off']), {
    default: 'auto',
    help: 'let the kernel spread connections over the shards; off: one shard accepts',
  }),
  ...DRAIN_DELAY_OPTION,
  ...DRAIN_TIMEOUT_OPTION,
  ...LOG_OPTIONS,
  'access-log': one(boolean, {
    default: 'false',
    help: 'log a JSON line for each request, and for each TCP connection at its end',
  }),
  'error-pages': optional(path, {
    help: 'folder of pages of your own for errors, such as 503.html',
  }),
  ...INSPECT_OPTIONS,
  ...FAULT_OPTIONS,
  ...SHARED_TUNING,
  ...SERVER_TUNING,
  ...LIMIT_OPTIONS,
  ...MEMORY_OPTION,
};

type ServerValues = ValuesOf<typeof SERVER_OPTIONS>;

export interface ServerConfig {
  readonly controlAddr: Address;
  readonly httpAddr: Address | 'off';
  /** Absent: no HTTPS. */
  readonly https?: HttpsConfig;
  readonly tcpHost: string;
  /** Empty: clients may open no TCP port. */
  readonly tcpPorts: readonly PortRange[];
  readonly udpHost: string;
  /** Empty: clients may open no UDP port. */
  readonly udpPorts: readonly PortRange[];
  readonly adminAddr: Address | 'off';
  /** Who may visit; empty is everyone. */
  readonly allowIps: readonly Network[];
  /** Who may not, whatever `allowIps` says; empty is nobody. */
  readonly denyIps: readonly Network[];
  /** From where clients may come; empty is everywhere. */
  readonly controlAllowIps: readonly Network[];
  /** Peers that must send a PROXY header. */
  readonly acceptProxyProtocol: readonly Network[];
  /** Peers whose forwarding fields are believed. */
  readonly trustedProxies: readonly Network[];
  /** What clients may reach; empty is nothing. */
  readonly clientForwarding: readonly ForwardRule[];
  /** Paths, both or none. */
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  /** Not together with `tlsCert`. */
  readonly autoTls?: AutoTlsConfig;
  /** Clients with a certificate of this CA need no token. */
  readonly clientCa?: string;
  /** Absent: only `clientCa` lets anybody in. */
  readonly token?: Masked;
  /** Path of a file of further tokens (tokens-file.ts). */
  readonly tokensFile?: string;
  readonly tokensUsageFile?: string;
  /** Whose JWTs are accepted, by rules of the tokens file. */
  readonly oidc?: OidcConfig;
  /** Path of a file of login providers (login-providers.ts); absent: visitors have none. */
  readonly loginProviders?: string;
  readonly shards: number;
  readonly reusePort: 'auto' | 'off';
  readonly drainDelayMs: number;
  readonly drainTimeoutMs: number;
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
  readonly accessLog: boolean;
  /** Ports of visitors on which clients may connect, too. */
  readonly linkSchemes: readonly ('http' | 'https')[];
  /** A folder. */
  readonly errorPages?: string;
  readonly limits: VisitorLimits;
  readonly memoryMax: MemoryMax;
  readonly inspect: InspectSettings;
  readonly allowFaults: boolean;
  readonly fault?: Fault;
  readonly tuning: Tuning;
}

export function buildServer(
  { values, token }: Resolution<'server'>,
  env: Environment,
): ServerConfig {
  return {
    controlAddr: values['control-addr'],
    httpAddr: values['http-addr'],
    ...present('https', buildHttps(values, env)),
    tcpHost: values['tcp-addr'],
    tcpPorts: values['tcp-ports'],
    udpHost: values['udp-addr'],
    udpPorts: values['udp-ports'],
    adminAddr: values['admin-addr'],
    allowIps: values['allow-ips'],
    denyIps: values['deny-ips'],
    controlAllowIps: values['control-allow-ips'],
    acceptProxyProtocol: values['accept-proxy-protocol'],
    trustedProxies: values['trusted-proxies'],
    clientForwarding: values['client-forwarding'],
    ...present('tlsCert', values['tls-cert']),
    ...present('tlsKey', values['tls-key']),
    ...present('autoTls', buildAutoTls(values, env)),
    ...present('clientCa', values['client-ca']),
    ...present('token', token),
    ...present('tokensFile', values['tokens-file']),
    ...present('tokensUsageFile', values['tokens-usage-file']),
    ...present('oidc', buildOidc(values)),
    ...present('loginProviders', values['login-providers']),
    shards: values.shards,
    reusePort: values['reuse-port'],
    drainDelayMs: values['drain-delay'],
    drainTimeoutMs: values['drain-timeout'],
    logLevel: values['log-level'],
    logFormat: values['log-format'],
    accessLog: values['access-log'],
    linkSchemes: [
      ...(values['control-on-http'] ? (['http'] as const) : []),
      ...(values['control-on-https'] ? (['https'] as const) : []),
    ],
    ...present('errorPages', values['error-pages']),
    limits: buildLimits(values),
    memoryMax: values['memory-max'],
    inspect: buildInspect(values),
    allowFaults: values['allow-faults'],
    ...present('fault', values.fault),
    tuning: buildServerTuning(values),
  };
}

function buildOidc(values: ServerValues): OidcConfig | undefined {
  const { 'oidc-issuer': issuer, 'oidc-audience': audience } = values;
  return issuer === undefined || audience === undefined ? undefined : { issuer, audience };
}
