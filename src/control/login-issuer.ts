// One login provider: sends visitors to it, and learns from it who came back.
//
//   begin --discovery, each hour--> the provider's address, with state, nonce and PKCE
//   end --code--> token --signed claims, userinfo or GitHub's API--> an identity
//
// Invariant: an identity is what this provider says for this very login, or there is none; an
// address is one that it has verified; it is asked over TLS, at the addresses of its discovery, and
// bounded in time and size. What a visitor brings back is no word of the provider's: it cannot make
// the log say that the provider fails. Must not know: visitors' requests, cookies, or who may
// visit. The only file that knows openid-client, which it loads with the first login.

import { createHash } from 'node:crypto';
import type { ClientAuth, Configuration, CustomFetch, ServerMetadata } from 'openid-client';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { loggable } from '../base/loggable.ts';
import { type Identity, identityText } from '../base/login-rule.ts';
import type { Masked } from '../base/masked.ts';
import type { LoginProvider } from '../config/login-providers.ts';
import { isTrustworthyUrl } from '../config/oidc.ts';
import { Discovery, fetchDiscovery } from './discovery.ts';
import { getDocument } from './https-get.ts';

/** Four of them, one after the other, are within what a shard waits. */
const FETCH_TIMEOUT_MS = 4000;
const DOCUMENT_BYTES_MAX = 256 * 1024;
const LIMITS = { timeoutMs: FETCH_TIMEOUT_MS, bytesMax: DOCUMENT_BYTES_MAX };
/** After a failure a provider is left alone for so long. Guess. */
const FAILURE_COOLDOWN_MS = 5000;
/** Visitors that come back at once; others are told to come again. Guess. */
const ENDING_MAX = 64;
/** Of the log: why nobody can log in, and why a visitor could not. */
const LOG_MS = 10_000;
/** A person did not log in, or may not (RFC 6749 4.1.2.1, OpenID Connect Core 3.1.2.6). */
const REFUSALS = new Set(['access_denied', 'login_required', 'interaction_required']);
/** The provider has a problem, and not the visitor (RFC 6749 4.1.2.1). */
const OUTAGES = new Set(['server_error', 'temporarily_unavailable']);
/** A code that is made up, over or used: RFC 6749 5.2, and GitHub, which says so with a 200. */
const LOST_CODES = new Set(['invalid_grant', 'bad_verification_code']);
/** What a visitor brings back once at most, and with response_type=code never. */
const ONCE = ['code', 'error', 'iss', 'state'];
const NEVER = ['response', 'id_token', 'token'];
const UNKNOWN_CLIENT =
  'client-id or its secret is wrong, or client-auth is not as the application is registered';
/** Sites in GitHub's own cloud: github.com, and tenants of ghe.com (data residency). */
const GITHUB_CLOUD = /^https:\/\/(github\.com|[a-z0-9-]{1,63}\.ghe\.com)$/i;
/** GitHub's, for what the application was not given: no scope, no permission. */
const WITHHELD = new Set([403, 404]);
/** Without a body, as Response has it. */
const BODILESS = new Set([204, 205, 304]);

type OpenId = typeof import('openid-client');
type Claims = Readonly<Record<string, unknown>>;
/** Refused: by the provider, as the visitor says. Lost: what it brought back opens nothing. */
export type LoginFailure = 'refused' | 'lost' | 'unavailable';

/** As openid-client throws it; the outermost says what, the inner ones about what. */
interface Thrown {
  readonly error?: unknown;
  readonly error_description?: unknown;
  readonly cause?: unknown;
}

export interface LoginIssuerOptions {
  readonly provider: LoginProvider;
  /** Absent: a public client. */
  readonly secret?: Masked | undefined;
  readonly clock: Clock;
  readonly log: Logger;
}

/** What belongs to one login, from its beginning to its end. */
export interface LoginProofs {
  readonly state: string;
  readonly nonce: string;
  readonly verifier: string;
}

export class LoginIssuer {
  readonly provider: LoginProvider;
  /** What sessions say of it: another one as soon as its people are others. */
  readonly id: string;
  readonly #options: LoginIssuerOptions;
  readonly #discovery: Discovery<Configuration>;
  #endingCount = 0;
  #loggedMs = Number.NEGATIVE_INFINITY;
  #notedMs = Number.NEGATIVE_INFINITY;

  constructor(options: LoginIssuerOptions) {
    this.#options = options;
    this.provider = options.provider;
    const find = (): Promise<Configuration> => this.#find();
    const { clock, log } = options;
    const onKept = (error: unknown): void => {
      const fields = { provider: this.provider.name, reason: reasonOf(error) };
      log.warn(fields, 'the login provider cannot be asked again, what it said goes on');
    };
    this.#discovery = new Discovery({ find, onKept, clock, cooldownMs: FAILURE_COOLDOWN_MS });
    const { kind, issuer, clientId, loginClaim, trustsEmail } = options.provider;
    const text = JSON.stringify([kind, issuer, clientId, loginClaim, trustsEmail]);
    this.id = createHash('sha256').update(text).digest('base64url').slice(0, 16);
  }

  /** Where a visitor logs in; undefined: the provider cannot be asked. */
  async begin(
    redirectUri: string,
    isAgain: boolean,
  ): Promise<(LoginProofs & { readonly location: string }) | undefined> {
    try {
      const config = await this.#discovery.read();
      const client = await import('openid-client');
      const verifier = client.randomPKCECodeVerifier();
      const [state, nonce] = [client.randomState(), client.randomNonce()];
      const isOidc = this.provider.kind === 'oidc';
      const location = client.buildAuthorizationUrl(config, {
        ...{ redirect_uri: redirectUri, scope: this.provider.scopes.join(' '), state },
        code_challenge: await client.calculatePKCECodeChallenge(verifier),
        code_challenge_method: 'S256',
        ...(isOidc ? { nonce } : {}),
        ...(isAgain ? { prompt: isOidc ? 'login' : 'select_account' } : {}),
      });
      return { state, nonce, verifier, location: location.href };
    } catch (error) {
      this.#complain(error);
      return undefined;
    }
  }

  /** Who came back to `url`; it has the state, which the caller knows. */
  async end(url: string, proofs: LoginProofs): Promise<Identity | LoginFailure> {
    if (!isReturn(new URL(url).searchParams)) return 'lost';
    if (this.#endingCount >= ENDING_MAX) return 'unavailable';
    this.#endingCount += 1;
    try {
      return await this.#identify(url, proofs);
    } catch (error) {
      const failure = failureOfVisitor(error);
      if (failure === undefined) this.#complain(error);
      else this.#note(error);
      return failure ?? 'unavailable';
    } finally {
      this.#endingCount -= 1;
    }
  }

  async #identify(url: string, { state, nonce, verifier }: LoginProofs): Promise<Identity> {
    const config = await this.#discovery.read();
    const client = await import('openid-client');
    const isOidc = this.provider.kind === 'oidc';
    const tokens = await client.authorizationCodeGrant(config, new URL(url), {
      ...{ expectedState: state, pkceCodeVerifier: verifier },
      ...(isOidc ? { expectedNonce: nonce } : {}),
    });
    const { access_token: token } = tokens;
    if (!isOidc) return this.#askGitHub(client, config, token);
    const claims = tokens.claims();
    if (claims === undefined) throw new Error('there is no ID token');
    const own = this.#identityOf([claims]);
    const hasUserinfo = config.serverMetadata().userinfo_endpoint !== undefined;
    if (!hasUserinfo || (own.email !== '' && own.login !== '')) return own;
    return this.#identityOf([claims, await client.fetchUserInfo(config, token, claims.sub)]);
  }

  /** Of signed claims first, and of what was asked for with the token. */
  #identityOf(sources: readonly Claims[]): Identity {
    const { loginClaim, trustsEmail } = this.provider;
    const user = identityText(sources[0]?.sub);
    if (user === '') throw new Error('its subject is not of visible ASCII');
    const textOf = (name: string): string =>
      sources.map((claims) => identityText(claims[name])).filter((text) => text !== '')[0] ?? '';
    const emails = sources
      .filter(({ email_verified: word }) => trustsEmail || word === true || word === 'true')
      .map(({ email }) => emailText(email));
    return { user, login: textOf(loginClaim), email: emails.filter((one) => one !== '')[0] ?? '' };
  }

  async #askGitHub(client: OpenId, config: Configuration, token: string): Promise<Identity> {
    const api = gitHubApiOf(this.provider.issuer);
    const get = async (path: string, withheld?: readonly Claims[]): Promise<unknown> => {
      const headers = new Headers({ accept: 'application/json', 'user-agent': 'sluiceway' });
      const url = new URL(`${api}${path}`);
      const got = await client.fetchProtectedResource(config, token, url, 'GET', null, headers);
      if (withheld !== undefined && WITHHELD.has(got.status)) return withheld;
      if (got.status !== 200) throw new Error(`${path} answered ${got.status}`);
      return got.json();
    };
    const { id, login } = (await get('/user')) as Claims;
    const user = identityText(id);
    if (user === '' || identityText(login) === '') throw new Error('it names no user');
    const emails = await get('/user/emails', []);
    const [email = ''] = (Array.isArray(emails) ? (emails as Claims[]) : [])
      .filter(({ primary, verified }) => primary === true && verified === true)
      .map((one) => emailText(one.email));
    return { user, login: identityText(login), email };
  }

  async #find(): Promise<Configuration> {
    const client = await import('openid-client');
    const server = await this.#discover();
    const auth = this.#authentication(client, server);
    const config = new client.Configuration(server, this.provider.clientId, {}, auth);
    config[client.customFetch] = this.#fetch;
    // Loopback only: every address is looked at before it is asked.
    if (this.#isPlain) client.allowInsecureRequests(config);
    // The signature, too, although the token comes from the provider itself.
    if (this.provider.kind === 'oidc') client.enableNonRepudiationChecks(config);
    return config;
  }

  async #discover(): Promise<ServerMetadata> {
    const { issuer, kind } = this.provider;
    if (kind === 'github') {
      const base = `${issuer}/login/oauth`;
      return {
        issuer: base,
        authorization_endpoint: `${base}/authorize`,
        token_endpoint: `${base}/access_token`,
      };
    }
    const server = await fetchDiscovery(issuer, LIMITS);
    if (!this.#isAskable(String(server.authorization_endpoint))) {
      throw new Error('discovery names no https authorization_endpoint');
    }
    return { ...server, issuer };
  }

  #authentication(client: OpenId, server: ServerMetadata): ClientAuth {
    const secret = this.#options.secret?.reveal();
    if (secret === undefined) return client.None();
    const { kind, clientAuth } = this.provider;
    // Basic encodes what is special in a secret, and not every issuer decodes that. What is listed
    // is what the issuer can: it may hold this application to the other one.
    const known = server.token_endpoint_auth_methods_supported ?? ['client_secret_basic'];
    const listed = kind === 'github' || known.includes('client_secret_post') ? 'post' : 'basic';
    const isPost = (clientAuth ?? listed) === 'post';
    return isPost ? client.ClientSecretPost(secret) : client.ClientSecretBasic(secret);
  }

  /** On this machine without TLS, as tests and side-cars have it. */
  get #isPlain(): boolean {
    return this.provider.issuer.startsWith('http:');
  }

  #isAskable(url: string): boolean {
    return isTrustworthyUrl(url) && (this.#isPlain || url.startsWith('https:'));
  }

  readonly #fetch: CustomFetch = async (url, { method, headers, body }) => {
    if (!this.#isAskable(url)) throw new Error('discovery names an address without https');
    const text = body === null || body === undefined ? '' : String(body);
    const got = await getDocument(url, LIMITS, { method, headers: { ...headers }, body: text });
    const { status, contentType } = got;
    const bytes = BODILESS.has(status) ? null : new Uint8Array(got.body);
    return new Response(bytes, { status, headers: { 'content-type': contentType } });
  };

  #complain(error: unknown): void {
    const { clock, log, provider } = this.#options;
    const nowMs = clock.nowMs();
    if (nowMs - this.#loggedMs < LOG_MS) return;
    this.#loggedMs = nowMs;
    const hint = wordOf(error) === 'invalid_client' ? { hint: UNKNOWN_CLIENT } : {};
    const fields = { provider: provider.name, reason: reasonOf(error), ...hint };
    log.error(fields, 'nobody can log in at this provider');
  }

  /** Often enough to find a scope that the provider does not know; a visitor can write it too. */
  #note(error: unknown): void {
    const { clock, log, provider } = this.#options;
    const nowMs = clock.nowMs();
    if (REFUSALS.has(wordOf(error)) || nowMs - this.#notedMs < LOG_MS) return;
    this.#notedMs = nowMs;
    const fields = { provider: provider.name, reason: reasonOf(error) };
    log.info(fields, 'a visitor came back from the login provider without a login');
  }
}

/** In the cloud the API has a host of its own; on an Enterprise Server it lies below the site. */
export function gitHubApiOf(site: string): string {
  const host = GITHUB_CLOUD.exec(site)?.[1];
  return host === undefined ? `${site}/api/v3` : `https://api.${host.toLowerCase()}`;
}

/** Is it what a provider sends back, by its form? */
function isReturn(query: URLSearchParams): boolean {
  if (NEVER.some((name) => query.has(name))) return false;
  if (ONCE.some((name) => query.getAll(name).length > 1)) return false;
  return (query.get('code') ?? '') !== '' || (query.get('error') ?? '') !== '';
}

/** Undefined: it is the provider that fails, and nothing that the visitor has brought. */
function failureOfVisitor(error: unknown): LoginFailure | undefined {
  const word = wordOf(error);
  if ((error as Thrown).cause instanceof URLSearchParams) {
    return OUTAGES.has(word) ? 'unavailable' : 'refused';
  }
  if (REFUSALS.has(word)) return 'refused';
  const isLost = LOST_CODES.has(word) || detailOf(error).parameters instanceof URLSearchParams;
  return isLost ? 'lost' : undefined;
}

/** What the response held that cannot be used. */
function detailOf(error: unknown): { readonly parameters?: unknown; readonly body?: unknown } {
  const { cause } = error as Thrown;
  return ((cause as Thrown | undefined)?.cause as object | undefined) ?? {};
}

/** The code of an error response; empty when it is none. */
function wordOf(error: unknown): string {
  const body = detailOf(error).body as Thrown | undefined;
  return textOf((error as Thrown).error) || textOf(body?.error);
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const words = [wordOf(error), textOf((error as Thrown).error_description)];
  const said = loggable(words.filter((word) => word !== '').join(': '));
  return said === '' ? error.message : `${error.message} (${said})`;
}

/** In lower case; '' for what is none. */
function emailText(value: unknown): string {
  const text = identityText(value).toLowerCase();
  return text.indexOf('@') > 0 && !text.endsWith('@') ? text : '';
}
