// What `sluiceway bench` was asked for, read from its flags and bounded.
//
// Also the seam to the code that does it, which lies beside src and is loaded when the command
// runs. Invariant: every number has a bound with a name, so that no typing mistake is an attack;
// all that is wrong is told at once, before anything is sent. Must not know: how load is made.

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { ConfigError } from '../base/errors.ts';
import { InvalidText, type Kind } from '../config/option.ts';
import { duration, integer } from '../config/quantity.ts';

/** As commander gives them. */
export interface BenchFlags {
  readonly url?: string;
  readonly tcpLoad?: string;
  readonly connections?: string;
  readonly duration?: string;
  readonly warmUp?: string;
  readonly rounds?: string;
  readonly rate?: string;
  readonly header?: readonly string[];
  readonly tlsCa?: string;
  readonly shards?: string;
  readonly output?: string;
  readonly json?: boolean;
}

/** `http` is requests; the others are for a TCP service: what it must do is in their name. */
export type BenchLoad = 'http' | 'echo' | 'download' | 'upload';

export interface BenchRequest {
  /** What is loaded; without it a server, a client and a service are started for it. */
  readonly target?: {
    readonly url: URL;
    readonly load: BenchLoad;
    readonly headers: readonly (readonly [name: string, value: string])[];
    /** PEM of authorities to trust in place of Node's own. */
    readonly ca?: string;
  };
  readonly connections: number;
  /** Of one round, or of one sample, behind its warm-up. */
  readonly durationMs: number;
  readonly warmUpMs: number;
  readonly rounds: number;
  /** Requests or echoes a second over all connections; 0: as fast as they are answered. */
  readonly perSecond: number;
  readonly shards: number;
  /** Where report.html and report.json go. */
  readonly folder: string;
}

export interface BenchOutcome {
  readonly report: unknown;
  /** Tables, for a person. */
  readonly text: string;
  /** What keeps this from being a success, a line each; all else is as in one. */
  readonly problem?: string;
}

/** The load could not be put on the target at all; no report was written. */
export interface BenchRefusal {
  readonly refusal: 'failure' | 'timeout' | 'usage';
  readonly reason: string;
}

export interface BenchScreen {
  /** One line that takes the place of the last. */
  readonly tell: (progress: string) => void;
}

export type RunBench = (
  request: BenchRequest,
  screen: BenchScreen,
) => Promise<BenchOutcome | BenchRefusal>;

/** Ten minutes a round, a guess: longer is what a soak test is for. */
const DURATION_MS_MAX = 600_000;
/** The generator counts by seconds. */
const DURATION_MS_MIN = 200;
const WARM_UP_MS_MAX = 60_000;
/** Sockets of one process, a guess; the limit of open files usually comes first. */
const CONNECTIONS_MAX = 10_000;
/** Several times what one thread of Node can send. */
const PER_SECOND_MAX = 100_000;
/** A median needs no more; a guess. */
const ROUNDS_MAX = 21;
const SHARDS_MAX = 256;
const HEADERS_MAX = 64;
/** As long as most servers take a field. */
const HEADER_BYTES_MAX = 8 * 1024;
const CA_BYTES_MAX = 1024 * 1024;

/** For a running tunnel, and for a tunnel of our own: some four minutes in all. */
const DEFAULTS = {
  target: { connections: 50, durationMs: 10_000, warmUpMs: 2_000, perSecond: 0 },
  self: { connections: 64, durationMs: 2_000, warmUpMs: 500, perSecond: 2_000 },
} as const;
const ROUNDS = 3;
const TCP_LOADS = ['echo', 'download', 'upload'] as const;
/** Framing and the connection are the generator's; others' values would break its count. */
const OWN_HEADERS = /^(?:connection|content-length|expect|te|trailer|transfer-encoding|upgrade)$/iu;
const HEADER = /^([!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}):[ \t]*([\t\u0020-\u007e\u0080-\u00ff]*)$/u;

export function readBenchRequest(flags: BenchFlags): BenchRequest {
  const problems: string[] = [];
  const usual = flags.url === undefined ? DEFAULTS.self : DEFAULTS.target;
  const number = (
    option: string,
    { text, kind, usual }: { text: string | undefined; kind: Kind<number>; usual: number },
  ): number => {
    const value = text === undefined ? usual : kind.read(text);
    if (!(value instanceof InvalidText)) return value;
    problems.push(`--${option} '${text}' ${value.message}`);
    return usual;
  };
  const request = {
    connections: number('connections', {
      ...{ text: flags.connections, usual: usual.connections },
      kind: integer({ min: 1, max: CONNECTIONS_MAX }),
    }),
    durationMs: number('duration', {
      ...{ text: flags.duration, usual: usual.durationMs },
      kind: duration({ min: DURATION_MS_MIN, max: DURATION_MS_MAX }),
    }),
    warmUpMs: number('warm-up', {
      ...{ text: flags.warmUp, usual: usual.warmUpMs },
      kind: duration({ min: 0, max: WARM_UP_MS_MAX }),
    }),
    rounds: number('rounds', {
      ...{ text: flags.rounds, usual: ROUNDS },
      kind: integer({ min: 1, max: ROUNDS_MAX }),
    }),
    perSecond: number('rate', {
      ...{ text: flags.rate, usual: usual.perSecond },
      kind: integer({ min: 1, max: PER_SECOND_MAX }),
    }),
    shards: number('shards', {
      ...{ text: flags.shards, usual: 1 },
      kind: integer({ min: 1, max: SHARDS_MAX }),
    }),
    folder: path.resolve(flags.output ?? '.'),
  };
  const target = flags.url === undefined ? undefined : readTarget(flags, flags.url, problems);
  problems.push(...misplaced(flags));
  if (problems.length > 0) throw new ConfigError(problems);
  return target === undefined ? request : { ...request, target };
}

function misplaced(flags: BenchFlags): string[] {
  if (flags.url !== undefined) {
    return flags.shards === undefined
      ? []
      : ['--shards is of the server that is started without --url; leave one of them out'];
  }
  const given = [
    ...(flags.tcpLoad === undefined ? [] : ['--tcp-load']),
    ...(flags.header === undefined ? [] : ['--header']),
    ...(flags.tlsCa === undefined ? [] : ['--tls-ca']),
    ...(flags.connections === undefined ? [] : ['--connections']),
  ];
  return given.map((option) => `${option} is of a target; give --url, or leave it out`);
}

function readTarget(flags: BenchFlags, text: string, problems: string[]): BenchRequest['target'] {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isTcp = url?.protocol === 'tcp:';
  if (url === undefined || !(isTcp || /^https?:$/u.test(url.protocol)) || url.hostname === '') {
    problems.push('--url is no address; write http://HOST/PATH, https://HOST or tcp://HOST:PORT');
    return undefined;
  }
  if (url.username !== '' || url.password !== '') {
    problems.push("--url holds a login; give it as --header 'Authorization: …'");
  }
  if (isTcp && (url.port === '' || url.port === '0')) {
    problems.push('--url has no port; write tcp://HOST:PORT');
  }
  const load = TCP_LOADS.find((word) => word === (flags.tcpLoad ?? 'echo'));
  if (load === undefined) {
    problems.push(`--tcp-load is not one of the choices; write ${TCP_LOADS.join(', ')}`);
  }
  if (!isTcp && flags.tcpLoad !== undefined) problems.push('--tcp-load is for a tcp:// --url');
  if (isTcp && flags.header !== undefined) problems.push('--header is for a http:// --url');
  if (flags.tlsCa !== undefined && url.protocol !== 'https:') {
    problems.push('--tls-ca is for a https:// --url');
  }
  if (flags.rate !== undefined && (load === 'download' || load === 'upload')) {
    problems.push(`--rate is for requests and echoes, not for --tcp-load ${load}`);
  }
  return {
    url,
    load: isTcp ? (load ?? 'echo') : 'http',
    headers: readHeaders(flags.header ?? [], problems),
    ...(flags.tlsCa === undefined ? {} : { ca: readCa(flags.tlsCa, problems) }),
  };
}

/** What is wrong with one never shows its value: it may be a secret. */
function readHeaders(lines: readonly string[], problems: string[]): [string, string][] {
  if (lines.length > HEADERS_MAX) {
    problems.push(`--header is given ${lines.length} times; at most ${HEADERS_MAX}`);
    return [];
  }
  return lines.flatMap((line, index): [string, string][] => {
    const [, name = '', value = ''] = HEADER.exec(line) ?? [];
    if (name === '') {
      problems.push(`--header number ${index + 1} is no header; write 'NAME: VALUE'`);
    } else if (line.length > HEADER_BYTES_MAX) {
      problems.push(`--header ${name} is longer than ${HEADER_BYTES_MAX} bytes`);
    } else if (OWN_HEADERS.test(name)) {
      problems.push(`--header ${name} is the load generator's own; leave it out`);
    }
    return [[name, value.trimEnd()]];
  });
}

function readCa(file: string, problems: string[]): string {
  try {
    const text = readFileSync(file, 'utf8');
    if (text.length <= CA_BYTES_MAX && text.includes('-----BEGIN CERTIFICATE-----')) return text;
    problems.push(`--tls-ca: ${file} holds no certificate in PEM`);
  } catch (cause) {
    problems.push(`--tls-ca: ${file} cannot be read: ${(cause as Error).message}`);
  }
  return '';
}
