// What no single option of a client can say: servers, tunnels and ports of its own without
// repetitions, and options that have something to be for.
//
// Invariant: every check runs, whatever else is wrong. Must not know: what a tunnel is used for.

import { isOverlapping } from '../base/listen-overlap.ts';
import { bracketed, showTarget } from '../base/target.ts';
import { boundsProblem } from '../base/tunnel-options.ts';
import { checkCertificate } from './certificate.ts';
import { type CheckContext, checkRelations, checkTrust } from './check.ts';
import { declaredDefaults, declaredOf } from './declared.ts';
import { FileElsewhere } from './elsewhere.ts';
import { labelOf } from './merge.ts';
import { quote } from './problems.ts';
import { providerProblem, readBearerTokens } from './visitor-login.ts';

/** Tunnels of one client. Guess; the exit node has its own limit. */
const TUNNELS_MAX = 1000;
/** Servers of one client. Guess. */
const URLS_MAX = 16;

export const URL_REQUIRED =
  '--url is required; give the server, such as wss://tunnel.example.com:8123';

export function checkClient(context: CheckContext<'client'>): void {
  checkRelations(context);
  checkUrls(context);
  checkTunnels(context);
  checkLocals(context);
  checkMetrics(context);
  checkHealth(context);
  checkLogins(context);
  checkUpstreams(context);
  checkTrust(context, context.parsed.url ?? []);
}

function checkUrls({ parsed, given, problems }: CheckContext<'client'>): void {
  const urls = parsed.url;
  if (urls === undefined) return;
  if (urls.length === 0) problems.add(URL_REQUIRED);
  const label = labelOf(given, 'url');
  if (urls.length > URLS_MAX) {
    problems.add(`${label}: ${urls.length} servers are too many; give at most ${URLS_MAX}`);
  }
  const repeated = urls.find((url, index) => urls.indexOf(url) !== index);
  if (repeated !== undefined) problems.add(`${label}: ${quote(repeated)} is given twice`);
}

/** Where tunnels of a kind are given. */
const OPTION_OF = { http: 'upstream', tcp: 'tcp', udp: 'udp', tls: 'tls-passthrough' } as const;

function checkTunnels({ parsed, given, problems }: CheckContext<'client'>): void {
  const { upstream, tcp, udp, 'tls-passthrough': tls } = parsed;
  if (upstream === undefined || tcp === undefined || tls === undefined) return;
  if (udp === undefined) return;
  const tunnels = [...upstream, ...tcp, ...udp, ...tls];
  const count = tunnels.length;
  const { local, 'local-socks': socks } = parsed;
  const isForwarding = socks !== undefined || local === undefined || local.length > 0;
  if (count === 0 && !isForwarding) {
    problems.add(
      'a client needs a tunnel; give --upstream, such as example.com=http://127.0.0.1:3000, ' +
        '--tcp, such as 2222=127.0.0.1:22, or --local, such as 4222:nats.default.svc:4222',
    );
  }
  if (count > TUNNELS_MAX) {
    problems.add(
      `--upstream, --tcp, --udp and --tls-passthrough: ${count} tunnels are too many; ` +
        `give at most ${TUNNELS_MAX}`,
    );
  }
  const isProxied = parsed['proxy-protocol'] !== 'off' && given.has('proxy-protocol');
  if (isProxied && tcp.length + tls.length === 0) {
    problems.add(
      `${labelOf(given, 'proxy-protocol')}: is for TCP and TLS tunnels, and there is none; ` +
        'HTTP upstreams learn the visitor from X-Forwarded-For, UDP ones by --udp-proxy-protocol',
    );
  }
  if (parsed['udp-proxy-protocol'] !== 'off' && udp.length === 0) {
    problems.add(
      `${labelOf(given, 'udp-proxy-protocol')}: is for UDP tunnels, and there is none; ` +
        'give --udp, or for other upstreams --proxy-protocol',
    );
  }
  const seen = new Set<string>();
  for (const { name, kind } of tunnels) {
    const label = labelOf(given, OPTION_OF[kind]);
    if (seen.has(name)) problems.add(`${label}: ${quote(name)} is given twice`);
    seen.add(name);
  }
}

/** A check that its upstream cannot answer would withdraw the tunnel for ever. */
function checkHealth({ parsed, given, problems }: CheckContext<'client'>): void {
  const { upstream = [], tcp = [], 'tls-passthrough': passed = [] } = parsed;
  const own = parsed['health-check'];
  const isAlone = upstream.length + tcp.length + passed.length === 0;
  if (isAlone && own !== undefined && own !== 'off') {
    const label = labelOf(given, 'health-check');
    problems.add(`${label}: is for HTTP, TCP and TLS tunnels, and there is none`);
  }
  for (const { name, kind, health = own } of [...upstream, ...tcp, ...passed]) {
    const isHttp = typeof health === 'object' && health.kind === 'http';
    if (kind === 'http' || !isHttp) continue;
    const where = given.has('health-check') ? 'health-check' : OPTION_OF[kind];
    problems.add(
      `${labelOf(given, where)}: ${quote(name)} does not speak HTTP; give it health-check=tcp`,
    );
  }
}

/** A login that protects nothing, or that nobody can show, was not meant. */
function checkLogins({ parsed, given, readFile, problems }: CheckContext<'client'>): void {
  const { upstream = [], 'basic-auth': basic = [], 'bearer-token-file': files = [] } = parsed;
  for (const name of ['basic-auth', 'bearer-token-file', 'login', 'login-allow']) {
    if (!given.has(name) || upstream.length > 0) continue;
    problems.add(`${labelOf(given, name)}: is for HTTP tunnels, and there is none`);
  }
  const own = { provider: parsed.login, allow: parsed['login-allow'] ?? [] };
  const unusable = providerProblem(own);
  if (unusable !== undefined) {
    const name = given.has('login') ? 'login' : 'login-allow';
    problems.add(`${labelOf(given, name)}: ${unusable}`);
  }
  const all = [{ basic, bearerFiles: files }, ...upstream.flatMap(({ logins }) => logins ?? [])];
  const paths = new Set(all.flatMap(({ bearerFiles }) => bearerFiles));
  for (const path of paths) {
    const label = `--bearer-token-file ${path}`;
    try {
      const read = readBearerTokens(readFile(path));
      if (typeof read === 'string') problems.add(`${label}: ${read}`);
    } catch (error) {
      if (error instanceof FileElsewhere) continue;
      problems.add(`${label}: ${error instanceof Error ? error.message : 'cannot be read'}`);
    }
  }
}

/** Each local port has one listener. */
function checkLocals({ parsed, given, problems }: CheckContext<'client'>): void {
  const { local = [], 'local-socks': socks } = parsed;
  const ports = local.map(({ port }) => port);
  const isTwice = (port: number, index: number): boolean => ports.indexOf(port) !== index;
  const repeated = ports.find((port, index) => port !== 0 && isTwice(port, index));
  if (repeated !== undefined) {
    problems.add(`${labelOf(given, 'local')}: port ${repeated} is given twice`);
  }
  if (socks !== undefined && socks !== 0 && ports.includes(socks)) {
    problems.add(`${labelOf(given, 'local-socks')}: port ${socks} is one of --local too`);
  }
}

/** Its own endpoint would find the port of a forward taken, or take it. */
function checkMetrics({ parsed, given, problems }: CheckContext<'client'>): void {
  const { local = [], 'local-socks': socks, 'local-addr': host, 'metrics-addr': metrics } = parsed;
  if (host === undefined || metrics === undefined || metrics === 'off') return;
  if (metrics.port === 0 || !isOverlapping(host, metrics.host)) return;
  const taken = [
    ...(local.some(({ port }) => port === metrics.port) ? ['local'] : []),
    ...(socks === metrics.port ? ['local-socks'] : []),
  ];
  for (const name of taken) {
    problems.add(
      `${labelOf(given, name)}: port ${metrics.port} on ${bracketed(host)} is that of ` +
        `${labelOf(given, 'metrics-addr')}, ${showTarget(metrics)}; give one of them another port`,
    );
  }
}

/** Options with the defaults of all tunnels in them, and the files that upstreams name. */
function checkUpstreams({ parsed, given, readFile, problems }: CheckContext<'client'>): void {
  const { upstream = [], tcp = [], udp = [], 'tls-passthrough': passed = [] } = parsed;
  const defaults = declaredDefaults(parsed);
  const files = new Set<string>();
  for (const tunnel of [...upstream, ...tcp, ...udp, ...passed]) {
    const problem = boundsProblem(declaredOf(tunnel, defaults));
    const { name, kind } = tunnel;
    if (problem !== undefined) {
      problems.add(`${labelOf(given, OPTION_OF[kind])}: ${quote(name)}: ${problem}`);
    }
    const { ca } = tunnel.upstream.verify ?? {};
    if (ca !== undefined) files.add(ca);
  }
  const label = labelOf(given, 'upstream');
  for (const path of files)
    checkCertificate({ label: `${label} tls-ca`, path }, readFile, problems);
}
