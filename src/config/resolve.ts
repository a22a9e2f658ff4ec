// Parses the merged texts by the schema and checks what no single option can: relations between
// options, what is required, and the files that options name.
//
// Invariant: every check runs, whatever else is wrong, and nothing is returned unless all of them
// passed. Must not know: how a configuration is shaped for its users.

import type { Masked } from '../base/masked.ts';
import { showTarget } from '../base/target.ts';
import { boundsProblem } from '../base/tunnel-options.ts';
import { type CertificateFile, checkCertificate, checkCertificatePair } from './certificate.ts';
import { declaredDefaults, declaredOf } from './declared.ts';
import { FileElsewhere } from './elsewhere.ts';
import type { ConfigFile } from './file.ts';
import { checkHttps, followHttps } from './https-check.ts';
import { readLoginProviders, readSecret, secretFilesOf } from './login-providers.ts';
import { type FlagValue, type Given, merge } from './merge.ts';
import { readLists } from './network.ts';
import { LEASE_RELATIONS } from './operator.ts';
import type { Kind, MachineDefaults, OptionTable } from './option.ts';
import { Problems, quote } from './problems.ts';
import { proxyProblems } from './proxy.ts';
import { type Command, RELATIONS, SCHEMA, type Values } from './schema.ts';
import { resolveToken } from './token.ts';
import { checkRules, readTokensFile } from './tokens-file.ts';
import { autoTlsProblems, trustProblems } from './trust.ts';
import { followTcp } from './udp.ts';
import { providerProblem, readBearerTokens } from './visitor-login.ts';

export interface ConfigInput<C extends Command = Command> {
  readonly command: C;
  readonly flags: Readonly<Record<string, FlagValue>>;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** What --config names; its reader is the caller. */
  readonly file?: ConfigFile;
  readonly defaults: MachineDefaults;
  /** Gives a file's text, or throws an error whose message says what is wrong with the file. */
  readonly readFile: (path: string) => string;
}

export interface Resolution<C extends Command> {
  readonly values: Values<C>;
  readonly token: Masked | undefined;
  readonly given: ReadonlyMap<string, Given>;
  /** The same before files of lists were read. */
  readonly merged: ReadonlyMap<string, Given>;
  /** What `@FILE` named. */
  readonly listFiles: readonly string[];
}

interface CheckContext<C extends Command> {
  /** What could be parsed; an option with a problem is absent. */
  readonly parsed: Partial<Values<C>>;
  readonly given: ReadonlyMap<string, Given>;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly readFile: (path: string) => string;
  readonly problems: Problems;
}

/** Tunnels of one client. Guess; the exit node has its own limit. */
const TUNNELS_MAX = 1000;
/** Servers of one client. Guess. */
const URLS_MAX = 16;

export function resolveValues<C extends Command>(input: ConfigInput<C>): Resolution<C> {
  const { command, env, readFile } = input;
  const problems = new Problems();
  const merged = merge({ ...input, tables: SCHEMA }, problems);
  const table: OptionTable = SCHEMA[command];
  const listFiles = new Set<string>();
  const given = readLists({ table, given: merged, readFile, listFiles }, problems);
  const untyped = parseTable(table, given, input.defaults, problems);
  // The kinds of the table gave the values: what `Values` says of them holds.
  const followed = command === 'server' ? followTcp(followHttps(untyped, given), given) : untyped;
  const parsed = followed as Partial<Values<C>>;
  const tokenTexts = untyped as Partial<Values<'server' | 'client' | 'status'>>;
  // What is wrong with a certificate is a problem of its own: it never means "no token needed".
  const substitutes = SUBSTITUTES[command];
  const substitute = substitutes.some((name) => given.has(name));
  const sources = { given, parsed: tokenTexts, env, readFile, substitute };
  const token = Object.hasOwn(table, 'token') ? resolveToken(sources, problems) : undefined;
  const check: (context: CheckContext<C>) => void = CHECKS[command];
  check({ parsed, given, env, readFile, problems });
  problems.throwIfAny();
  // No problem means that every option of the table was parsed by its own kind.
  return { values: parsed as Values<C>, token, given, merged, listFiles: [...listFiles] };
}

/** What may stand in for a token. */
const SUBSTITUTES: Readonly<Record<Command, readonly string[]>> = {
  server: ['client-ca', 'tokens-file'],
  client: ['tls-client-cert'],
  status: ['tls-client-cert', 'local', 'ready'],
  fileserver: [],
  operator: [],
};

function parseTable(
  table: OptionTable,
  given: ReadonlyMap<string, Given>,
  machine: MachineDefaults,
  problems: Problems,
): Readonly<Record<string, unknown>> {
  const parsed: Record<string, unknown> = {};
  for (const [name, option] of Object.entries(table)) {
    const found = given.get(name);
    const result = option.parse(found?.texts ?? option.defaultTexts(machine));
    if (result.ok) {
      parsed[name] = result.value;
      continue;
    }
    const label = labelOf(given, name);
    for (const { text, message } of result.wrong) {
      const shown = option.kind.name === 'secret' ? 'the value' : quote(shownOf(option.kind, text));
      problems.add(
        text === '' ? `${label}: is empty; give a value` : `${label}: ${shown} ${message}`,
      );
    }
  }
  return parsed;
}

function shownOf(kind: Kind<unknown>, text: string): string {
  return kind.shown === undefined ? text : kind.shown(text);
}

const CHECKS: { readonly [C in Command]: (context: CheckContext<C>) => void } = {
  server(context) {
    checkRelations(context);
    checkListeners(context);
    checkPair(context, 'tls-cert', 'tls-key');
    checkCa(context, 'client-ca');
    addAll(
      context,
      autoTlsProblems(context.parsed, (name) => context.given.has(name)),
    );
    checkHttps(context);
    checkTokensFile(context);
    checkLoginProviders(context);
    checkLinkPorts(context);
    checkFault(context);
  },
  client(context) {
    checkRelations(context);
    checkUrls(context);
    checkTunnels(context);
    checkLocals(context);
    checkHealth(context);
    checkLogins(context);
    checkUpstreams(context);
    checkTrust(context, context.parsed.url ?? []);
  },
  status(context) {
    const { local } = context.parsed;
    if (local !== true && !context.given.has('url')) context.problems.add(URL_REQUIRED);
    if (context.given.has('tunnel') && context.parsed.ready === false) {
      context.problems.add(`${labelOf(context.given, 'tunnel')}: needs --ready too`);
    }
    checkTrust(context, context.parsed.url === undefined ? [] : [context.parsed.url]);
  },
  fileserver() {
    // Whether there is such a folder is seen when it is served.
  },
  operator(context) {
    checkNeighbours(context, LEASE_RELATIONS);
  },
};

const URL_REQUIRED = '--url is required; give the server, such as wss://tunnel.example.com:8123';

function checkRelations(context: CheckContext<'server'> | CheckContext<'client'>): void {
  checkNeighbours<Command>(context, RELATIONS);
}

interface Relation {
  readonly lower: string;
  readonly factor: number;
  readonly upper: string;
}

function checkNeighbours<C extends Command>(
  { parsed, given, problems }: CheckContext<C>,
  relations: readonly Relation[],
): void {
  const values = parsed as Readonly<Record<string, number | undefined>>;
  for (const { lower, factor, upper } of relations) {
    const small = values[lower];
    const large = values[upper];
    if (small === undefined || large === undefined || small * factor <= large) continue;
    const times = factor === 1 ? '' : `${factor} times `;
    problems.add(
      `${labelOf(given, upper)}: ${shownAs(upper, large)} is less than ` +
        `${times}${labelOf(given, lower)}, ${shownAs(lower, small)}`,
    );
  }
}

function shownAs(name: string, value: number): string {
  const tables: readonly OptionTable[] = Object.values(SCHEMA);
  return (
    tables
      .find((table) => table[name] !== undefined)
      ?.[name]?.show(value)
      .join() ?? ''
  );
}

const LISTENERS = ['control-addr', 'http-addr', 'https-addr', 'admin-addr'] as const;

/** Two listeners on one port: found now rather than when the second cannot be opened. */
function checkListeners({ parsed, given, problems }: CheckContext<'server'>): void {
  const seen = new Map<string, string>();
  for (const name of LISTENERS) {
    const value = parsed[name];
    if (value === undefined || value === 'off' || value.port === 0) continue;
    const shown = showTarget(value);
    const other = seen.get(shown);
    if (other === undefined) seen.set(shown, name);
    else problems.add(`${labelOf(given, name)}: ${shown} is also --${other}`);
  }
}

/** A certificate and its key: both or none, and they belong together. */
function checkPair<C extends Command>(
  { parsed, given, readFile, problems }: CheckContext<C>,
  certName: string,
  keyName: string,
): void {
  const paths = parsed as Readonly<Record<string, string | undefined>>;
  const cert = fileOf(certName, paths[certName], given);
  const key = fileOf(keyName, paths[keyName], given);
  if (cert !== undefined && key !== undefined) checkCertificatePair(cert, key, readFile, problems);
  else if (cert !== undefined && !given.has(keyName)) {
    problems.add(`${cert.label}: needs --${keyName} too`);
  } else if (key !== undefined && !given.has(certName)) {
    problems.add(`${key.label}: needs --${certName} too`);
  }
}

/** What is wrong in the file is wrong with the configuration: no token is lost in silence. */
function checkTokensFile({ parsed, given, readFile, problems }: CheckContext<'server'>): void {
  const needs = (name: string, other: string): void => {
    const isAlone = given.has(name) && !given.has(other);
    if (isAlone) problems.add(`${labelOf(given, name)}: needs --${other} too`);
  };
  needs('tokens-usage-file', 'tokens-file');
  needs('oidc-issuer', 'oidc-audience');
  needs('oidc-audience', 'oidc-issuer');
  needs('oidc-issuer', 'tokens-file');
  const path = parsed['tokens-file'];
  if (path === undefined) return;
  try {
    const entries = readTokensFile({ path, text: readFile(path) }, problems);
    checkRules({ path, entries, hasIssuer: given.has('oidc-issuer') }, problems);
  } catch (error) {
    if (error instanceof FileElsewhere) return;
    const reason = error instanceof Error ? error.message : `${path} cannot be read`;
    problems.add(`${labelOf(given, 'tokens-file')}: ${reason}`);
  }
}

/** A provider that could not be used would be noticed by a visitor. */
function checkLoginProviders(context: CheckContext<'server'>): void {
  const { parsed, given, readFile, problems } = context;
  const path = parsed['login-providers'];
  if (path === undefined) return;
  const reading = (file: string, use: (text: string) => string | undefined): void => {
    let wrong: string | undefined;
    try {
      wrong = use(readFile(file));
    } catch (error) {
      if (error instanceof FileElsewhere) return;
      wrong = error instanceof Error ? error.message : 'cannot be read';
    }
    if (wrong !== undefined) problems.add(`${labelOf(given, 'login-providers')}: ${file} ${wrong}`);
  };
  reading(path, (text) => {
    const found = readLoginProviders({ path, text }, problems);
    for (const { path: file, lengthMin } of secretFilesOf(found)) {
      reading(file, (secret) => {
        const read = readSecret(secret, lengthMin);
        return typeof read === 'string' ? read : undefined;
      });
    }
    return undefined;
  });
}

/** Links have a port to come in by, or nobody would notice that they have none. */
function checkLinkPorts({ parsed, given, problems }: CheckContext<'server'>): void {
  for (const [name, port] of [
    ['control-on-http', 'http-addr'],
    ['control-on-https', 'https-addr'],
  ] as const) {
    if (parsed[name] !== true || parsed[port] !== 'off') continue;
    problems.add(`${labelOf(given, name)}: needs --${port}, which is off`);
  }
}

function checkFault({ parsed, given, problems }: CheckContext<'server'>): void {
  if (parsed.fault === undefined || parsed['allow-faults'] !== false) return;
  problems.add(`SLUICEWAY_FAULT (${originOf(given, 'fault')}): is refused without --allow-faults`);
}

function checkCa<C extends Command>(context: CheckContext<C>, name: string): void {
  const paths = context.parsed as Readonly<Record<string, string | undefined>>;
  const ca = fileOf(name, paths[name], context.given);
  if (ca !== undefined) checkCertificate(ca, context.readFile, context.problems);
}

function checkTrust(
  context: CheckContext<'client'> | CheckContext<'status'>,
  urls: readonly string[],
): void {
  checkCa<Command>(context, 'tls-ca');
  checkPair<Command>(context, 'tls-client-cert', 'tls-client-key');
  addAll(
    context,
    trustProblems(context.parsed, urls, (name) => context.given.has(name)),
  );
  if (context.given.has('proxy')) return;
  for (const problem of proxyProblems(urls, context.env)) context.problems.add(problem);
}

/** Problems of options by name, with where each came from. */
function addAll(
  { given, problems }: Pick<CheckContext<Command>, 'given' | 'problems'>,
  found: readonly { readonly option: string; readonly wrong: string }[],
): void {
  for (const { option, wrong } of found) problems.add(`${labelOf(given, option)}: ${wrong}`);
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
        'HTTP upstreams learn the visitor from X-Forwarded-For',
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
    const found = given.get(name);
    if (found === undefined) continue;
    const wrong =
      found.texts.length === 0
        ? 'is an empty list; give a value, or leave it out'
        : 'is for HTTP tunnels, and there is none';
    if (found.texts.length === 0 || upstream.length === 0) {
      problems.add(`${labelOf(given, name)}: ${wrong}`);
    }
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

function fileOf(
  name: string,
  path: string | undefined,
  given: ReadonlyMap<string, Given>,
): CertificateFile | undefined {
  return path === undefined ? undefined : { label: labelOf(given, name), path };
}

/** An option as a problem names it: `--url (flag)`. */
function labelOf(given: ReadonlyMap<string, Given>, name: string): string {
  return `--${name} (${originOf(given, name)})`;
}

function originOf(given: ReadonlyMap<string, Given>, name: string): string {
  return given.get(name)?.origin ?? 'default';
}
