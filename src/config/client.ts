// The options of `sluiceway client`, and the configuration that they make.
//
// Invariant: what an option is stands with its noun, such as tunnel.ts; here is which a client has,
// in the order of help and docs. Must not know: how they depend on each other (client-check.ts).

import type { Masked } from '../base/masked.ts';
import { type Address, addressOrOff, host, serverUrl } from './address.ts';
import { declaredDefaults, declaredOf } from './declared.ts';
import { DRAIN_TIMEOUT_OPTION } from './drain.ts';
import { CONFIG_OPTION } from './file.ts';
import { type LocalForward, localForward } from './forward.ts';
import { buildHealth, HEALTH_OPTIONS, type HealthConfig } from './health-check.ts';
import { LOG_OPTIONS, type LogLevel } from './log.ts';
import { network } from './network.ts';
import { LINES, type LogFormat, many, one, optional, present, type ValuesOf } from './option.ts';
import { expandPortRun } from './port-run.ts';
import { tcpTunnel, udpTunnel } from './port-tunnel.ts';
import { boolean, choice, integer, text } from './quantity.ts';
import type { Resolution } from './resolve.ts';
import { buildStatusDir, STATUS_DIR_OPTION } from './status.ts';
import { tlsTunnel } from './tls-tunnel.ts';
import { TOKEN_OPTIONS } from './token.ts';
import { buildTrust, type Environment, TRUST_OPTIONS, type TrustConfig } from './trust.ts';
import { buildClientTuning, SHARDS_MAX, SHARED_TUNING, type Tuning } from './tuning.ts';
import { httpTunnel, type TunnelSpec } from './tunnel.ts';
import { UDP_CLIENT_OPTIONS } from './udp.ts';
import {
  affinity,
  declaring,
  headerField,
  headerName,
  hostHeader,
  weight,
} from './upstream-options.ts';
import { LOGIN_OPTIONS, type LoginSpec, loginsOf } from './visitor-login.ts';

export const CLIENT_OPTIONS = {
  ...CONFIG_OPTION,
  url: many(serverUrl, { help: 'server to connect to, such as wss://tunnel.example.com:8123' }),
  ...TOKEN_OPTIONS,
  ...TRUST_OPTIONS,
  upstream: many(httpTunnel, {
    help: 'HTTP tunnel, such as example.com=http://127.0.0.1:3000 or *.example.com/api=http://a:80',
  }),
  tcp: many(tcpTunnel, {
    expand: expandPortRun,
    help: 'TCP tunnel, such as 2222=127.0.0.1:22 or 80-89=db:90-99; 2222 alone is on localhost',
  }),
  udp: many(udpTunnel, {
    expand: expandPortRun,
    help: 'UDP tunnel, such as 5353=127.0.0.1:53; likewise',
  }),
  'tls-passthrough': many(tlsTunnel, {
    help: 'TLS tunnel by server name, not decrypted, such as example.com=127.0.0.1:443',
  }),
  local: many(localForward, {
    help: 'listen here and dial from the server, such as 4222:nats.default.svc:4222',
  }),
  'local-addr': one(host, { default: '127.0.0.1', help: 'address on which --local listens' }),
  'local-socks': optional(integer({ min: 0, max: 65_535 }), {
    help: 'port of a SOCKS5 proxy on --local-addr, which dials from the server',
  }),
  'proxy-protocol': one(choice(['off', 'v1', 'v2']), {
    default: 'off',
    help: 'tell upstreams of TCP and TLS tunnels who visits, with a PROXY header of this version',
  }),
  ...UDP_CLIENT_OPTIONS,
  'allow-ips': many(network, {
    help: 'let in visitors of its tunnels from these addresses alone, where a tunnel names none',
  }),
  ...LOGIN_OPTIONS,
  weight: optional(weight, {
    help: 'share of the visitors of its tunnels beside other clients, 1 to 256; 1 if none',
  }),
  affinity: optional(affinity, {
    help: 'keep HTTP visitors with one client: by their address, or by a cookie',
  }),
  'host-header': optional(hostHeader, {
    help: 'Host of requests toward upstreams that set none themselves',
  }),
  'request-header-add': many(headerField, {
    separators: LINES,
    help: 'field that requests gain, such as "X-Team: blue"; likewise',
  }),
  'request-header-remove': many(headerName, { help: 'field that requests lose; likewise' }),
  'response-header-add': many(headerField, {
    separators: LINES,
    help: 'field that responses gain; likewise',
  }),
  'response-header-remove': many(headerName, { help: 'field that responses lose; likewise' }),
  ...HEALTH_OPTIONS,
  json: one(boolean, {
    default: 'false',
    help: 'print each event as a line of JSON, in place of a line a tunnel',
  }),
  ...STATUS_DIR_OPTION,
  'metrics-addr': one(addressOrOff, {
    default: 'off',
    help: '/metrics, /healthz and /readyz of the client, such as 127.0.0.1:9124; or off',
  }),
  id: optional(
    text('ID', /^[A-Za-z0-9._-]{1,64}$/, 'is not an id; write 1 to 64 letters, digits, . _ or -'),
    { help: 'a new client with the same id replaces the old one; random by default' },
  ),
  links: one(integer({ min: 1, max: 16, autoWord: 'auto' }), {
    default: 'auto',
    help: 'WebSockets to each server; auto is one a shard of the server, at most 16',
  }),
  'link-mask': one(choice(['auto', 'always', 'never']), {
    default: 'auto',
    help: 'mask frames with random keys, which costs time; auto: only over plain ws://',
  }),
  once: one(boolean, {
    default: 'false',
    help: 'end when the links to all servers are lost, do not retry',
  }),
  'max-retry': one(integer({ min: 0, max: 1_000_000 }), {
    default: '0',
    help: 'retries in a row before giving a server up; 0 is no limit',
  }),
  shards: one(integer({ min: 1, max: SHARDS_MAX }), { default: '1', help: 'worker threads' }),
  ...DRAIN_TIMEOUT_OPTION,
  ...LOG_OPTIONS,
  ...SHARED_TUNING,
};

type ClientValues = ValuesOf<typeof CLIENT_OPTIONS>;

export interface ClientConfig {
  /** `ws[s]://host[:port]/connect`. */
  readonly urls: readonly string[];
  /** Absent: the client certificate of `trust` stands in for it. */
  readonly token?: Masked;
  /** Path, when the token is from a file, which is read again for each dial. */
  readonly tokenFile?: string;
  readonly trust: TrustConfig;
  readonly tunnels: readonly TunnelSpec[];
  readonly health: HealthConfig;
  /** What it listens on for services on the server's side. */
  readonly locals: readonly LocalForward[];
  /** Port of the SOCKS proxy; absent for none. */
  readonly localSocks?: number;
  /** Where both listen. */
  readonly localHost: string;
  /** Folder of the socket on which it says how it is; absent for none. */
  readonly statusDir?: string;
  /** Where it answers probes and Prometheus. */
  readonly metricsAddr: Address | 'off';
  /** The header written toward upstreams of TCP and TLS tunnels. */
  readonly proxyProtocol: 'off' | 'v1' | 'v2';
  /** The one before each datagram toward upstreams of UDP tunnels. */
  readonly udpProxyProtocol: 'off' | 'v2';
  /** Events as JSON on stdout. */
  readonly json: boolean;
  readonly id?: string;
  /** 0 is one a shard of the server. */
  readonly links: number;
  readonly linkMask: 'auto' | 'always' | 'never';
  readonly once: boolean;
  /** 0 is no limit. */
  readonly maxRetry: number;
  readonly shards: number;
  readonly drainTimeoutMs: number;
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
  readonly tuning: Tuning;
}

export function buildClient(
  { values, token }: Resolution<'client'>,
  env: Environment,
): ClientConfig {
  return {
    urls: values.url,
    ...present('token', token),
    ...present('tokenFile', values['token-file']),
    trust: buildTrust(values, values.url, env),
    tunnels: withDefaults(values),
    health: buildHealth(values),
    locals: values.local,
    ...present('localSocks', values['local-socks']),
    localHost: values['local-addr'],
    ...present('statusDir', buildStatusDir(values['status-dir'], env)),
    metricsAddr: values['metrics-addr'],
    proxyProtocol: values['proxy-protocol'],
    udpProxyProtocol: values['udp-proxy-protocol'],
    json: values.json,
    ...present('id', values.id),
    links: values.links,
    linkMask: values['link-mask'],
    once: values.once,
    maxRetry: values['max-retry'],
    shards: values.shards,
    drainTimeoutMs: values['drain-timeout'],
    logLevel: values['log-level'],
    logFormat: values['log-format'],
    tuning: buildClientTuning(values),
  };
}

/** All tunnels with what the client's own options say of each that says nothing itself. */
function withDefaults(values: ClientValues): readonly TunnelSpec[] {
  const defaults = declaredDefaults(values);
  const { upstream, tcp, udp, 'tls-passthrough': tls } = values;
  const tunnels = [...upstream, ...tcp, ...udp, ...tls];
  const health = values['health-check'];
  const logins = ownLogins(values);
  return tunnels.map((tunnel) => ({
    // Nothing tells whether somebody takes datagrams.
    ...(health === undefined || tunnel.kind === 'udp' ? {} : { health }),
    ...(logins === undefined || tunnel.kind !== 'http' ? {} : { logins }),
    ...tunnel,
    ...declaring(declaredOf(tunnel, defaults)),
  }));
}

/** What the client asks of visitors of tunnels that ask for nothing themselves. */
function ownLogins(values: ClientValues): LoginSpec | undefined {
  const { 'basic-auth': basic, 'bearer-token-file': bearerFiles } = values;
  return loginsOf({ basic, bearerFiles, provider: values.login, allow: values['login-allow'] });
}
