// Who has logged in to the dashboard: sessions by a random id in a cookie.
//
//   open --a token that may--> cookie --each request--> found --12 h, logout, token over--> gone
//
// Invariant: an id is kept as its digest alone, and a session is worth no more than the token that
// opened it is now, at the address of the request at hand; there are so many, the oldest goes
// first. Must not know: tokens, pages.

import { createHash, randomBytes } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import { dashboardCookieOf } from '../base/dashboard-cookie.ts';
import type { Holder } from './clients.ts';

const SESSION_MS = 12 * 3_600_000;
/** Guess: a team with its browsers; more is somebody who opens them by program. */
const SESSIONS_MAX = 64;
const ID_BYTES = 32;
const ATTRIBUTES = 'Path=/; HttpOnly; SameSite=Strict';
/** Of a Cookie header: ours is first, or behind others of the same host, as of another port. */
const ID = /(?:^|; )(?:__Host-)?sluiceway_session(?:_\d{1,5})?=([A-Za-z0-9_-]{43})(?=;|$)/g;
const COOKIE_HEADER_LENGTH_MAX = 8192;

export interface DashboardSessionsOptions {
  /** Is the token behind a credential still good, for this and from there? */
  readonly mayLook: (holder: Holder) => boolean;
  readonly clock: Clock;
}

/** Where a browser logs in or out. */
export interface LoginPlace {
  readonly authority: string;
  /** Of the page, which TLS may end before. */
  readonly scheme: 'http' | 'https';
}

interface Session {
  readonly credential: string;
  readonly endMs: number;
}

export class DashboardSessions {
  readonly #options: DashboardSessionsOptions;
  readonly #sessions = new Map<string, Session>();

  constructor(options: DashboardSessionsOptions) {
    this.#options = options;
  }

  get count(): number {
    return this.#sessions.size;
  }

  /** Gives the Set-Cookie field. */
  open(credential: string, { authority, scheme }: LoginPlace): string {
    const id = randomBytes(ID_BYTES).toString('base64url');
    const endMs = this.#options.clock.nowMs() + SESSION_MS;
    const [oldest] = this.#sessions.keys();
    if (this.#sessions.size >= SESSIONS_MAX && oldest !== undefined) this.#sessions.delete(oldest);
    this.#sessions.set(digestOf(id), { credential, endMs });
    const cookie = `${dashboardCookieOf(authority)}=${id}; Max-Age=${SESSION_MS / 1000}`;
    return scheme === 'https' ? secure(cookie) : `${cookie}; ${ATTRIBUTES}`;
  }

  /** Does the cookie of a request from this address belong to a session that still is? */
  isOpen(cookie: string | undefined, remoteAddress: string): boolean {
    return this.#keysOf(cookie).some((key) => this.#isLive(key, remoteAddress));
  }

  #isLive(key: string, remoteAddress: string): boolean {
    const session = this.#sessions.get(key);
    if (session === undefined) return false;
    const { clock, mayLook } = this.#options;
    const { credential, endMs } = session;
    if (clock.nowMs() < endMs && mayLook({ credential, remoteAddress })) return true;
    this.#sessions.delete(key);
    return false;
  }

  /** Gives the Set-Cookie fields that make a browser forget. */
  close(cookie: string | undefined, { authority }: Pick<LoginPlace, 'authority'>): string[] {
    for (const key of this.#keysOf(cookie)) this.#sessions.delete(key);
    // Of the other scheme there may be one, too.
    const none = `${dashboardCookieOf(authority)}=; Max-Age=0`;
    return [`${none}; ${ATTRIBUTES}`, secure(none)];
  }

  /** Of sessions that are known: another exit node's on this machine may be sent with them. */
  #keysOf(cookie = ''): string[] {
    if (cookie.length > COOKIE_HEADER_LENGTH_MAX) return [];
    const keys = [...cookie.matchAll(ID)].map(([, id = '']) => digestOf(id));
    return keys.filter((key) => this.#sessions.has(key));
  }
}

/** Never sent in the clear, nor set by who answers for this host in the clear. */
function secure(cookie: string): string {
  return `__Host-${cookie}; ${ATTRIBUTES}; Secure`;
}

/** The id is 256 random bits: a plain digest cannot be searched, nor timed to any use. */
function digestOf(id: string): string {
  return createHash('sha256').update(id).digest('base64');
}
