// What a deployment must let through and wait for: ports, low ones among them, state, time to stop.
//
// Invariant: each follows from the configuration as it was resolved, so that a deployment never
// publishes less than the program listens on, nor kills it in the middle of a drain. Must not
// know: the form of a deployment.

import { ConfigError } from '../base/errors.ts';
import { isOverlapping } from '../base/listen-overlap.ts';
import { isLoopbackHost, ownHostOf, type PortRange, type Target } from '../base/target.ts';
import type { ClientConfig, GivenConfig, ServerConfig } from '../config/config.ts';

export interface ExposedPort {
  /** `control`, `http`, `https`, `tcp-2222` or `udp-5353`. */
  readonly name: string;
  readonly port: number;
  readonly protocol: 'tcp' | 'udp';
}

export interface Reach {
  readonly ports: readonly ExposedPort[];
  /** Whose tunnels may open more ports than can be published one by one, of which none is. */
  readonly openRanges: readonly ExposedPort['protocol'][];
  /** Options with a port below 1024, which not everyone may open. */
  readonly lowPortOptions: readonly string[];
  /** Something is kept that clients or issuers would miss. */
  readonly keepsState: boolean;
  /** Longer than any drain. */
  readonly stopSeconds: number;
  /** Of a client, what it dials or listens on there: of the machine, not of a container. */
  readonly usesLoopback: boolean;
  /** Paths of Unix sockets that it dials. */
  readonly sockets: readonly string[];
  /** Options by which ports above are open on loopback alone. */
  readonly loopbackOptions: readonly string[];
  /** Plain HTTP on the control port. */
  readonly isPlainControl: boolean;
  /** Where /healthz answers without TLS, for who asks from the machine itself. */
  readonly admin?: Target;
  /** Where a client's does, for who asks from elsewhere. */
  readonly metrics?: number;
}

/** TCP ports that are published one by one. Guess: a longer list is no list any more. */
export const PUBLISHED_PORTS_MAX = 100;
const LOW_PORT_END = 1024;
/** Beyond the deadline of a drain. */
const STOP_MARGIN_SECONDS = 10;

export function reachOf(given: GivenConfig): Reach {
  return given.command === 'server'
    ? reachOfServer(given as GivenConfig<'server'>)
    : reachOfClient(given as GivenConfig<'client'>);
}

/** A port that the system chooses is known to nobody who would let it through. */
export function publishable(reach: Reach): Reach {
  const chosen = reach.ports.filter(({ port }) => port === 0);
  if (chosen.length === 0) return reach;
  throw new ConfigError(
    chosen.map(({ name }) => `--${name}-addr: port 0 is chosen by the system; give one to publish`),
  );
}

/** The same, by a container: its loopback is its own, and what is published leads past it. */
export function publishedByContainer(reach: Reach): Reach {
  const { loopbackOptions } = publishable(reach);
  if (loopbackOptions.length === 0) return reach;
  throw new ConfigError(
    loopbackOptions.map(
      (name) => `--${name}: on loopback nobody reaches a container; give 0.0.0.0`,
    ),
  );
}

function reachOfServer({ config, options }: GivenConfig<'server'>): Reach {
  const { adminAddr, tcpHost, tcpPorts, udpPorts } = config;
  const has = (wanted: string): boolean => options.some(({ name }) => name === wanted);
  const isTcpListed = has('tcp-ports') && isShort(tcpPorts);
  const isUdpListed = (has('tcp-ports') || has('udp-ports')) && isShort(udpPorts);
  const tcp = isTcpListed ? portsOf(tcpPorts, 'tcp') : [];
  const udp = isUdpListed ? portsOf(udpPorts, 'udp') : [];
  const own = [
    listener('control', config.controlAddr.port),
    ...(config.httpAddr === 'off' ? [] : [listener('http', config.httpAddr.port)]),
    ...(config.https === undefined ? [] : [listener('https', config.https.addr.port)]),
  ];
  const taken = new Set(own.map(({ port }) => port));
  // No tunnel gets it, and whoever came by it would be at the admin address.
  if (adminAddr !== 'off' && isOverlapping(adminAddr.host, tcpHost)) taken.add(adminAddr.port);
  const ports = [...own, ...tcp.filter(({ port }) => !taken.has(port)), ...udp];
  return {
    ports,
    openRanges: [
      ...(tcpPorts.length > 0 && !isTcpListed ? (['tcp'] as const) : []),
      // Else they are the ports of TCP.
      ...(has('udp-ports') && udpPorts.length > 0 && !isUdpListed ? (['udp'] as const) : []),
    ],
    lowPortOptions: [
      ...own.flatMap(({ name, port }) => lowPort(`${name}-addr`, port)),
      ...(adminAddr === 'off' ? [] : lowPort('admin-addr', adminAddr.port)),
      ...tcpPorts.flatMap(({ first }) => lowPort('tcp-ports', first)),
      ...udpPorts.flatMap(({ first }) => lowPort('udp-ports', first)),
    ],
    keepsState: keepsState(config),
    stopSeconds: stopSecondsOf(config.drainDelayMs + config.drainTimeoutMs),
    usesLoopback: false,
    sockets: [],
    loopbackOptions: [
      ...loopbackOption('control-addr', config.controlAddr),
      ...(config.httpAddr === 'off' ? [] : loopbackOption('http-addr', config.httpAddr)),
      ...(config.https === undefined ? [] : loopbackOption('https-addr', config.https.addr)),
      ...(tcp.length === 0 ? [] : loopbackOption('tcp-addr', { host: tcpHost })),
      ...(udp.length === 0 ? [] : loopbackOption('udp-addr', { host: config.udpHost })),
    ],
    isPlainControl: config.autoTls === undefined && config.tlsCert === undefined,
    // A port that the system chooses is not known here.
    ...(adminAddr === 'off' || adminAddr.port === 0
      ? {}
      : { admin: { host: ownHostOf(adminAddr.host), port: adminAddr.port } }),
  };
}

/** Port 0 is none of them: the system chooses one above. */
function lowPort(name: string, port: number): readonly string[] {
  return port !== 0 && port < LOW_PORT_END ? [name] : [];
}

function loopbackOption(name: string, { host }: Pick<Target, 'host'>): readonly string[] {
  return isLoopbackHost(host) ? [name] : [];
}

function keepsState({ autoTls, https, tokensFile }: ServerConfig): boolean {
  return autoTls !== undefined || https?.letsEncrypt !== undefined || tokensFile !== undefined;
}

function reachOfClient(given: GivenConfig<'client'>): Reach {
  const { config } = given;
  const { metricsAddr } = config;
  const isOpen = metricsAddr !== 'off' && metricsAddr.port !== 0;
  return {
    ports: [],
    openRanges: [],
    lowPortOptions: [
      ...config.locals.flatMap(({ port }) => lowPort('local', port)),
      ...lowPort('local-socks', config.localSocks ?? 0),
      ...(metricsAddr === 'off' ? [] : lowPort('metrics-addr', metricsAddr.port)),
    ],
    keepsState: remembersServers(config),
    stopSeconds: stopSecondsOf(config.drainTimeoutMs),
    usesLoopback: usesLoopback(given),
    sockets: config.tunnels.flatMap(({ upstream: { path } }) => path ?? []),
    loopbackOptions: [],
    isPlainControl: false,
    ...(isOpen && !isLoopbackHost(metricsAddr.host) ? { metrics: metricsAddr.port } : {}),
  };
}

/** A server whose CA is not pinned is remembered. */
function remembersServers({ trust }: ClientConfig): boolean {
  return trust.autoTls !== 'off' && trust.fingerprints.length === 0;
}

function usesLoopback({ config, options }: GivenConfig<'client'>): boolean {
  const { tunnels, locals, localHost, localSocks, urls, trust } = config;
  const listens = locals.length > 0 || localSocks !== undefined;
  // One of a variable, such as HTTPS_PROXY, is of the machine that prints.
  const proxies = options.some(({ name }) => name === 'proxy') ? (trust.proxies ?? {}) : {};
  const dialled = [
    ...tunnels.map(({ upstream }) => upstream.host),
    ...urls.map((url) => hostOf(proxies[url]?.reveal() ?? url)),
  ];
  return dialled.some(isLoopbackHost) || (listens && isLoopbackHost(localHost));
}

function hostOf(url: string): string {
  return new URL(url).hostname.replace(/^\[|\]$/g, '');
}

function listener(name: string, port: number): ExposedPort {
  return { name, port, protocol: 'tcp' };
}

function isShort(ranges: readonly PortRange[]): boolean {
  const count = ranges.reduce((sum, { first, last }) => sum + last - first + 1, 0);
  return count <= PUBLISHED_PORTS_MAX;
}

function portsOf(ranges: readonly PortRange[], protocol: ExposedPort['protocol']): ExposedPort[] {
  return ranges.flatMap(({ first, last }) =>
    Array.from({ length: last - first + 1 }, (_, index) => ({
      name: `${protocol}-${first + index}`,
      port: first + index,
      protocol,
    })),
  );
}

function stopSecondsOf(drainMs: number): number {
  return Math.ceil(drainMs / 1000) + STOP_MARGIN_SECONDS;
}
