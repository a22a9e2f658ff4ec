// What a shard answers to visitors on their way to a login provider and back, and who log out.
//
//   a page --302--> provider --> callback --303--> the page, with a session
//   logout --> a page; the next login asks who it is
//
// Invariant: every way leads to the provider or back to the very host that was visited; control is
// asked for a bounded number of visitors at once, and what it cannot say in time is a failure.
// Must not know: sessions' contents, tokens, or how a provider is asked.

import type { Clock } from '../base/clock.ts';
import { type ErrorCode, SluicewayError } from '../base/errors.ts';
import { CALLBACK_PATH, LOGIN_SECONDS_MAX, LOGOUT_PATH } from '../base/login-way.ts';
import type { LoginControlMethods, LoginDone, LoginWay } from '../bridge/login-messages.ts';
import { cookieOf, cookiesOf, HOST_PREFIX, OWN_COOKIE, ownCookieNames } from '../http/cookie.ts';
import type { VisitorOrigin } from '../http/forwarding.ts';
import type { RequestParser } from '../http/request-head.ts';
import { visitorOf, visitorScheme } from '../http/trusted-forwarding.ts';
import { answer, type FrontAnswer, targetOf } from './http-front.ts';
import { LoginSessions } from './login-sessions.ts';
import { type LoginTarget, loginTarget } from './login-target.ts';

/** Visitors for whom control is asked at once; others are to come again. Guess. */
const ASKING_MAX = 256;
/** Tells the browser that began a login. */
const BROWSER_COOKIE = `${OWN_COOKIE}-browser`;
/** Is there once its visitor has logged out. */
const AGAIN_COOKIE = `${OWN_COOKIE}-again`;
const BROWSER = /^[A-Za-z0-9_-]{16,64}$/;
/** Cookies that one answer takes back. Guess: a host has one or two. */
const DROPPED_MAX = 32;
const OURS = /^(?:__Host-)?slw-login-[a-z0-9]{1,16}$/;
const SAFE = 'Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n';
const LOGGED_OUT =
  '<!doctype html><title>Logged out</title><h1>Logged out</h1>' +
  '<p>You are logged out of this site. <a href="/">Log in again</a></p>\n';
const PAGE =
  'Content-Type: text/html; charset=utf-8\r\n' + "Content-Security-Policy: default-src 'none'\r\n";

export type LoginAnswer = FrontAnswer | ErrorCode;

/** How control is asked; rejects with a SluicewayError. */
export type AskControl = <Name extends keyof LoginControlMethods>(
  method: Name,
  body: LoginControlMethods[Name]['takes'],
) => Promise<LoginControlMethods[Name]['gives']>;

/** A request as the visitor sees its site. */
interface Visit {
  readonly host: string;
  /** Undefined: a Host that no browser has in its bar. */
  readonly site: string | undefined;
  readonly cookies: string;
  readonly browser: string;
  readonly isSecure: boolean;
}

export class LoginAnswers {
  readonly sessions: LoginSessions;
  readonly #ask: AskControl;
  #askingCount = 0;

  constructor(ask: AskControl, clock: Clock) {
    this.#ask = ask;
    this.sessions = new LoginSessions(clock);
  }

  /** For a path that is kept for logins; undefined for another, or when there are none. */
  answer(head: RequestParser, origin: VisitorOrigin): Promise<LoginAnswer> | undefined {
    const target = this.sessions.isOn ? loginTarget(head) : undefined;
    if (target === undefined) return undefined;
    const visit = visitOf(head, origin);
    if (target.path === CALLBACK_PATH) return this.#end(visit, head, target);
    if (target.path === LOGOUT_PATH) return Promise.resolve(logOut(visit, head.method));
    return Promise.resolve('SLW_HTTP_NO_TUNNEL');
  }

  /** Sends the visitor to a provider. */
  begin(
    head: RequestParser,
    origin: VisitorOrigin,
    wanted: { readonly provider: string; readonly tunnel: string },
  ): Promise<LoginAnswer> {
    const visit = visitOf(head, origin);
    const { host, site, browser, cookies, isSecure } = visit;
    if (site === undefined) return Promise.resolve('SLW_HTTP_LOGIN_BROWSER');
    const isAgain = cookieOf(cookies, nameOf(AGAIN_COOKIE, isSecure)) !== undefined;
    const visitor = visitorOf(head, origin);
    const asked = { ...wanted, host, site, target: targetOf(head), browser, visitor, isAgain };
    return this.#bounded(async () => {
      const way = await this.#ask('beginLogin', asked);
      return 'code' in way ? way.code : leave(way, visit);
    });
  }

  #end(visit: Visit, head: RequestParser, { query }: LoginTarget): Promise<LoginAnswer> {
    const { host, site, browser } = visit;
    if (head.method !== 'GET' || site === undefined) return Promise.resolve('SLW_HTTP_LOGIN_LOST');
    return this.#bounded(async () => {
      const done = await this.#ask('endLogin', { host, site, query, browser });
      return 'code' in done ? done.code : this.#arrive(done, visit);
    });
  }

  #arrive({ location, session, tunnel, provider, seconds }: LoginDone, visit: Visit): FrontAnswer {
    const { isSecure, cookies } = visit;
    const name = this.sessions.cookieName(tunnel, provider, isSecure);
    const again = nameOf(AGAIN_COOKIE, isSecure);
    const isAgain = cookieOf(cookies, again) !== undefined;
    const fields =
      setCookie(name, session, { isSecure, seconds }) +
      (isAgain ? setCookie(again, '', { isSecure, seconds: 0 }) : '');
    return answer('303 See Other', `${fields}${SAFE}Location: ${location}\r\n`, '');
  }

  async #bounded(ask: () => Promise<LoginAnswer>): Promise<LoginAnswer> {
    if (this.#askingCount >= ASKING_MAX) return 'SLW_HTTP_LOGIN_UNAVAILABLE';
    this.#askingCount += 1;
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof SluicewayError)) throw error;
      return 'SLW_HTTP_LOGIN_UNAVAILABLE';
    } finally {
      this.#askingCount -= 1;
    }
  }
}

function visitOf(head: RequestParser, origin: VisitorOrigin): Visit {
  const { bytes, base, authorityStart, authorityEnd, host } = head;
  const scheme = visitorScheme(head, origin);
  const isSecure = scheme === 'https';
  const authority = bytes.toString('latin1', base + authorityStart, base + authorityEnd);
  const cookies = cookiesOf(head);
  const shown = cookieOf(cookies, nameOf(BROWSER_COOKIE, isSecure)) ?? '';
  const browser = BROWSER.test(shown) ? shown : '';
  return { host, site: siteOf(`${scheme}://${authority}`), cookies, browser, isSecure };
}

/**
 * As browsers and providers write it: without the port that a scheme has anyhow, which proxies do
 * name. A provider compares the way back twice, letter by letter, also with what is registered.
 */
function siteOf(url: string): string | undefined {
  return URL.canParse(url) ? new URL(url).origin : undefined;
}

function leave({ location, browser }: LoginWay, { isSecure }: Visit): FrontAnswer {
  const name = nameOf(BROWSER_COOKIE, isSecure);
  const cookie = setCookie(name, browser, { isSecure, seconds: LOGIN_SECONDS_MAX });
  return answer('302 Found', `${cookie}${SAFE}Location: ${location}\r\n`, '');
}

function logOut({ cookies, isSecure }: Visit, method: string): FrontAnswer {
  const names = ownCookieNames(cookies).filter((name) => OURS.test(name));
  const drop = (name: string): string => setCookie(name, '', { isSecure, seconds: 0 });
  const dropped = names.slice(0, DROPPED_MAX).map(drop).join('');
  const again = setCookie(nameOf(AGAIN_COOKIE, isSecure), '1', {
    isSecure,
    seconds: LOGIN_SECONDS_MAX,
  });
  const body = method === 'HEAD' ? '' : LOGGED_OUT;
  return answer('200 OK', `${dropped}${again}${SAFE}${PAGE}`, body);
}

function nameOf(name: string, isSecure: boolean): string {
  return isSecure ? `${HOST_PREFIX}${name}` : name;
}

/** Of this host alone, and sent with links from elsewhere, as the way back from a provider is. */
function setCookie(
  name: string,
  value: string,
  { isSecure, seconds }: { readonly isSecure: boolean; readonly seconds: number },
): string {
  const secure = isSecure ? '; Secure' : '';
  const attributes = `Path=/; Max-Age=${seconds}; HttpOnly; SameSite=Lax${secure}`;
  return `Set-Cookie: ${name}=${value}; ${attributes}\r\n`;
}
