// What a program gives `connect`, as flags of the client.
//
// Invariant: a name that is not known, or a value that is none of its kind, is a ConfigError and
// never left out: a fingerprint under a name that nobody reads would pin nothing; only undefined
// counts as not given. Must not know: what an option of the client means.

import { nearestName, Problems, quote } from '../config/problems.ts';
import { SCHEMA } from '../config/schema.ts';

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';

export interface ConnectOptions {
  /** `wss://tunnel.example.com:8123`; several are held at once. */
  readonly url: string | readonly string[];
  readonly token?: string;
  /** Read again for each dial. */
  readonly tokenFile?: string;
  /** What HTTP visitors of a host, a wildcard or `*`, maybe with a path, are served with:
   * `{ 'example.com': 'http://127.0.0.1:3000' }`. What `--upstream` takes behind `=`. */
  readonly upstreams?: Readonly<Record<string, string>>;
  /** Public ports, and what visitors of each are served with: `{ 2222: '127.0.0.1:22' }`. */
  readonly tcp?: Readonly<Record<number, string>>;
  /** Public UDP ports, likewise: `{ 5353: '127.0.0.1:53' }`. */
  readonly udp?: Readonly<Record<number, string>>;
  /** Local ports, and whom the server dials for each: `{ 4222: 'nats.default.svc:4222' }`. */
  readonly local?: Readonly<Record<number, string>>;
  /** PEM file of the CA of the server. */
  readonly tlsCa?: string;
  /** `sha256:…` of the private CA of the server. */
  readonly autoTlsFingerprint?: string;
  readonly proxy?: string;
  readonly id?: string;
  /** Any option of `sluiceway client`, by its name: `{ 'health-check': 'tcp' }`. */
  readonly options?: Readonly<Record<string, string | boolean | readonly string[]>>;
  /** To stderr; `silent` unless it is given. */
  readonly logLevel?: LogLevel;
  /** Until all tunnels are up; 30,000 unless it is given, at most 24 days. */
  readonly timeoutMs?: number;
  /** Gives up before, and closes what was begun. */
  readonly signal?: AbortSignal;
}

type Flags = Record<string, string | boolean | readonly string[]>;

interface Shape {
  readonly fits: (value: unknown) => boolean;
  readonly right: string;
}

const isText = (value: unknown): value is string => typeof value === 'string';
const isTexts = (value: unknown): boolean => Array.isArray(value) && value.every(isText);
/** Not what has its entries elsewhere: a Map would read as an empty one. */
const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Map);

const TEXT: Shape = { fits: isText, right: 'a text' };
const TEXTS: Shape = {
  fits: (value) => isText(value) || isTexts(value),
  right: 'a text or a list',
};
const PAIRS: Shape = {
  fits: (value) => isObject(value) && Object.values(value).every(isText),
  right: 'an object of texts',
};
const OPTIONS: Shape = { fits: isObject, right: 'an object, by the names of options' };
const TIME: Shape = {
  fits: (value) => typeof value === 'number' && value > 0,
  right: 'a number of milliseconds above 0',
};
const SIGNAL: Shape = {
  fits: (value) => isObject(value) && typeof value.throwIfAborted === 'function',
  right: 'an AbortSignal',
};
/** Of the client's options by name. */
const VALUE: Shape = {
  fits: (value) => ['boolean', 'number'].includes(typeof value) || TEXTS.fits(value),
  right: 'a text, a number, a boolean or a list of texts',
};

/** By field; and the client's option that each stands for. */
const FIELDS: Readonly<Record<keyof ConnectOptions, Shape & { readonly flag?: string }>> = {
  url: { ...TEXTS, flag: 'url' },
  token: { ...TEXT, flag: 'token' },
  tokenFile: { ...TEXT, flag: 'token-file' },
  upstreams: { ...PAIRS, flag: 'upstream' },
  tcp: { ...PAIRS, flag: 'tcp' },
  udp: { ...PAIRS, flag: 'udp' },
  local: { ...PAIRS, flag: 'local' },
  tlsCa: { ...TEXT, flag: 'tls-ca' },
  autoTlsFingerprint: { ...TEXT, flag: 'auto-tls-fingerprint' },
  proxy: { ...TEXT, flag: 'proxy' },
  id: { ...TEXT, flag: 'id' },
  options: OPTIONS,
  // Goes before one in `options`.
  logLevel: TEXT,
  timeoutMs: TIME,
  signal: SIGNAL,
};

/** Throws a ConfigError for what has not even the form of options. */
export function flagsOf(options: ConnectOptions): Flags {
  const problems = new Problems();
  if (!isObject(options)) problems.add('connect: takes an object of options');
  problems.throwIfAny();
  for (const [name, value] of Object.entries(options)) checkField(name, value, problems);
  problems.throwIfAny();
  const more = givenIn(options.options ?? {});
  for (const [name, value] of Object.entries(more)) checkOption(name, value, options, problems);
  problems.throwIfAny();
  return {
    // Who runs a program knows its tunnels.
    ...{ 'log-level': 'silent', 'status-dir': 'off' },
    ...more,
    ...givenIn({
      url: options.url,
      token: options.token,
      'token-file': options.tokenFile,
      upstream: pairs(options.upstreams, '='),
      tcp: pairs(options.tcp, '='),
      udp: pairs(options.udp, '='),
      local: pairs(options.local, ':'),
      'tls-ca': options.tlsCa,
      'auto-tls-fingerprint': options.autoTlsFingerprint,
      proxy: options.proxy,
      id: options.id,
      'log-level': options.logLevel,
    }),
  };
}

function checkField(name: string, value: unknown, problems: Problems): void {
  if (!Object.hasOwn(FIELDS, name)) {
    problems.add(`${quote(name)}: unknown option${hintFor(name)}`);
    return;
  }
  const { fits, right } = FIELDS[name as keyof ConnectOptions];
  if (value !== undefined && !fits(value)) problems.add(`${name}: must be ${right}`);
}

function hintFor(name: string): string {
  if (Object.hasOwn(SCHEMA.client, name)) return '; options of the client stand in `options`';
  const nearest = nearestName(name, Object.keys(FIELDS));
  return nearest === undefined ? '' : `; did you mean ${nearest}?`;
}

function checkOption(
  name: string,
  value: unknown,
  options: ConnectOptions,
  problems: Problems,
): void {
  const own = Object.entries(FIELDS).find(([, { flag }]) => flag === name)?.[0];
  if (name === 'config') {
    problems.add('options.config: a program has no file of options; give them here');
  } else if (own !== undefined && options[own as keyof ConnectOptions] !== undefined) {
    problems.add(`options.${name}: is given twice, here and as ${own}`);
  } else if (!VALUE.fits(value)) {
    problems.add(`${quote(`options.${name}`)}: must be ${VALUE.right}`);
  }
}

function givenIn(values: Readonly<Record<string, Flags[string] | undefined>>): Flags {
  const entries = Object.entries(values);
  const given = entries.filter((entry): entry is [string, Flags[string]] => entry[1] !== undefined);
  return Object.fromEntries(given);
}

function pairs(
  values: Readonly<Record<string, string>> | undefined,
  sign: string,
): readonly string[] | undefined {
  const texts = Object.entries(values ?? {}).map(([key, value]) => `${key}${sign}${value}`);
  return texts.length === 0 ? undefined : texts;
}
