// What a visitor's cookie says once it has logged in, sealed so that nobody else can write one.
//
//   1.KEY.PAYLOAD.SEAL    payload: base64url of a JSON list; seal: HMAC-SHA-256 of what precedes it
//
// Invariant: what was not sealed with one of the keys is no session, whatever it says; the seal is
// compared in constant time, before anything is read; a session is of one host, one tunnel and one
// provider, and has an end. Pure. Must not know: cookies' names, or who may visit.

import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Identity } from './login-rule.ts';

/** A key and its name; names tell keys apart without trying each. */
export interface LoginKey {
  readonly id: string;
  readonly key: Uint8Array;
}

export interface LoginSession extends Identity {
  /** Canonical, as the visitor named it. */
  readonly host: string;
  readonly tunnel: string;
  /** Of the provider as it is configured, so that another one of its name opens nothing. */
  readonly provider: string;
  /** Seconds of the wall clock. */
  readonly endsS: number;
}

const VERSION = '1';
/** Browsers keep 4096 bytes a cookie, with its name and attributes. */
export const SESSION_LENGTH_MAX = 3800;
const SEALED = /^1\.[A-Za-z0-9_-]{1,16}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}$/;
const FIELDS_COUNT = 7;

/** Undefined: too long for a cookie. */
export function sealSession(session: LoginSession, { id, key }: LoginKey): string | undefined {
  const { host, tunnel, provider, user, login, email, endsS } = session;
  const fields = [host, tunnel, provider, user, login, email, endsS];
  const payload = Buffer.from(JSON.stringify(fields)).toString('base64url');
  const text = `${VERSION}.${id}.${payload}`;
  const sealed = `${text}.${sealOf(text, key).toString('base64url')}`;
  return sealed.length > SESSION_LENGTH_MAX ? undefined : sealed;
}

/** The session of a cookie's value, if it was sealed with one of the keys; it may have ended. */
export function openSession(sealed: string, keys: readonly LoginKey[]): LoginSession | undefined {
  if (sealed.length > SESSION_LENGTH_MAX || !SEALED.test(sealed)) return undefined;
  const dot = sealed.lastIndexOf('.');
  const text = sealed.slice(0, dot);
  const [, id, payload = ''] = text.split('.');
  const shown = Buffer.from(sealed.slice(dot + 1), 'base64url');
  for (const known of keys) {
    if (known.id !== id) continue;
    const seal = sealOf(text, known.key);
    if (shown.length === seal.length && timingSafeEqual(shown, seal)) return read(payload);
  }
  return undefined;
}

function sealOf(text: string, key: Uint8Array): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

/** What we sealed ourselves, but perhaps by another version of this program. */
function read(payload: string): LoginSession | undefined {
  const fields: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString());
  if (!Array.isArray(fields) || fields.length !== FIELDS_COUNT) return undefined;
  const [host, tunnel, provider, user, login, email, endsS] = fields as unknown[];
  const session = { host, tunnel, provider, user, login, email, endsS };
  const { endsS: _end, ...texts } = session;
  const isWhole = Object.values(texts).every((one) => typeof one === 'string');
  return isWhole && typeof endsS === 'number' ? (session as LoginSession) : undefined;
}
