// May the visitor of one connection use a tunnel whose clients ask for logins, and what does the
// upstream learn of it?
//
// Invariant: each client of the tunnel must be content, by what the request itself shows; a session
// is opened once and then remembered, only for the very same cookies, tunnel, host, logins and
// keys; cookies of the exit node, who a visitor claims to be, and the field that may open the
// tunnel, never pass on. A password of an address that has guessed too often is not compared, so
// that its answer tells nothing. Must not know: sockets, or how somebody logs in.

import { dashboardCookieOf } from '../base/dashboard-cookie.ts';
import type { ErrorCode } from '../base/errors.ts';
import type { LoginSession } from '../base/login-session.ts';
import { isPassword, type VisitorLogins } from '../base/visitor-login.ts';
import {
  cookieOf,
  cookiesOf,
  HOST_PREFIX,
  mayHoldOwnCookie,
  otherCookiesLine,
} from '../http/cookie.ts';
import { KIND } from '../http/field-kind.ts';
import { onlyValue } from '../http/field-value.ts';
import type { VisitorOrigin } from '../http/forwarding.ts';
import { hidingKinds, type LoginGain } from '../http/head-writer.ts';
import { octets } from '../http/octets.ts';
import type { RequestParser } from '../http/request-head.ts';
import { visitorOf, visitorScheme } from '../http/trusted-forwarding.ts';
import type { ShownPassword } from './admitted-passwords.ts';
import type { HttpContext } from './http-context.ts';
import type { SessionScope } from './login-sessions.ts';

const AUTHORIZATION = octets('authorization');
const ACCEPT = octets('accept');
const FETCH_MODE = octets('sec-fetch-mode');
const EMPTY = Buffer.alloc(0);

/** What a request loses where cookies of ours are all that it has of the exit node's. */
const HIDDEN_COOKIES = hidingKinds(KIND.COOKIE);
/** Behind a login, with cookies of ours and without. */
const HIDDEN_BEHIND = {
  session: [hidingKinds(KIND.IDENTITY), hidingKinds(KIND.IDENTITY, KIND.COOKIE)],
  field: [
    hidingKinds(KIND.IDENTITY, KIND.AUTHORIZATION),
    hidingKinds(KIND.IDENTITY, KIND.AUTHORIZATION, KIND.COOKIE),
  ],
} as const;

/** Let in; or why not; or where the visitor is to log in. */
export type Verdict = undefined | ErrorCode | { readonly provider: string };

/** What the Authorization field is: nothing that opens, or to compare, or not even that. */
type Guess = 'none' | 'compared' | 'held off';

/** Where a cookie may be the exit node's own: all of them. */
interface OwnCookies {
  readonly cookies: string;
  /** How the dashboard's cookie would be called here, behind `__Host-` over https alone. */
  readonly dashboard: string;
}

const NO_COOKIES: OwnCookies = { cookies: '', dashboard: '' };

/** What a request was let in by, apart from what changes with time. */
interface Known extends OwnCookies {
  readonly tunnel: string;
  readonly host: string;
  readonly logins: readonly VisitorLogins[];
  readonly version: number;
  readonly endsS: number;
  readonly gain: LoginGain;
}

export class VisitorGate {
  /** What the request at hand gains and loses on its way to the upstream. */
  gain: LoginGain | undefined;
  readonly #context: HttpContext;
  readonly #origin: VisitorOrigin;
  #known: Known | undefined;
  /** What let the last such request in. */
  #remembered: ShownPassword | undefined;

  constructor(context: HttpContext, origin: VisitorOrigin) {
    this.#context = context;
    this.#origin = origin;
  }

  /** `logins` are those of the tunnel's clients; undefined: it is open to everybody. */
  judge(
    head: RequestParser,
    tunnel: string,
    logins: readonly VisitorLogins[] | undefined,
  ): Verdict {
    const shown = ownCookiesOf(head, this.#origin);
    this.gain = undefined;
    if (logins === undefined) {
      this.gain = gainOfOpen(shown, this.#context);
      return undefined;
    }
    if (this.#isKnown(shown, tunnel, head.host, logins)) {
      this.gain = this.#known?.gain;
      return undefined;
    }
    return this.#judgeAnew(head, shown, { tunnel, logins });
  }

  #isKnown(
    { cookies, dashboard }: OwnCookies,
    tunnel: string,
    host: string,
    logins: readonly VisitorLogins[],
  ): boolean {
    const known = this.#known;
    const { sessions } = this.#context;
    return (
      known !== undefined &&
      known.cookies === cookies &&
      known.dashboard === dashboard &&
      known.tunnel === tunnel &&
      known.host === host &&
      known.logins === logins &&
      known.version === sessions.version &&
      sessions.isLive(known)
    );
  }

  #judgeAnew(
    head: RequestParser,
    own: OwnCookies,
    asked: { readonly tunnel: string; readonly logins: readonly VisitorLogins[] },
  ): Verdict {
    const { tunnel, logins } = asked;
    const { sessions } = this.#context;
    const shown = onlyValue(head, AUTHORIZATION);
    const guess = this.#guessOf(head, shown, asked);
    let first: LoginSession | undefined;
    let endsS = Number.POSITIVE_INFINITY;
    let isByCookies = true;
    for (const one of logins) {
      if (guess === 'compared' && one.admits(shown)) {
        isByCookies = false;
        continue;
      }
      const { provider } = one;
      if (provider === undefined) return this.#refusal(head, guess, logins);
      const session = this.#sessionOf(head, own.cookies, { host: head.host, tunnel, provider });
      if (session === undefined || !one.admitsIdentity(session)) {
        // Whoever guesses is counted, however it asks and whatever else it shows.
        if (guess !== 'none') return this.#refusal(head, guess, logins);
        if (session !== undefined) return 'SLW_HTTP_LOGIN_FORBIDDEN';
        return this.#mayBegin(head)
          ? this.#beginning(provider)
          : this.#refusal(head, guess, logins);
      }
      first ??= session;
      endsS = Math.min(endsS, session.endsS);
    }
    this.gain = gainOf(logins, first, otherCookies(own, this.#context));
    if (!isByCookies) {
      this.#rememberPassword(head, shown, tunnel);
      return undefined;
    }
    const { host } = head;
    const { version } = sessions;
    this.#known = { ...own, tunnel, host, logins, version, endsS, gain: this.gain };
    return undefined;
  }

  /** Without the field nothing was guessed: a browser asks first, and then its user. */
  #guessOf(
    head: RequestParser,
    shown: string | undefined,
    { tunnel, logins }: { readonly tunnel: string; readonly logins: readonly VisitorLogins[] },
  ): Guess {
    if (shown === undefined || !mayShowField(logins)) return 'none';
    const { loginThrottle, passwords } = this.#context;
    if (!isPassword(shown)) return 'compared';
    const address = visitorOf(head, this.#origin);
    if (!loginThrottle.isSpent(address)) return 'compared';
    return passwords.has({ address, tunnel, field: shown }) ? 'compared' : 'held off';
  }

  #rememberPassword(head: RequestParser, shown: string | undefined, tunnel: string): void {
    if (shown === undefined || !isPassword(shown)) return;
    const address = visitorOf(head, this.#origin);
    const last = this.#remembered;
    // Once a connection, and not a digest for each request.
    if (last?.field === shown && last.tunnel === tunnel && last.address === address) return;
    this.#remembered = { address, tunnel, field: shown };
    this.#context.passwords.remember(this.#remembered);
  }

  #sessionOf(head: RequestParser, cookies: string, scope: SessionScope): LoginSession | undefined {
    const { sessions } = this.#context;
    const isSecure = visitorScheme(head, this.#origin) === 'https';
    const value = cookieOf(cookies, sessions.cookieName(scope.tunnel, scope.provider, isSecure));
    return value === undefined ? undefined : sessions.sessionOf(value, scope);
  }

  #beginning(provider: string): Verdict {
    if (this.#context.sessions.hasProvider(provider)) return { provider };
    return 'SLW_HTTP_LOGIN_UNAVAILABLE';
  }

  /** A person who follows a link; programs, and what pages fetch, would not get anywhere. */
  #mayBegin(head: RequestParser): boolean {
    if (head.method !== 'GET' || head.isUpgrade || head.host === '') return false;
    const isPage = onlyValue(head, ACCEPT)?.toLowerCase().includes('text/html') === true;
    const mode = onlyValue(head, FETCH_MODE);
    return isPage && (mode === undefined || mode === 'navigate');
  }

  #refusal(head: RequestParser, guess: Guess, logins: readonly VisitorLogins[]): ErrorCode {
    const { loginThrottle } = this.#context;
    const schemes = new Set(logins.flatMap((one) => [...one.schemes]));
    if (guess === 'held off') return 'SLW_HTTP_LOGIN_LIMIT';
    const mayFail = guess === 'none' || loginThrottle.refuse(visitorOf(head, this.#origin));
    if (!mayFail) return 'SLW_HTTP_LOGIN_LIMIT';
    if (schemes.has('basic')) return 'SLW_HTTP_LOGIN';
    return schemes.has('bearer') ? 'SLW_HTTP_LOGIN_BEARER' : 'SLW_HTTP_LOGIN_BROWSER';
  }
}

/** Does the Authorization field open a tunnel, for one of its clients at least? */
function mayShowField(logins: readonly VisitorLogins[]): boolean {
  return logins.some(({ schemes }) => schemes.size > 0);
}

/** Of a request that is sent again without its visitor: nobody is behind it. */
export function gainWithoutVisitor(
  context: HttpContext,
  head: RequestParser,
  { tunnel, origin }: { readonly tunnel: string; readonly origin: VisitorOrigin },
): LoginGain | undefined {
  const logins = context.router.loginsOf(tunnel);
  const own = ownCookiesOf(head, origin);
  if (logins === undefined) return gainOfOpen(own, context);
  return gainOf(logins, undefined, otherCookies(own, context));
}

/** Nothing where none is ours: then they say nothing here, and pass on as they are. */
function ownCookiesOf(head: RequestParser, origin: VisitorOrigin): OwnCookies {
  if (!mayHoldOwnCookie(head)) return NO_COOKIES;
  const { bytes, base, authorityStart, authorityEnd } = head;
  const authority = bytes.toString('latin1', base + authorityStart, base + authorityEnd);
  const dashboard = dashboardCookieOf(authority);
  const isSecure = visitorScheme(head, origin) === 'https';
  return { cookies: cookiesOf(head), dashboard: isSecure ? HOST_PREFIX + dashboard : dashboard };
}

/** The line of cookies that pass on; undefined: all do, as they came. */
function otherCookies({ cookies, dashboard }: OwnCookies, { sessions }: HttpContext) {
  return otherCookiesLine(cookies, { logins: sessions.isOn ? 'hidden' : 'passed', dashboard });
}

/** Of a tunnel without logins; its host may have one with logins too, or the dashboard. */
function gainOfOpen(own: OwnCookies, context: HttpContext): LoginGain | undefined {
  const cookieLine = otherCookies(own, context);
  return cookieLine && { hidden: HIDDEN_COOKIES, cookieLine, lines: EMPTY };
}

/**
 * Of a visitor who was let in, by a session or by what it showed otherwise. What opens one client's
 * upstream is not for another's either, whichever of them gets the request.
 */
function gainOf(
  logins: readonly VisitorLogins[],
  session: LoginSession | undefined,
  cookieLine: Buffer | undefined,
): LoginGain {
  const lines = session === undefined ? EMPTY : identityLines(session);
  const [plain, withCookies] = HIDDEN_BEHIND[mayShowField(logins) ? 'field' : 'session'];
  return { hidden: cookieLine === undefined ? plain : withCookies, cookieLine, lines };
}

/** Of visible ASCII, as every identity is. */
function identityLines({ user, login, email }: LoginSession): Buffer {
  const line = (name: string, value: string): string =>
    value === '' ? '' : `X-Auth-Request-${name}: ${value}\r\n`;
  const text = line('User', user) + line('Preferred-Username', login) + line('Email', email);
  return Buffer.from(text, 'latin1');
}
