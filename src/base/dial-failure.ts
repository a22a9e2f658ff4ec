// Says why a server could not be reached, and what to look at.
//
// Invariant: one line that names the place, what happened, and a way out; the system's own code
// stands behind it, for who searches for it. Must not know: what was to be said to the server.

import { describeClockGap } from './clock-gap.ts';
import { loggable } from './loggable.ts';

const IS_IT = 'is this the control port of a sluiceway server?';
const NOT_HTTP = `what answers speaks no HTTP: ${IS_IT}`;

/** By the codes of the system and of Node; `…` is where it was dialled, `OPTION` what says so. */
const TEXTS: Readonly<Record<string, string>> = {
  ENOTFOUND: '… has no address: check the name in OPTION',
  EAI_AGAIN: 'the name server does not answer for …: check the DNS and the network of this machine',
  ECONNREFUSED: 'nobody listens at …: check that it runs, and the port in OPTION',
  ETIMEDOUT: '… does not answer: check the address, and firewalls on the way',
  EHOSTUNREACH: 'there is no way to …: check the address, and the network of this machine',
  ENETUNREACH: 'there is no way to …: check the network of this machine',
  ECONNRESET: '… closed the connection before it answered: check wss:// or ws:// in --url',
  EMFILE: 'no descriptor is left to dial … with: raise the limit of open files of this process',
  ENFILE: 'no descriptor is left to dial … with: this machine has too many files open',
  EPIPE: '… closed the connection before it answered: check wss:// or ws:// in --url',
};
const NO_TLS = '… does not speak TLS: check wss:// or ws:// in --url, and the port';

/** Of the way to the first machine, which is the proxy when there is one. */
const OF_THE_WAY: ReadonlySet<string> = new Set([
  ...['ENOTFOUND', 'EAI_AGAIN', 'ECONNREFUSED', 'ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH'],
  ...['EMFILE', 'ENFILE'],
]);

interface DialFailure extends Error {
  readonly code?: string;
  readonly reason?: string;
}

export function describeDialFailure(cause: Error, url: string, proxy?: string | undefined): string {
  const first = cause instanceof AggregateError ? (cause.errors[0] as Error | undefined) : cause;
  const failure: DialFailure = first ?? cause;
  const { code = '', message } = failure;
  const isProxys = proxy !== undefined && OF_THE_WAY.has(code);
  const { hostname, host } = new URL(isProxys ? proxy : url);
  const text = textOf(code, message);
  if (text === undefined) return loggable(message.trim() || 'no connection');
  const place = code === 'ENOTFOUND' || code === 'EAI_AGAIN' ? hostname : host;
  const option = isProxys ? '--proxy or the environment' : '--url';
  return `${text.replace('…', place).replace('OPTION', option)} (${code})`;
}

function textOf(code: string, message: string): string | undefined {
  if (code === 'EPROTO' || code.startsWith('ERR_SSL_')) {
    return /wrong version|unexpected message|packet length/.test(message) ? NO_TLS : undefined;
  }
  if (code.startsWith('HPE_')) return NOT_HTTP;
  return Object.hasOwn(TEXTS, code) ? TEXTS[code] : undefined;
}

/** What `ws` says of an upgrade that was none of ours. */
export function describeNoUpgrade(message: string): string | undefined {
  return /subprotocol/i.test(message) ? `a WebSocket, and not of sluiceway: ${IS_IT}` : undefined;
}

/** An answer of HTTP in place of an upgrade. */
export function describeDialAnswer(status: number): string {
  const what = `the server answered ${status}, not a WebSocket`;
  if (status >= 300 && status < 400) {
    return `${what}: it sends elsewhere; give the address of the control port itself`;
  }
  if (status === 429)
    return `${what}: too many logins from this address have failed, or too many ask`;
  if (status >= 500) {
    return `${what}: it is shutting down or overloaded, or a proxy in front of it cannot reach it`;
  }
  return `${what}: ${IS_IT}`;
}

/** A login that was refused. */
export function describeRefusedLogin(
  status: number,
  date: string | undefined,
  nowMs: number,
): string {
  return `the server answered ${status}${describeClockGap(date, nowMs)}`;
}
