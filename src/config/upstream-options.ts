// What may stand behind an upstream: `;KEY=VALUE`, any number of times.
//
//   example.com=http://127.0.0.1:3000;host-header=internal;request-header-add="Vary: a, b"
//
// Invariant: one table of keys; a value that holds `;`, `,` or `"` is quoted as a whole, with `\"`
// and `\\` inside, so that a text has one reading; what a key declares for the exit node is checked
// by the exit node's own rules. Must not know: names and addresses, or who dials.

import { readHostName } from '../base/target.ts';
import {
  boundsProblem,
  isTunnelOption,
  TUNNEL_OPTION_NAMES,
  TUNNEL_OPTIONS,
  type TunnelOptionName,
  type TunnelOptions,
} from '../base/tunnel-options.ts';
import { type HealthCheck, readHealthCheck, showHealthCheck } from './health-check.ts';
import { InvalidText, type Kind, kindOf } from './option.ts';
import { nearestName, quote } from './problems.ts';
import {
  allowProblem,
  basicProblem,
  type LoginSpec,
  loginsOf,
  providerNameProblem,
  providerProblem,
} from './visitor-login.ts';

/** A text with keys that is wrong, as a line may show it: what they say may be a secret. */
export function shownWithoutKeys(text: string): string {
  return text.replace(/;.*$/s, ';…');
}

/** How an `https://` upstream is verified; stays on the client. */
export interface UpstreamTls {
  /** A file, PEM. */
  readonly ca?: string;
  readonly serverName?: string;
  readonly isUnverified?: true;
}

/** How a folder is served; stays on the client. */
export interface UpstreamFiles {
  readonly listing?: boolean;
  readonly hidden?: boolean;
}

export interface UpstreamOptions {
  /** Declared to the exit node. */
  readonly declared: TunnelOptions;
  readonly tls: UpstreamTls;
  readonly files?: UpstreamFiles;
  readonly health?: HealthCheck;
  /** Whom to let in, by what they show. */
  readonly logins?: LoginSpec;
}

interface KeyRow {
  readonly repeats: boolean;
  readonly problemOf: (text: string) => string | undefined;
}

/** Stands in a printed configuration for a value that may be a secret. */
export const MASKED_VALUE = '[masked]';
/** Fields whose values are not printed. */
const SECRET_FIELD = /^(?:authorization|(?:set-)?cookie)$|token|secret|passw|api-?key/i;

const TLS_KEYS: Readonly<Record<string, KeyRow>> = {
  'tls-ca': {
    repeats: false,
    problemOf: (text) =>
      /[\0\r\n]/.test(text) || text === '' ? 'is no path of a file' : undefined,
  },
  'tls-server-name': {
    repeats: false,
    problemOf: (text) => (readHostName(text) === undefined ? 'is no host name' : undefined),
  },
  'tls-insecure': { repeats: false, problemOf: booleanProblem },
};

const FILE_KEYS: Readonly<Record<string, KeyRow>> = {
  listing: { repeats: false, problemOf: booleanProblem },
  hidden: { repeats: false, problemOf: booleanProblem },
};

const HEALTH_KEYS: Readonly<Record<string, KeyRow>> = {
  'health-check': {
    repeats: false,
    problemOf: (text) => {
      const read = readHealthCheck(text);
      return read instanceof InvalidText ? read.message : undefined;
    },
  },
};

const LOGIN_KEYS: Readonly<Record<string, KeyRow>> = {
  'basic-auth': { repeats: true, problemOf: basicProblem },
  'bearer-token-file': {
    repeats: true,
    problemOf: (text) =>
      /[\0\r\n]/.test(text) || text === '' ? 'is no path of a file' : undefined,
  },
  login: { repeats: false, problemOf: providerNameProblem },
  'login-allow': { repeats: true, problemOf: allowProblem },
};

const { 'visitor-login': _made, ...WRITTEN_OPTIONS } = TUNNEL_OPTIONS;
const KEYS: Readonly<Record<string, KeyRow>> = {
  ...WRITTEN_OPTIONS,
  ...TLS_KEYS,
  ...FILE_KEYS,
  ...HEALTH_KEYS,
  ...LOGIN_KEYS,
};

/** Client options of the same names: what holds for every upstream that says nothing itself. */
export const headerField: Kind<string> = {
  ...kindOf(
    'header field',
    'NAME: VALUE',
    (text) => readDeclared('request-header-add', text),
    (text) => maskField(text),
  ),
  shown: shownField,
};
export const headerName: Kind<string> = kindOf(
  'header name',
  'NAME',
  (text) => readDeclared('request-header-remove', text),
  String,
);
export const hostHeader: Kind<string> = kindOf(
  'host header',
  'HOST',
  (text) => readDeclared('host-header', text),
  String,
);

export const weight: Kind<string> = kindOf(
  'weight',
  'NUMBER',
  (text) => readDeclared('weight', text),
  String,
);
export const affinity: Kind<string> = kindOf(
  'affinity',
  'ip|cookie',
  (text) => readDeclared('affinity', text),
  String,
);

function booleanProblem(text: string): string | undefined {
  return text === 'true' || text === 'false' ? undefined : 'is not true or false';
}

function readDeclared(key: TunnelOptionName, text: string): string | InvalidText {
  const problem = problemOf(key, text);
  return problem === undefined ? text : new InvalidText(problem);
}

function problemOf(key: string, text: string): string | undefined {
  if (text.endsWith(MASKED_VALUE)) return 'was masked when it was printed; give the value';
  return KEYS[key]?.problemOf(text);
}

/** Cuts `text` at each `separator` that is not in quotes; a quote that is left open ends it all. */
export function splitUnquoted(text: string, separators: string): string[] {
  const pieces: string[] = [];
  let start = 0;
  let isQuoted = false;
  for (let at = 0; at < text.length; at += 1) {
    const letter = text[at] as string;
    if (isQuoted && letter === '\\') at += 1;
    else if (letter === '"') isQuoted = !isQuoted;
    else if (!isQuoted && separators.includes(letter)) {
      pieces.push(text.slice(start, at));
      start = at + 1;
    }
  }
  return [...pieces, text.slice(start)];
}

/** Reads the pieces behind the upstream. */
export function readUpstreamOptions(pieces: readonly string[]): UpstreamOptions | InvalidText {
  const values = new Map<string, string[]>();
  for (const piece of pieces) {
    const equals = piece.indexOf('=');
    const key = (equals === -1 ? piece : piece.slice(0, equals)).trim();
    if (!Object.hasOwn(KEYS, key)) return unknownKey(key);
    if (equals === -1) return new InvalidText(`has ${key} without "="; write ${key}=VALUE`);
    const value = unquote(piece.slice(equals + 1).trim());
    if (value === undefined) {
      return new InvalidText(
        `has a quote in ${key}; write the whole value in quotes, with \\" for a quote inside`,
      );
    }
    const problem = problemOf(key, value);
    if (problem !== undefined) return new InvalidText(`has a ${key} that ${problem}`);
    const known = values.get(key) ?? [];
    if (known.length > 0 && KEYS[key]?.repeats !== true) {
      return new InvalidText(`has ${key} twice; give it once`);
    }
    values.set(key, [...known, value]);
  }
  return gather(values);
}

/** Behind an upstream whose bytes are not read: who may visit, how many, and whether it is well. */
export function readRawOptions(
  pieces: readonly string[],
): Omit<UpstreamOptions, 'tls' | 'files'> | InvalidText {
  const read = readUpstreamOptions(pieces);
  if (read instanceof InvalidText) return read;
  const isMore =
    Object.keys(read.tls).length > 0 ||
    read.files !== undefined ||
    read.logins !== undefined ||
    TUNNEL_OPTION_NAMES.some(
      (key) => !TUNNEL_OPTIONS[key].isForRaw && read.declared[key] !== undefined,
    );
  if (!isMore) return read;
  return new InvalidText(
    'has a key for HTTP behind ";"; its bytes are passed on, only allow-ips, weight and ' +
      'health-check are for it',
  );
}

/** A property for a tunnel; none for nothing. */
export function declaring(options: TunnelOptions): { readonly options?: TunnelOptions } {
  return Object.keys(options).length === 0 ? {} : { options };
}

/** The same for what stands behind an upstream, but for its TLS and its files. */
export function declaringAll({
  declared,
  health,
  logins,
}: Omit<UpstreamOptions, 'tls' | 'files'>): {
  readonly options?: TunnelOptions;
  readonly health?: HealthCheck;
  readonly logins?: LoginSpec;
} {
  return {
    ...declaring(declared),
    ...(health === undefined ? {} : { health }),
    ...(logins === undefined ? {} : { logins }),
  };
}

/** Keys whose value is the path of a file. */
const FILE_NAMING = ['tls-ca', 'bearer-token-file'] as const;
export type FileKey = (typeof FILE_NAMING)[number];

/** `KEY=VALUE`, which was read before, with the file that it may name where `place` has it. */
export function withFileAt(piece: string, place: (key: FileKey, path: string) => string): string {
  const equals = piece.indexOf('=');
  const key = FILE_NAMING.find((name) => name === piece.slice(0, equals).trim());
  const path = key === undefined ? undefined : unquote(piece.slice(equals + 1).trim());
  if (key === undefined || path === undefined) return piece;
  const placed = place(key, path);
  return placed === path ? piece : `${key}=${quoteValue(placed)}`;
}

function unknownKey(key: string): InvalidText {
  const nearest = nearestName(key, Object.keys(KEYS));
  const hint = nearest === undefined ? '' : `; did you mean ${nearest}?`;
  return new InvalidText(`has the unknown key ${quote(key)} behind ";"${hint}`);
}

function gather(values: ReadonlyMap<string, readonly string[]>): UpstreamOptions | InvalidText {
  const declared: Partial<Record<TunnelOptionName, readonly string[]>> = {};
  for (const [key, texts] of values) if (isTunnelOption(key)) declared[key] = texts;
  const problem = boundsProblem(declared);
  if (problem !== undefined) return new InvalidText(`has too much: ${problem}`);
  const ca = values.get('tls-ca')?.[0];
  const serverName = values.get('tls-server-name')?.[0]?.toLowerCase();
  const isUnverified = values.get('tls-insecure')?.[0] === 'true';
  const tls = {
    ...(ca === undefined ? {} : { ca }),
    ...(serverName === undefined ? {} : { serverName }),
    ...(isUnverified ? { isUnverified: true as const } : {}),
  };
  const files = filesOf(values);
  const health = readHealthCheck(values.get('health-check')?.[0] ?? '');
  const logins = loginsOf({
    basic: values.get('basic-auth') ?? [],
    bearerFiles: values.get('bearer-token-file') ?? [],
    provider: values.get('login')?.[0],
    allow: values.get('login-allow') ?? [],
  });
  const unusable = logins === undefined ? undefined : providerProblem(logins);
  if (unusable !== undefined) return new InvalidText(unusable);
  return {
    ...{ declared, tls },
    ...(files === undefined ? {} : { files }),
    ...(health instanceof InvalidText ? {} : { health }),
    ...(logins === undefined ? {} : { logins }),
  };
}

function filesOf(values: ReadonlyMap<string, readonly string[]>): UpstreamFiles | undefined {
  const given = Object.keys(FILE_KEYS).filter((key) => values.has(key));
  if (given.length === 0) return undefined;
  return Object.fromEntries(given.map((key) => [key, values.get(key)?.[0] === 'true']));
}

/** The value of a quoted text, or a text without quotes itself; undefined for anything between. */
function unquote(text: string): string | undefined {
  if (!text.includes('"')) return text;
  const inner = /^"((?:[^"\\]|\\["\\])*)"$/.exec(text)?.[1];
  return inner?.replace(/\\(["\\])/g, '$1');
}

export function quoteValue(value: string): string {
  if (!/[;,"\n\\]|^\s|\s$/.test(value)) return value;
  return `"${value.replace(/["\\]/g, '\\$&')}"`;
}

/** `;KEY=VALUE` for each, as `readUpstreamOptions` reads it; values that may be secret masked. */
export function showUpstreamOptions(shown: UpstreamOptions): string {
  const { declared, tls, files = {}, health, logins } = shown;
  const pairs: (readonly [string, string])[] = TUNNEL_OPTION_NAMES.flatMap((key) =>
    (declared[key] ?? []).map(
      (text) => [key, key.endsWith('-add') ? maskField(text) : text] as const,
    ),
  );
  if (tls.ca !== undefined) pairs.push(['tls-ca', tls.ca]);
  if (tls.serverName !== undefined) pairs.push(['tls-server-name', tls.serverName]);
  if (tls.isUnverified === true) pairs.push(['tls-insecure', 'true']);
  for (const [key, isOn] of Object.entries(files)) pairs.push([key, String(isOn)]);
  for (const _pair of logins?.basic ?? []) pairs.push(['basic-auth', MASKED_VALUE]);
  for (const file of logins?.bearerFiles ?? []) pairs.push(['bearer-token-file', file]);
  if (logins?.provider !== undefined) pairs.push(['login', logins.provider]);
  for (const rule of logins?.allow ?? []) pairs.push(['login-allow', rule]);
  if (health !== undefined) pairs.push(['health-check', showHealthCheck(health)]);
  return pairs.map(([key, value]) => `;${key}=${quoteValue(value)}`).join('');
}

function maskField(text: string): string {
  const name = text.slice(0, text.indexOf(':'));
  return SECRET_FIELD.test(name) ? `${name}: ${MASKED_VALUE}` : text;
}

/** Of a text that is wrong: the colon may be what is missing. */
function shownField(text: string): string {
  const [name = ''] = text.split(/[\s:=]/, 1);
  return SECRET_FIELD.test(name) ? `${name}: …` : text;
}
