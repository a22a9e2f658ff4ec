// The import table: which room may import which, which package lives where, and which of Node's
// modules belong to which files.
//
// Follows the table of rooms in docs/architecture.md; a change here is a change of architecture and
// needs a decision record. Invariant: a file that is in no room fails. Must not know: file contents
// beyond their imports.

import { type ImportSite, importsOf, packageOf, resolveImport } from './imports.ts';
import type { SourceFile } from './tree.ts';

interface Room {
  /** Rooms (`wire`) or single files (`link/link.ts`). A room may always import itself and base. */
  readonly imports: readonly string[];
}

export const ROOMS: Readonly<Record<string, Room>> = {
  base: { imports: [] },
  config: { imports: [] },
  wire: { imports: [] },
  link: { imports: ['wire'] },
  mux: { imports: ['wire', 'link/link.ts'] },
  http: { imports: [] },
  // A server name is a host, and there is one form in which hosts are compared.
  edge: { imports: ['http/host.ts'] },
  bridge: { imports: [] },
  shard: { imports: ['mux', 'link', 'wire', 'http', 'edge', 'bridge'] },
  // The limits that the protocol promises are numbers, and control keeps some of them.
  control: {
    imports: ['bridge', 'config', 'dashboard/assets.ts', 'shard/entry.ts', 'wire/limits.ts'],
  },
  dashboard: { imports: [] },
  files: { imports: [] },
  // What is written to run the program elsewhere.
  deploy: { imports: ['config'] },
  // Machines of clouds; what runs on one is given to it.
  provision: { imports: ['config'] },
  client: { imports: ['bridge', 'config', 'files', 'shard/entry.ts'] },
  // It asks exit nodes how they are, and trusts them as a client does.
  operator: { imports: ['config', 'client/server-ca.ts'] },
  cli: {
    imports: [
      ...['config', 'control', 'client', 'operator', 'files', 'bridge'],
      ...['http', 'wire', 'link', 'mux', 'shard', 'deploy', 'provision'],
    ],
  },
};

/** Foreign packages, and the only files (below src) that may import them. */
export const PACKAGES: Readonly<Record<string, RegExp>> = {
  pino: /^base\/log\.ts$/u,
  // Reads what providers answer; only `exit-node` and the operator load it.
  zod: /^provision\//u,
  yaml: /^(?:config|deploy)\//u,
  msgpackr: /^wire\//u,
  ws: /^link\/ws-[a-z-]+\.ts$/u,
  piscina: /^bridge\/pool\.ts$/u,
  'prom-client': /^(?:base\/metrics-page|operator\/metrics)\.ts$/u,
  '@kubernetes/client-node': /^operator\/(?:cluster|watch)\.ts$/u,
  'acme-client': /^control\/acme\.ts$/u,
  commander: /^cli\//u,
  mime: /^files\/content-type\.ts$/u,
  // Its built files are served; nothing imports it but the browser.
  uplot: /^$/u,
  'https-proxy-agent': /^base\/proxy-agent\.ts$/u,
  'socks-proxy-agent': /^base\/proxy-agent\.ts$/u,
  jose: /^control\/oidc-issuer\.ts$/u,
  'openid-client': /^control\/login-issuer\.ts$/u,
  aws4fetch: /^provision\/ec2-query\.ts$/u,
  '@rgrove/parse-xml': /^provision\/ec2-query\.ts$/u,
  '@peculiar/x509': /^control\/private-ca\.ts$/u,
  // Of the bench, which is compiled beside src and loaded by its command alone (0027).
  autocannon: /^$/u,
  'hdr-histogram-js': /^$/u,
};

const PURE = /^(?:wire|mux|http|edge)\//u;
const PURE_REASON =
  'wire, mux, http and edge do no I/O: take bytes and a Clock as parameters, do the I/O in shard or link';
/** The exit node pairs the ports of the mesh; it holds none. */
const THREADS = /^(?:link\/port-link\.ts|bridge\/|shard\/entry\.ts|control\/exit-shards\.ts)/u;

interface BuiltinRule {
  readonly module: RegExp;
  readonly allowed: (file: string, site: ImportSite) => boolean;
  readonly reason: string;
}

const BUILTINS: readonly BuiltinRule[] = [
  {
    module: /^(?:net|https?|http2|tls|dgram|dns|stream|fs|worker_threads|child_process|timers)/u,
    allowed: (file) => !PURE.test(file),
    reason: PURE_REASON,
  },
  {
    module: /^worker_threads$/u,
    // A port's type may be named by those who are handed one.
    allowed: (file, site) => THREADS.test(file) || site.typeOnly,
    reason: 'threads and ports stay in link/port-link.ts, bridge and the shard entry',
  },
  {
    module: /^https?$/u,
    allowed: (_file, site) => site.typeOnly,
    reason: 'an import of them loads 3 MB more a thread: take them from base/http-modules.ts',
  },
  {
    module: /^process$/u,
    allowed: (file) => file.startsWith('cli/'),
    reason:
      'only cli reads the environment or ends the process: pass what is needed as a parameter',
  },
  {
    module: /^sea$/u,
    allowed: (file) => file === 'base/embedded-file.ts',
    reason: 'files of the single executable are read by base/embedded-file.ts',
  },
  {
    module: /^child_process$/u,
    allowed: (file) => file.startsWith('cli/'),
    reason: 'only cli starts processes',
  },
];

const SRC = 'src/';

/** One line for each import of a `src` file that its room may not have. */
export function importProblems(file: SourceFile): string[] {
  const local = file.path.slice(SRC.length);
  const room = local.split('/')[0] ?? '';
  if (ROOMS[room] === undefined) {
    return [
      `${file.path}: in no known room; add the room to test/tidy/rooms.ts and architecture.md`,
    ];
  }
  return importsOf(file.text).flatMap((site) => {
    const problem = problemOf(local, room, site);
    return problem === undefined
      ? []
      : [`${file.path}:${site.line}: '${site.specifier}' ${problem}`];
  });
}

function problemOf(local: string, room: string, site: ImportSite): string | undefined {
  const { specifier } = site;
  if (specifier.startsWith('.')) return relativeProblem(local, room, specifier);
  if (specifier.startsWith('node:')) return builtinProblem(local, site);
  return packageProblem(local, packageOf(specifier));
}

function relativeProblem(local: string, room: string, specifier: string): string | undefined {
  const target = resolveImport(local, specifier);
  if (target.startsWith('..')) {
    return target === '../package.json' ? undefined : 'leads out of src';
  }
  const targetRoom = target.split('/')[0] ?? '';
  const allowed = [room, 'base', ...(ROOMS[room]?.imports ?? [])];
  if (allowed.includes(targetRoom) || allowed.includes(target)) return undefined;
  const list = ROOMS[room]?.imports.join(', ');
  return `is not for ${room}: it may import base${list ? `, ${list}` : ''} and itself`;
}

function builtinProblem(local: string, site: ImportSite): string | undefined {
  const module = site.specifier.slice('node:'.length);
  const rule = BUILTINS.find((one) => one.module.test(module) && !one.allowed(local, site));
  return rule?.reason;
}

function packageProblem(local: string, name: string): string | undefined {
  const where = PACKAGES[name];
  if (where === undefined)
    return 'is in no row of the package table: do without it, or argue for it';
  return where.test(local) ? undefined : `lives only in ${where.source}`;
}

/** Source files that no entry point reaches. */
export function unreachableFiles(
  files: readonly SourceFile[],
  entries: readonly string[],
): string[] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const reached = new Set<string>();
  const waiting = [...entries];
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    const file = byPath.get(path);
    if (file === undefined || reached.has(path)) continue;
    reached.add(path);
    for (const site of importsOf(file.text)) {
      if (site.specifier.startsWith('.')) waiting.push(resolveImport(path, site.specifier));
    }
  }
  return files.map((file) => file.path).filter((path) => !reached.has(path));
}
