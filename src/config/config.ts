// Turns flags, environment and file into one frozen configuration for a command.
//
// Invariant: pure; files are read by the caller's `readFile`. Either every option, relation and
// secret is right and the result can be cloned to another thread (all but the Masked token), or
// one ConfigError lists every problem. Must not know: processes, sockets, commander.

import type { ForwardRule } from '../base/forward-rules.ts';
import type { InspectSettings } from '../base/inspection.ts';
import { Masked } from '../base/masked.ts';
import type { Network } from '../base/network.ts';
import type { PortRange } from '../base/target.ts';
import type { VisitorLimits } from '../base/visitor-limits.ts';
import type { Address } from './address.ts';
import { declaredDefaults, declaredOf } from './declared.ts';
import type { LocalForward } from './forward.ts';
import type { HealthConfig } from './health-check.ts';
import { buildHttps, type HttpsConfig } from './https-check.ts';
import { buildInspect } from './inspect.ts';
import { buildLimits } from './limits.ts';
import type { OidcConfig } from './oidc.ts';
import { buildOperator, type OperatorConfig } from './operator.ts';
import type { LogFormat, Option, OptionTable, Source } from './option.ts';
import { type ConfigInput, type Resolution, resolveValues } from './resolve.ts';
import { type Command, type Fault, SCHEMA, type Values } from './schema.ts';
import {
  type AutoTlsConfig,
  buildAutoTls,
  buildTrust,
  runtimeFolder,
  type TrustConfig,
} from './trust.ts';
import type { TunnelSpec } from './tunnel.ts';
import { declaring } from './upstream-options.ts';
import { type LoginSpec, loginsOf } from './visitor-login.ts';

export type { PortRange } from '../base/target.ts';
export type { Address } from './address.ts';
export type { LocalForward } from './forward.ts';
export type { HealthCheck, HealthConfig } from './health-check.ts';
export type { CertificateFiles } from './https.ts';
export type { ChallengeChoice, HttpsConfig, LetsEncryptConfig } from './https-check.ts';
export type { OidcConfig } from './oidc.ts';
export type { OperatorConfig } from './operator.ts';
export type { LogFormat } from './option.ts';
export type { Fault } from './schema.ts';
export type { TokenEntry } from './tokens-file.ts';
export type { AutoTlsConfig, TrustConfig } from './trust.ts';
export type { TunnelSpec, Upstream } from './tunnel.ts';

export interface Tuning {
  readonly windowInitialBytes: number;
  readonly windowMaxBytes: number;
  readonly sessionMemoryMaxBytes: number;
  readonly frameMaxBytes: number;
  readonly streamsPerLinkMax: number;
  readonly upstreamConnectTimeoutMs: number;
  /** 0 is off. */
  readonly tcpIdleTimeoutMs: number;
  readonly udpIdleTimeoutMs: number;
  readonly halfCloseTimeoutMs: number;
  readonly linkPingIntervalMs: number;
  readonly linkDeadAfterMs: number;
  // The client cannot set those below and has their defaults.
  /** 0 is half of the open-file limit, which the caller knows. */
  readonly visitorConnectionsMax: number;
  readonly udpFlowsMax: number;
  /** 0 is off. */
  readonly udpFlowsPerAddressMax: number;
  readonly udpNewFlowsPerSecondMax: number;
  readonly headerTimeoutMs: number;
  readonly bodyIdleTimeoutMs: number;
  readonly keepAliveTimeoutMs: number;
  readonly upstreamResponseTimeoutMs: number;
}

export type LogLevel = Values<'server'>['log-level'];

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
  readonly inspect: InspectSettings;
  readonly allowFaults: boolean;
  readonly fault?: Fault;
  readonly tuning: Tuning;
}

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
  /** The header written toward upstreams of TCP and TLS tunnels. */
  readonly proxyProtocol: 'off' | 'v1' | 'v2';
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

export interface StatusConfig {
  readonly url: string;
  readonly token?: Masked;
  readonly trust: TrustConfig;
  /** Ask the clients on this machine, and not a server. */
  readonly local: boolean;
  readonly statusDir?: string;
  /** Ask for readiness alone. */
  readonly ready: boolean;
  readonly tunnel?: string;
  /** Of the server on this machine. */
  readonly adminAddr: Address | 'off';
  readonly json: boolean;
  readonly watch: boolean;
  readonly watchIntervalMs: number;
  readonly wide: boolean;
}

/** With the log, which every program has. */
export interface OperatorProgramConfig extends OperatorConfig {
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
}

export interface FileServerConfig {
  readonly dir: string;
  readonly addr: Address;
  readonly listing: boolean;
  readonly hidden: boolean;
  readonly json: boolean;
  readonly accessLog: boolean;
  readonly drainTimeoutMs: number;
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
}

export interface ConfigOf {
  readonly server: ServerConfig;
  readonly client: ClientConfig;
  readonly status: StatusConfig;
  readonly fileserver: FileServerConfig;
  readonly operator: OperatorProgramConfig;
}

/** Throws a ConfigError with every problem there is. */
export function resolveConfig<C extends Command>(input: ConfigInput<C>): ConfigOf[C] {
  const build: Build<C> = BUILDERS[input.command];
  return deepFreeze(build(resolveValues(input), input.env));
}

/** A server's configuration with the values that it was made of, to be compared later. */
export interface ServerReading {
  readonly config: ServerConfig;
  readonly values: Values<'server'>;
  /** What to read again when it changes. */
  readonly files: readonly string[];
}

/** As `resolveConfig`. */
export function readServer(input: ConfigInput<'server'>): ServerReading {
  const resolution = resolveValues(input);
  const { values, listFiles } = resolution;
  const tokenFile = values['token-file'];
  const files = [
    ...(input.file === undefined ? [] : [input.file.path]),
    ...listFiles,
    ...(tokenFile === undefined ? [] : [tokenFile]),
  ];
  return { config: deepFreeze(buildServer(resolution, input.env)), values, files };
}

/** One option as it was given. */
export interface GivenOption {
  readonly name: string;
  readonly option: Option<unknown>;
  readonly texts: readonly string[];
  readonly source: Source;
}

/** What was given, and the configuration that it makes: for whoever writes it down elsewhere. */
export interface GivenConfig<C extends Command = Command> {
  readonly command: C;
  readonly config: ConfigOf[C];
  readonly token: Masked | undefined;
  /** In the order of the schema. */
  readonly options: readonly GivenOption[];
}

/** As `resolveConfig`; files that `readFile` says to be elsewhere are not looked at. */
export function readGiven<C extends Command>(input: ConfigInput<C>): GivenConfig<C> {
  const { command, env } = input;
  const resolution = resolveValues(input);
  const build: Build<C> = BUILDERS[command];
  const table: OptionTable = SCHEMA[command];
  const options = Object.entries(table).flatMap(([name, option]) => {
    const found = resolution.merged.get(name);
    if (found === undefined) return [];
    return [{ name, option, texts: found.texts, source: found.source }];
  });
  const config = deepFreeze(build(resolution, env));
  return { command, config, token: resolution.token, options };
}

type Environment = ConfigInput['env'];
type Build<C extends Command> = (resolution: Resolution<C>, env: Environment) => ConfigOf[C];

const BUILDERS: { readonly [C in Command]: Build<C> } = {
  server: buildServer,
  client: buildClient,
  status: buildStatus,
  fileserver: buildFileServer,
  operator: ({ values }) => ({
    ...buildOperator(values),
    logLevel: values['log-level'],
    logFormat: values['log-format'],
  }),
};

function buildServer({ values, token }: Resolution<'server'>, env: Environment): ServerConfig {
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
    inspect: buildInspect(values),
    allowFaults: values['allow-faults'],
    ...present('fault', values.fault),
    tuning: {
      ...buildSharedTuning(values),
      visitorConnectionsMax: values['visitor-connections-max'],
      udpFlowsMax: values['udp-flows-max'],
      udpFlowsPerAddressMax: values['udp-flows-per-ip-max'],
      udpNewFlowsPerSecondMax: values['udp-new-flows-per-second-max'],
      headerTimeoutMs: values['header-timeout'],
      bodyIdleTimeoutMs: values['body-idle-timeout'],
      keepAliveTimeoutMs: values['keep-alive-timeout'],
      upstreamResponseTimeoutMs: values['upstream-response-timeout'],
    },
  };
}

function buildOidc(values: Values<'server'>): OidcConfig | undefined {
  const { 'oidc-issuer': issuer, 'oidc-audience': audience } = values;
  return issuer === undefined || audience === undefined ? undefined : { issuer, audience };
}

function buildClient({ values, token }: Resolution<'client'>, env: Environment): ClientConfig {
  return {
    urls: values.url,
    ...present('token', token),
    ...present('tokenFile', values['token-file']),
    trust: buildTrust(values, values.url, env),
    tunnels: withDefaults(values),
    health: {
      intervalMs: values['health-check-interval'],
      timeoutMs: values['health-check-timeout'],
      rise: values['health-check-rise'],
      fall: values['health-check-fall'],
    },
    locals: values.local,
    ...present('localSocks', values['local-socks']),
    localHost: values['local-addr'],
    ...present('statusDir', buildStatusDir(values['status-dir'], env)),
    proxyProtocol: values['proxy-protocol'],
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
    tuning: {
      ...buildSharedTuning(values),
      visitorConnectionsMax: serverDefault('visitor-connections-max'),
      udpFlowsMax: serverDefault('udp-flows-max'),
      udpFlowsPerAddressMax: serverDefault('udp-flows-per-ip-max'),
      udpNewFlowsPerSecondMax: serverDefault('udp-new-flows-per-second-max'),
      headerTimeoutMs: serverDefault('header-timeout'),
      bodyIdleTimeoutMs: serverDefault('body-idle-timeout'),
      keepAliveTimeoutMs: serverDefault('keep-alive-timeout'),
      upstreamResponseTimeoutMs: serverDefault('upstream-response-timeout'),
    },
  };
}

/** All tunnels with what the client's own options say of each that says nothing itself. */
function withDefaults(values: Values<'client'>): readonly TunnelSpec[] {
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
function ownLogins(values: Values<'client'>): LoginSpec | undefined {
  const { 'basic-auth': basic, 'bearer-token-file': bearerFiles } = values;
  return loginsOf({ basic, bearerFiles, provider: values.login, allow: values['login-allow'] });
}

function buildStatusDir(given: string | undefined, env: Environment): string | undefined {
  return given === 'off' ? undefined : (given ?? runtimeFolder(env));
}

function buildStatus({ values, token }: Resolution<'status'>, env: Environment): StatusConfig {
  return {
    url: values.url ?? '',
    ...present('token', token),
    trust: buildTrust(values, values.url === undefined ? [] : [values.url], env),
    local: values.local,
    ...present('statusDir', buildStatusDir(values['status-dir'], env)),
    ready: values.ready,
    ...present('tunnel', values.tunnel),
    adminAddr: values['admin-addr'],
    json: values.json,
    watch: values.watch,
    watchIntervalMs: values['watch-interval'],
    wide: values.wide,
  };
}

function buildFileServer({ values }: Resolution<'fileserver'>): FileServerConfig {
  return {
    dir: values.dir,
    addr: values.addr,
    listing: values.listing,
    hidden: values.hidden,
    json: values.json,
    accessLog: values['access-log'],
    drainTimeoutMs: values['drain-timeout'],
    logLevel: values['log-level'],
    logFormat: values['log-format'],
  };
}

function buildSharedTuning(values: Values<'server'> | Values<'client'>) {
  return {
    windowInitialBytes: values['window-initial'],
    windowMaxBytes: values['window-max'],
    sessionMemoryMaxBytes: values['session-memory-max'],
    frameMaxBytes: values['frame-max'],
    streamsPerLinkMax: values['streams-per-link-max'],
    upstreamConnectTimeoutMs: values['upstream-connect-timeout'],
    tcpIdleTimeoutMs: values['tcp-idle-timeout'],
    udpIdleTimeoutMs: values['udp-idle-timeout'],
    halfCloseTimeoutMs: values['half-close-timeout'],
    linkPingIntervalMs: values['link-ping-interval'],
    linkDeadAfterMs: values['link-dead-after'],
  };
}

type ServerOnly =
  | 'visitor-connections-max'
  | 'udp-flows-max'
  | 'udp-flows-per-ip-max'
  | 'udp-new-flows-per-second-max'
  | 'header-timeout'
  | 'body-idle-timeout'
  | 'keep-alive-timeout'
  | 'upstream-response-timeout';

function serverDefault(name: ServerOnly): number {
  const option = SCHEMA.server[name];
  const parsed = option.parse([option.defaultText]);
  return parsed.ok ? parsed.value : 0;
}

/** A property that is left out when there is no value. */
function present<K extends string, V>(key: K, value: V | undefined): { readonly [P in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { readonly [P in K]: V });
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    if (!(value instanceof Masked)) Object.values(value).forEach(deepFreeze);
  }
  return value;
}
