// The issuer of JWTs: finds its keys, keeps them for a while, and says what a JWT of it claims.
//
//   verify --first, each hour--> discovery --> jwks_uri --> keys --signature, times--> claims
//
// Invariant: nothing passes but what the issuer signed, with a key pair, for this audience and now;
// an issuer that does not answer is told apart from a JWT that is wrong; what it sends is bounded
// in time and size, and is asked for no more often than the cool-downs say. Must not know: rules,
// or who logs in. The only file that knows jose, which it loads when a JWT comes.

import type { JSONWebKeySet, JWTVerifyGetKey } from 'jose';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { isTrustworthyUrl, type OidcConfig } from '../config/oidc.ts';
import { Discovery, fetchDiscovery } from './discovery.ts';
import { getDocument } from './https-get.ts';
import { IssuerKeys } from './issuer-keys.ts';

/** With a key pair only: what is signed with a secret could be signed with the public key. */
const ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA', 'Ed25519'];
/** Clocks differ (design). */
const CLOCK_TOLERANCE_SECONDS = 30;
const FETCH_TIMEOUT_MS = 5000;
/** Keys of large issuers are some 10 KiB. */
const DOCUMENT_BYTES_MAX = 256 * 1024;
const LIMITS = { timeoutMs: FETCH_TIMEOUT_MS, bytesMax: DOCUMENT_BYTES_MAX };
/** After a failure the issuer is left alone for so long. Guess. */
const FAILURE_COOLDOWN_MS = 10_000;
/** A key that is not known makes the keys be fetched again, this often at most. */
const KEYS_COOLDOWN_MS = 30_000;
/** A key that the issuer has withdrawn is believed for so long. */
const KEYS_MS = 600_000;
/** Beyond it a login is told to come again: each is a signature's worth of work. Guess. */
const VERIFYING_MAX = 64;
const SCHEME = /^bearer +/i;
const JWT = /^[\w-]+\.[\w-]+\.[\w-]+$/;
const JWT_LENGTH_MAX = 8192;
/** Of the log: why a JWT is refused, or the issuer cannot be asked. */
const LOG_MS = 10_000;

/** The keys at an address, fetched as they are needed. */
interface KeySet {
  readonly url: string;
  readonly keys: IssuerKeys<JWTVerifyGetKey>;
}

export type Claims = Readonly<Record<string, unknown>>;

/** What looks like a JWT in an Authorization header. */
export function jwtOf(authorization: string | undefined): string | undefined {
  if (authorization === undefined || authorization.length > JWT_LENGTH_MAX) return undefined;
  const text = authorization.replace(SCHEME, '').trimEnd();
  return SCHEME.test(authorization) && JWT.test(text) ? text : undefined;
}

export class OidcIssuer {
  readonly #options: OidcConfig & { readonly clock: Clock; readonly log: Logger };
  readonly #keys: Discovery<KeySet>;
  /** What was found last: it holds keys that were fetched, and that go on at the same address. */
  #found: KeySet | undefined;
  #verifyingCount = 0;
  #loggedMs = Number.NEGATIVE_INFINITY;

  constructor(options: OidcConfig & { readonly clock: Clock; readonly log: Logger }) {
    this.#options = options;
    const { clock, log, issuer } = options;
    const find = (): Promise<KeySet> => this.#find();
    const onKept = (error: unknown): void => {
      const reason = error instanceof Error ? error.message : String(error);
      log.warn({ issuer, reason }, 'the issuer cannot be asked again, what it said goes on');
    };
    this.#keys = new Discovery({ find, onKept, clock, cooldownMs: FAILURE_COOLDOWN_MS });
  }

  /** What a JWT says, when all that is checked for every JWT is right. */
  async verify(jwt: string): Promise<Claims | 'refused' | 'unavailable'> {
    if (this.#verifyingCount >= VERIFYING_MAX) return 'unavailable';
    this.#verifyingCount += 1;
    try {
      const { issuer, audience } = this.#options;
      const { jwtVerify } = await import('jose');
      const { keys } = await this.#keys.read();
      const { payload } = await jwtVerify(jwt, keyAmong(keys), {
        ...{ issuer, audience, algorithms: ALGORITHMS },
        clockTolerance: CLOCK_TOLERANCE_SECONDS,
        requiredClaims: ['iss', 'aud', 'exp', 'sub'],
      });
      return payload;
    } catch (error) {
      return this.#explain(error);
    } finally {
      this.#verifyingCount -= 1;
    }
  }

  #explain(error: unknown): 'refused' | 'unavailable' {
    const { clock, log, issuer } = this.#options;
    const isRefused = REFUSALS.has((error as { readonly code?: string }).code ?? '');
    const nowMs = clock.nowMs();
    if (nowMs - this.#loggedMs >= LOG_MS) {
      this.#loggedMs = nowMs;
      const reason = error instanceof Error ? error.message : String(error);
      if (isRefused) log.warn({ issuer, reason }, 'a JWT is refused');
      else log.error({ issuer, reason }, 'the issuer cannot be asked, its JWTs must wait');
    }
    return isRefused ? 'refused' : 'unavailable';
  }

  async #find(): Promise<KeySet> {
    const { jwks_uri: keysUrl } = await fetchDiscovery(this.#options.issuer, LIMITS);
    if (typeof keysUrl !== 'string' || !isTrustworthyUrl(keysUrl)) {
      throw new Error('discovery names no https jwks_uri');
    }
    if (this.#found?.url === keysUrl) return this.#found;
    const keys = new IssuerKeys({
      fetch: () => fetchKeys(keysUrl),
      ...{ keptMs: KEYS_MS, unknownMs: KEYS_COOLDOWN_MS, cooldownMs: FAILURE_COOLDOWN_MS },
      clock: this.#options.clock,
    });
    this.#found = { url: keysUrl, keys };
    return this.#found;
  }
}

/** Code of jose: perhaps a new key. */
const NO_MATCHING_KEY = 'ERR_JWKS_NO_MATCHING_KEY';
/** Codes of jose: the JWT is at fault, and not the way to the keys. */
const REFUSALS = new Set([
  'ERR_JWT_CLAIM_VALIDATION_FAILED',
  'ERR_JWT_EXPIRED',
  'ERR_JWT_INVALID',
  'ERR_JWS_INVALID',
  'ERR_JWS_SIGNATURE_VERIFICATION_FAILED',
  'ERR_JOSE_ALG_NOT_ALLOWED',
  'ERR_JOSE_NOT_SUPPORTED',
  NO_MATCHING_KEY,
  'ERR_JWKS_MULTIPLE_MATCHING_KEYS',
]);

/** How jose finds the key that a JWT names. */
function keyAmong(keys: IssuerKeys<JWTVerifyGetKey>): JWTVerifyGetKey {
  return async (header, token) => {
    const known = await keys.read();
    try {
      return await known(header, token);
    } catch (error) {
      if ((error as { readonly code?: string }).code !== NO_MATCHING_KEY) throw error;
      const more = await keys.readBeyond(known);
      if (more === undefined) throw error;
      return await more(header, token);
    }
  };
}

async function fetchKeys(url: string): Promise<JWTVerifyGetKey> {
  const { createLocalJWKSet } = await import('jose');
  const { status, body } = await getDocument(url, LIMITS);
  if (status !== 200) throw new Error(`the address of its keys answered ${status}`);
  return createLocalJWKSet(JSON.parse(body.toString()) as JSONWebKeySet);
}
