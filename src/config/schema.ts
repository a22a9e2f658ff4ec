// The one table of every option: kind, default, unit, help, and the commands it belongs to.
//
// Invariant: only options that something in this release reads stand here; the flag is the name
// with two dashes, the file key the name itself, the variable SLUICEWAY_ and the name in
// capitals. docs/config.md lists exactly this table, which a test checks. Must not know: how
// values are merged, or who uses them.

import { address, addressOrOff, host, portRange, serverUrl } from './address.ts';
import { forwardRule, localForward } from './forward.ts';
import { healthCheck } from './health-check.ts';
import { certificateFiles, certificateName, issuer } from './https.ts';
import { INSPECT_OPTIONS } from './inspect.ts';
import { LIMIT_OPTIONS } from './limits.ts';
import { LOG_OPTIONS } from './log.ts';
import { network } from './network.ts';
import { oidcIssuer } from './oidc.ts';
import { OPERATOR_OPTIONS } from './operator.ts';
import {
  InvalidText,
  type Kind,
  kindOf,
  LINES,
  many,
  type Option,
  one,
  optional,
  type ValuesOf,
} from './option.ts';
import { expandPortRun } from './port-run.ts';
import { tcpTunnel, udpTunnel } from './port-tunnel.ts';
import { proxyUrl } from './proxy.ts';
import {
  type Bounds,
  boolean,
  choice,
  duration,
  integer,
  path,
  secret,
  size,
  text,
} from './quantity.ts';
import { adminAddr, READINESS_OPTIONS } from './readiness.ts';
import { tlsTunnel } from './tls-tunnel.ts';
import { fingerprint, serverName } from './trust.ts';
import { httpTunnel } from './tunnel.ts';
import { UDP_FLOW_OPTIONS, UDP_IDLE_OPTION, UDP_PORT_OPTIONS } from './udp.ts';
import { affinity, headerField, headerName, hostHeader, weight } from './upstream-options.ts';
import { LOGIN_OPTIONS } from './visitor-login.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
const DAY_MS = 86_400_000;

/** Worker threads at most. Guess: above it the mesh of ports between shards outgrows its use. */
export const SHARDS_MAX = 64;

export interface Fault {
  readonly kind: 'shard-throw' | 'shard-oom' | 'shard-block';
  readonly afterMs: number;
}

const fault: Kind<Fault> = kindOf(
  'fault',
  'KIND:SECONDS',
  (value) => {
    const match = /^(shard-throw|shard-oom|shard-block):(\d{1,5}(?:\.\d{1,3})?)$/.exec(value);
    if (match === null) {
      return new InvalidText(
        'is not a fault; write shard-throw:, shard-oom: or shard-block:SECONDS',
      );
    }
    const kind = match[1] as Fault['kind'];
    return { kind, afterMs: Math.round(Number(match[2]) * 1000) };
  },
  ({ kind, afterMs }) => `${kind}:${afterMs / 1000}`,
);

const configFile = optional(path, {
  help: 'read options from this YAML file',
  sources: ['flag', 'environment'],
});

const VARIABLE_RIGHT = 'is not the name of an environment variable; write the name alone';

const tokenOptions = {
  token: optional(secret, { help: 'the token itself; other users can see it in the process list' }),
  'token-file': optional(path, { help: 'file that holds the token' }),
  'token-env': optional(text('NAME', /^[A-Za-z_][A-Za-z0-9_]*$/, VARIABLE_RIGHT), {
    help: 'environment variable that holds the token',
  }),
};

/** One millisecond up to a day: what a network timeout may sensibly be. */
const TIMEOUT: Bounds = { min: 1, max: DAY_MS };

const sharedTuning = {
  'window-initial': tuning(size({ min: 4 * KIB, max: GIB }), '256KiB', 'credit of a new stream'),
  'window-max': tuning(size({ min: 4 * KIB, max: GIB }), '8MiB', 'credit a stream may grow to'),
  'session-memory-max': tuning(
    size({ min: 64 * KIB, max: GIB }),
    '64MiB',
    'payload bytes held for one link at most',
  ),
  'frame-max': tuning(
    size({ min: 4 * KIB, max: 256 * KIB }),
    '256KiB',
    'largest payload of a frame',
  ),
  'streams-per-link-max': tuning(
    integer({ min: 1, max: 1_000_000 }),
    '10000',
    'open streams on one link at most',
  ),
  'upstream-connect-timeout': tuning(duration(TIMEOUT), '10s', 'time to reach an upstream'),
  'tcp-idle-timeout': tuning(
    duration({ min: 1, max: 7 * DAY_MS, offWord: 'off' }),
    'off',
    'ends a TCP or upgraded connection without a byte either way',
  ),
  ...UDP_IDLE_OPTION,
  'half-close-timeout': tuning(
    duration({ min: 1, max: 7 * DAY_MS }),
    '1h',
    'ends a connection of which one direction has been closed for so long',
  ),
  'link-ping-interval': tuning(duration(TIMEOUT), '10s', 'time between pings on a link'),
  'link-dead-after': tuning(
    duration(TIMEOUT),
    '30s',
    'a link from which nothing was heard for so long is closed',
  ),
};

const serverTuning = {
  'visitor-connections-max': tuning(
    integer({ min: 1, max: 10_000_000, autoWord: 'auto' }),
    'auto',
    'visitor connections at once; auto is half of the open-file limit',
  ),
  ...UDP_FLOW_OPTIONS,
  'header-timeout': tuning(duration(TIMEOUT), '10s', 'time to receive the head of a request'),
  'body-idle-timeout': tuning(duration(TIMEOUT), '60s', 'longest gap inside a request body'),
  'keep-alive-timeout': tuning(
    duration(TIMEOUT),
    '75s',
    'how long an idle visitor connection is kept',
  ),
  'upstream-response-timeout': tuning(duration(TIMEOUT), '60s', 'time to the head of a response'),
};

const YEARS_2_SECONDS = 63_072_000;

const https = {
  'https-addr': one(addressOrOff, {
    default: 'off',
    defaultText: 'off, 0.0.0.0:443 with certificates',
    help: 'HTTPS tunnels, by the name that the visitor asks for',
  }),
  'https-cert': many(certificateFiles, {
    help: 'certificate and key files of a host or wildcard; read again when they change',
    separators: LINES,
  }),
  'https-redirect': one(boolean, { default: 'false', help: 'send plain HTTP requests to HTTPS' }),
  hsts: one(integer({ min: 1, max: YEARS_2_SECONDS, autoWord: 'off' }), {
    default: 'off',
    help: 'Strict-Transport-Security on responses over HTTPS, with this max-age in seconds',
  }),
  'letsencrypt-domain': many(certificateName, {
    help: 'get a certificate for this host; *.example.com needs --letsencrypt-dns-hook',
  }),
  'letsencrypt-on-demand': many(certificateName, {
    help: 'get one for hosts that clients serve and that this covers, such as *.example.com',
  }),
  'letsencrypt-issuer': one(issuer, {
    default: 'prod',
    help: "Let's Encrypt's prod or staging, or the URL of another ACME directory",
  }),
  'letsencrypt-email': optional(
    text('EMAIL', /^[^\s@,]+@[^\s@,]+$/, 'is not an e-mail address; write name@example.com'),
    { help: 'where the issuer may write to' },
  ),
  'letsencrypt-ca-file': optional(path, { help: 'trust this CA for the issuer itself, PEM' }),
  'letsencrypt-challenge': one(choice(['auto', 'http-01', 'tls-alpn-01', 'dns-01'], 'CHALLENGE'), {
    default: 'auto',
    help: 'auto: dns-01 for wildcards, http-01 with --http-addr, else tls-alpn-01',
  }),
  'letsencrypt-dns-hook': optional(text('CMD', /\S/, 'is empty; write a command'), {
    help: 'command for dns-01, run with ACTION=present or cleanup, DOMAIN, NAME and VALUE',
  }),
  'letsencrypt-dir': optional(path, { help: 'folder of the account and the certificates' }),
};

const drainTimeout = one(duration({ min: 0, max: DAY_MS }), {
  default: '30s',
  help: 'on SIGTERM, how long open streams may take to finish',
});

const server = {
  config: configFile,
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
  ...https,
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
  'auto-tls': optional(boolean, {
    help: 'make a private CA for the control port; on without --tls-cert, unless on loopback',
  }),
  'auto-tls-san': many(serverName, {
    help: 'name or address that clients dial, for the certificate; those of the machine if none',
  }),
  'auto-tls-dir': optional(path, { help: 'folder that keeps the private CA and its keys' }),
  'client-ca': optional(path, {
    help: 'accept clients whose certificate this CA signed, without a token; PEM',
  }),
  ...tokenOptions,
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
  'drain-delay': one(duration({ min: 0, max: DAY_MS }), {
    default: '5s',
    help: 'on SIGTERM, how long /readyz answers 503 before listeners close',
  }),
  'drain-timeout': drainTimeout,
  ...LOG_OPTIONS,
  'access-log': one(boolean, {
    default: 'false',
    help: 'log a JSON line for each request, and for each TCP connection at its end',
  }),
  'error-pages': optional(path, {
    help: 'folder of pages of your own for errors, such as 503.html',
  }),
  ...INSPECT_OPTIONS,
  'allow-faults': one(boolean, { default: 'false', help: 'let SLUICEWAY_FAULT break a shard' }),
  fault: optional(fault, {
    help: 'test hook, shard-throw:, shard-oom: or shard-block:SECONDS',
    sources: ['environment'],
  }),
  ...sharedTuning,
  ...serverTuning,
  ...LIMIT_OPTIONS,
};

const trustOptions = {
  proxy: optional(proxyUrl, {
    help: 'reach the server through this HTTP or SOCKS5 proxy; else as HTTPS_PROXY says; or off',
  }),
  'tls-ca': optional(path, { help: 'trust this CA for the server, PEM' }),
  'auto-tls': optional(boolean, {
    help: "fetch the server's private CA; on for IP addresses and with a fingerprint",
  }),
  'auto-tls-fingerprint': many(fingerprint, {
    help: "trust the server's private CA with this fingerprint alone, as the server prints it",
  }),
  'known-servers': optional(path, { help: 'file that remembers the CA of each server' }),
  'tls-client-cert': optional(path, { help: 'certificate to show to the server, PEM' }),
  'tls-client-key': optional(path, { help: 'private key of --tls-client-cert, PEM' }),
};

/** `off` is none. */
const statusDir = optional(path, {
  help: 'folder of the sockets for status --local; or off',
});

const client = {
  config: configFile,
  url: many(serverUrl, { help: 'server to connect to, such as wss://tunnel.example.com:8123' }),
  ...tokenOptions,
  ...trustOptions,
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
  'health-check': optional(healthCheck, {
    help: 'look whether upstreams are well, by tcp or http:/PATH, and withdraw those that are not',
  }),
  'health-check-interval': one(duration({ min: 100, max: DAY_MS }), {
    default: '10s',
    help: 'time between two checks of an upstream',
  }),
  'health-check-timeout': one(duration(TIMEOUT), {
    default: '5s',
    help: 'a check that takes longer has failed',
  }),
  'health-check-rise': one(integer({ min: 1, max: 100 }), {
    default: '2',
    help: 'good checks in a row after which an upstream is well again',
  }),
  'health-check-fall': one(integer({ min: 1, max: 100 }), {
    default: '3',
    help: 'failed checks in a row after which an upstream is withdrawn',
  }),
  json: one(boolean, {
    default: 'false',
    help: 'print each event as a line of JSON, in place of a line a tunnel',
  }),
  'status-dir': statusDir,
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
  once: one(boolean, { default: 'false', help: 'end when the links are lost, do not retry' }),
  'max-retry': one(integer({ min: 0, max: 1_000_000 }), {
    default: '0',
    help: 'retries in a row before giving up; 0 is no limit',
  }),
  shards: one(integer({ min: 1, max: SHARDS_MAX }), { default: '1', help: 'worker threads' }),
  'drain-timeout': drainTimeout,
  ...LOG_OPTIONS,
  ...sharedTuning,
};

const status = {
  config: configFile,
  url: optional(serverUrl, { help: 'server to ask, such as wss://tunnel.example.com:8123' }),
  ...tokenOptions,
  ...trustOptions,
  local: one(boolean, { default: 'false', help: 'ask the clients of this user on this machine' }),
  'status-dir': statusDir,
  ...READINESS_OPTIONS,
  'admin-addr': adminAddr,
  json: one(boolean, { default: 'false', help: 'print the answer as it came' }),
  wide: one(boolean, {
    default: 'false',
    help: 'print a wider table: traffic, round trip, restarts',
  }),
  watch: one(boolean, { default: 'false', help: 'ask again, see --watch-interval' }),
  'watch-interval': one(duration({ min: 100, max: DAY_MS }), {
    default: '2s',
    help: 'time between two answers',
  }),
};

const fileserver = {
  config: configFile,
  dir: one(path, { default: '.', help: 'folder to serve' }),
  addr: one(address, {
    default: '127.0.0.1:8080',
    help: 'where to listen; whoever can connect can read the folder',
  }),
  listing: one(boolean, {
    default: 'true',
    help: 'show what is in a folder that has no index.html',
  }),
  hidden: one(boolean, {
    default: 'false',
    help: 'serve files and folders whose names begin with a dot, too',
  }),
  json: one(boolean, { default: 'false', help: 'print where it listens as a line of JSON' }),
  'access-log': one(boolean, { default: 'false', help: 'log a JSON line for each request' }),
  'drain-timeout': drainTimeout,
  ...LOG_OPTIONS,
};

const operator = { config: configFile, ...OPERATOR_OPTIONS, ...LOG_OPTIONS };

export const SCHEMA = { server, client, status, fileserver, operator };

export type Command = keyof typeof SCHEMA;

/** The parsed options of a command, by name. */
export type Values<C extends Command> = ValuesOf<(typeof SCHEMA)[C]>;

/** Neighbours of which the first, times `factor`, must not exceed the second. */
export const RELATIONS = [
  { lower: 'window-initial', factor: 1, upper: 'window-max' },
  { lower: 'window-max', factor: 1, upper: 'session-memory-max' },
  { lower: 'link-ping-interval', factor: 2, upper: 'link-dead-after' },
] as const;

function tuning(kind: Parameters<typeof one<number>>[0], value: string, help: string) {
  const option: Option<number> = one(kind, { default: value, help, isTuning: true });
  return option;
}
