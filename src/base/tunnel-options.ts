// What a client may declare for one of its tunnels, and the exit node then does: one table of
// keys, read by the client's configuration and once more by the exit node.
//
// Invariant: what passes can change neither framing, nor routing, nor who is said to have sent a
// request: names of such fields are refused in every spelling, and no value holds a line's end. A
// key that is not in the table is refused, never left out: it may protect something. Must not know:
// where the texts came from, or how heads are written.

import { SluicewayError } from './errors.ts';
import { readNetwork } from './network.ts';
import { loginProblem, loginsProblem } from './visitor-login.ts';

export type TunnelOptionName =
  | 'affinity'
  | 'allow-ips'
  | 'host-header'
  | 'request-header-add'
  | 'request-header-remove'
  | 'response-header-add'
  | 'response-header-remove'
  | 'visitor-login'
  | 'weight';

/** Checked texts by key; plain data, so that they cross between threads as they are. */
export type TunnelOptions = Readonly<Partial<Record<TunnelOptionName, readonly string[]>>>;

/** Keys and texts as a peer sent them. */
export type OfferedOptions = readonly (readonly [key: string, values: readonly string[]])[];

export interface TunnelOptionRow {
  readonly repeats: boolean;
  /** What it is about, and whose share of the bounds below it uses. */
  readonly about: 'request' | 'response' | 'visitor' | 'choice' | 'login';
  /** For tunnels of raw bytes, too. */
  readonly isForRaw: boolean;
  /** What is wrong with a text, as the rest of a sentence about it. */
  readonly problemOf: (text: string) => string | undefined;
}

/** Fields added and removed in one direction. Guess: three times what anybody lists. */
export const HEADER_EDITS_MAX = 32;
/** Bytes of all texts of one direction, so that both fit one control body (guess). */
export const HEADER_EDIT_BYTES_MAX = 4096;
/** Networks that may visit one tunnel. Guess: more belong in a list of the exit node. */
export const TUNNEL_NETWORKS_MAX = 64;
/** Users and tokens of one tunnel. Guess: more of them belong to an issuer. */
export const LOGINS_MAX = 32;
const BOUNDS = {
  request: {
    count: HEADER_EDITS_MAX,
    bytes: HEADER_EDIT_BYTES_MAX,
    what: 'header rules for a request',
  },
  response: {
    count: HEADER_EDITS_MAX,
    bytes: HEADER_EDIT_BYTES_MAX,
    what: 'header rules for a response',
  },
  // As long as all of them can be: the count is what bounds them.
  visitor: { count: TUNNEL_NETWORKS_MAX, bytes: HEADER_EDIT_BYTES_MAX, what: 'networks' },
  login: { count: LOGINS_MAX, bytes: HEADER_EDIT_BYTES_MAX, what: 'logins' },
  choice: { count: 2, bytes: HEADER_EDIT_BYTES_MAX, what: 'words of balancing' },
} as const;
const LINE_END_BYTES = 2;
const NAME_LENGTH_MAX = 128;
const HOST_LENGTH_MAX = 261;
const PORT_MAX = 65_535;
const SHOWN_LENGTH_MAX = 40;

const HTTP_ONLY = { isForRaw: false };
const ANY = { isForRaw: true };

export const TUNNEL_OPTIONS: Readonly<Record<TunnelOptionName, TunnelOptionRow>> = {
  affinity: { ...HTTP_ONLY, repeats: false, about: 'choice', problemOf: affinityProblem },
  'allow-ips': { ...ANY, repeats: true, about: 'visitor', problemOf: networkProblem },
  'host-header': { ...HTTP_ONLY, repeats: false, about: 'request', problemOf: hostProblem },
  'request-header-add': { ...HTTP_ONLY, repeats: true, about: 'request', problemOf: fieldProblem },
  'request-header-remove': {
    ...HTTP_ONLY,
    repeats: true,
    about: 'request',
    problemOf: nameProblem,
  },
  'response-header-add': {
    ...HTTP_ONLY,
    repeats: true,
    about: 'response',
    problemOf: fieldProblem,
  },
  'response-header-remove': {
    ...HTTP_ONLY,
    repeats: true,
    about: 'response',
    problemOf: nameProblem,
  },
  'visitor-login': { ...HTTP_ONLY, repeats: true, about: 'login', problemOf: loginProblem },
  weight: { ...ANY, repeats: false, about: 'choice', problemOf: weightProblem },
};

const ALL_NAMES = Object.keys(TUNNEL_OPTIONS) as readonly TunnelOptionName[];

/** Made by the client of what an operator writes, which is no text for others to read. */
export type MadeOptionName = 'visitor-login';

/** Those that an operator writes as they are declared. */
export const TUNNEL_OPTION_NAMES = ALL_NAMES.filter(
  (name): name is Exclude<TunnelOptionName, MadeOptionName> => name !== 'visitor-login',
);

export function isTunnelOption(key: string): key is TunnelOptionName {
  return Object.hasOwn(TUNNEL_OPTIONS, key);
}

/** tchar of RFC 9110 5.6.2. */
const NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
/** Visible ASCII, blank and tab; what is beyond ASCII reads differently to each server. */
const VALUE = /^[\t\x20-\x7e]*$/;
const HOST = /^(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?$/;

/** By the reason why they are not a client's to change, spelt as CGI and its heirs see them. */
const HOP = [
  ...['connection', 'keep-alive', 'te', 'trailer', 'upgrade', 'http2-settings', 'expect'],
  ...['content-length', 'transfer-encoding'],
];
const FORWARDING = ['forwarded', 'x-real-ip', 'x-forwarded', 'via'];

function nameProblem(name: string): string | undefined {
  if (name.length > NAME_LENGTH_MAX || !NAME.test(name)) {
    return `is no field name; write letters, digits and "-", at most ${NAME_LENGTH_MAX}`;
  }
  const folded = name.toLowerCase().replace(/[_.]/g, '-');
  if (folded === 'host') return 'is Host; use host-header';
  if (HOP.includes(folded) || folded.startsWith('proxy-')) {
    return 'belongs to framing or to one connection, and is not changed';
  }
  if (FORWARDING.includes(folded) || folded.startsWith('x-forwarded-')) {
    return 'is set by the exit node, and is not changed';
  }
  return undefined;
}

function fieldProblem(text: string): string | undefined {
  const colon = text.indexOf(':');
  if (colon < 0) return 'is no field; write NAME: VALUE, such as X-Team: blue';
  const value = fieldValue(text);
  if (!VALUE.test(value)) return 'has a value with other than visible ASCII and blanks';
  return nameProblem(text.slice(0, colon));
}

/** The name of a `NAME: VALUE` text. */
export function fieldName(text: string): string {
  return text.slice(0, text.indexOf(':'));
}

/** The value of a `NAME: VALUE` text, without blanks around it. */
export function fieldValue(text: string): string {
  let start = text.indexOf(':') + 1;
  let end = text.length;
  while (start < end && isBlank(text.charCodeAt(start))) start += 1;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end -= 1;
  return text.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

function networkProblem(text: string): string | undefined {
  const read = readNetwork(text);
  return typeof read === 'string' ? read : undefined;
}

/** Least and most streams that a client takes beside others, as a share. */
const WEIGHT_MAX = 256;

function weightProblem(text: string): string | undefined {
  const isWeight = /^[1-9]\d{0,2}$/.test(text) && Number(text) <= WEIGHT_MAX;
  return isWeight ? undefined : `is no weight; write a number from 1 to ${WEIGHT_MAX}`;
}

function affinityProblem(text: string): string | undefined {
  return text === 'ip' || text === 'cookie' ? undefined : 'is no affinity; write ip or cookie';
}

function hostProblem(text: string): string | undefined {
  const match = text.length > HOST_LENGTH_MAX ? null : HOST.exec(text);
  if (match !== null && Number(match[1] ?? 0) <= PORT_MAX) return undefined;
  return 'is no host; write internal.example or internal.example:8080';
}

/** What is wrong with options of which each text is right by itself. */
export function boundsProblem(options: TunnelOptions): string | undefined {
  for (const about of ['request', 'response', 'visitor', 'choice', 'login'] as const) {
    const most = BOUNDS[about];
    let count = 0;
    let bytes = 0;
    for (const name of ALL_NAMES) {
      if (TUNNEL_OPTIONS[name].about !== about) continue;
      for (const text of options[name] ?? []) {
        count += 1;
        // One more than it has, where the blank after the colon was left out.
        bytes += text.length + 1 + LINE_END_BYTES;
      }
    }
    if (count > most.count) {
      return `${count} ${most.what} are too many; give at most ${most.count}`;
    }
    if (bytes > most.bytes) {
      return `${most.what} have ${bytes} bytes; give at most ${most.bytes}`;
    }
  }
  return loginsProblem(options['visitor-login'] ?? []);
}

/** Checks what a client offers; undefined for nothing. Raises SLW_TUNNEL_OPTION. */
export function readOffered(offered: OfferedOptions, isHttp: boolean): TunnelOptions | undefined {
  if (offered.length === 0) return undefined;
  const options: Partial<Record<TunnelOptionName, readonly string[]>> = {};
  for (const [key, values] of offered) {
    if (!isTunnelOption(key)) throw refuse(key, 'is not known to this exit node');
    const row = TUNNEL_OPTIONS[key];
    if (!isHttp && !row.isForRaw) throw refuse(key, 'is for HTTP tunnels');
    if (values.length === 0) throw refuse(key, 'has no text as its value');
    if (!row.repeats && values.length > 1) throw refuse(key, 'has several values');
    for (const text of values) {
      const problem = row.problemOf(text);
      // The text may be a secret, and goes to logs on both sides.
      if (problem !== undefined) throw refuse(key, `has a value that ${problem}`);
    }
    options[key] = values;
  }
  const problem = boundsProblem(options);
  if (problem !== undefined) throw new SluicewayError('SLW_TUNNEL_OPTION', problem);
  return options;
}

function refuse(key: string, why: string): SluicewayError {
  const shown = key.slice(0, SHOWN_LENGTH_MAX).replace(/[^\x21-\x7e]/g, '?');
  return new SluicewayError('SLW_TUNNEL_OPTION', `option ${shown} ${why}`);
}
