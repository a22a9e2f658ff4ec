// Who has logged in, as the cookies of a request say it: keys and providers, as control tells them.
//
// Invariant: a session opens what it was made for: this host, this tunnel, this provider as it is
// configured now, and until its end; before control has told of keys there is none. Must not know:
// who may visit, or how cookies are given out.

import { createHash } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import { type LoginSession, openSession } from '../base/login-session.ts';
import type { LoginSettings } from '../bridge/login-messages.ts';
import { HOST_PREFIX, OWN_COOKIE } from '../http/cookie.ts';

const NAME_DIGITS = 8;
/** Pairs of tunnel and provider whose cookie names are remembered. Guess: made anew above it. */
const NAMES_MAX = 10_000;

/** What a session must be for. */
export interface SessionScope {
  readonly host: string;
  readonly tunnel: string;
  readonly provider: string;
}

export class LoginSessions {
  /** Another one each time that keys or providers change. */
  version = 0;
  readonly #clock: Clock;
  readonly #names = new Map<string, string>();
  #keys: LoginSettings['keys'] = [];
  #providers: ReadonlyMap<string, string> = new Map();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  apply({ keys, providers }: LoginSettings): void {
    this.#keys = keys;
    this.#providers = new Map(providers);
    this.version += 1;
  }

  /** Are there providers at all? */
  get isOn(): boolean {
    return this.#providers.size > 0;
  }

  hasProvider(name: string): boolean {
    return this.#providers.has(name);
  }

  /** The session of a cookie's value, when it is for `scope` and has not ended. */
  sessionOf(value: string, { host, tunnel, provider }: SessionScope): LoginSession | undefined {
    const id = this.#providers.get(provider);
    const session = id === undefined ? undefined : openSession(value, this.#keys);
    const isRight =
      session?.provider === id && session?.host === host && session?.tunnel === tunnel;
    return isRight && session !== undefined && this.isLive(session) ? session : undefined;
  }

  isLive({ endsS }: Pick<LoginSession, 'endsS'>): boolean {
    return this.#clock.wallMs() < endsS * 1000;
  }

  /** Of the cookie for a tunnel's visitors, which came over https or not. */
  cookieName(tunnel: string, provider: string, isSecure: boolean): string {
    const key = `${provider} ${tunnel}`;
    let name = this.#names.get(key);
    if (name === undefined) {
      if (this.#names.size >= NAMES_MAX) this.#names.clear();
      const digest = createHash('sha256').update(key).digest('hex').slice(0, NAME_DIGITS);
      name = `${OWN_COOKIE}-${digest}`;
      this.#names.set(key, name);
    }
    return isSecure ? `${HOST_PREFIX}${name}` : name;
  }
}
