// What visitors of a tunnel must show: `user:password` by Basic, or a token by Bearer (RFC 7617 and
// 6750), or who they are at a login provider, as its client declares it to the exit node.
//
//   basic:SALT:DIGEST     bearer:SALT:DIGEST     digests are SHA-256 of the salt and what is shown
//   provider:NAME:RULE                           rules are those of login-rule.ts
//
// Invariant: no secret crosses the link, and none can be told from another by its digest; every
// declared login is compared, each in constant time; what cannot be read opens nothing. Pure. Must
// not know: who asks, or what follows from a refusal.

import { createHash, timingSafeEqual } from 'node:crypto';
import { fitsRule, type Identity, type LoginRule, readLoginRule } from './login-rule.ts';

export type LoginScheme = 'basic' | 'bearer';

/** Longest field that is looked at: a token and its scheme. */
const AUTHORIZATION_LENGTH_MAX = 8192;
const DECLARED = /^(basic|bearer):([0-9a-f]{32}):([0-9a-f]{64})$/;
const BY_PROVIDER = /^provider:([A-Za-z0-9._-]{1,64}):/;
const CREDENTIALS = /^(basic|bearer) +([A-Za-z0-9._~+/=-]+) *$/i;

/** Basic: people choose passwords, which can be guessed. */
const PASSWORD = /^basic /i;

interface Login {
  readonly scheme: LoginScheme;
  readonly salt: string;
  readonly digest: Buffer;
}

/** The text that declares `secret`; `salt` is 32 hexadecimal digits, drawn anew each time. */
export function declareLogin(scheme: LoginScheme, secret: string, salt: string): string {
  return `${scheme}:${salt}:${digestOf(salt, secret).toString('hex')}`;
}

/** The text that lets in whom `rule` fits of those that the provider knows. */
export function declareProviderLogin(provider: string, rule: string): string {
  return `provider:${provider}:${rule}`;
}

/** The provider that a declared text names. */
export function providerOf(text: string): string | undefined {
  return BY_PROVIDER.exec(text)?.[1];
}

/** Is it a password that an Authorization field shows? */
export function isPassword(authorization: string): boolean {
  return PASSWORD.test(authorization);
}

/** Is it shown in the Authorization field? */
function isShownByField(text: string): boolean {
  return providerOf(text) === undefined;
}

/** What is wrong with a declared text, as the rest of a sentence about it. */
export function loginProblem(text: string): string | undefined {
  const isRight = DECLARED.test(text) || typeof readRule(text) === 'object';
  return isRight ? undefined : 'is no login as clients declare it';
}

/** What is wrong with logins of which each is right by itself. */
export function loginsProblem(texts: readonly string[]): string | undefined {
  const names = new Set(texts.flatMap((text) => providerOf(text) ?? []));
  return names.size > 1 ? 'logins are of several providers; give one' : undefined;
}

function readRule(text: string): LoginRule | string | undefined {
  const prefix = BY_PROVIDER.exec(text)?.[0];
  return prefix === undefined ? undefined : readLoginRule(text.slice(prefix.length));
}

/** The logins of one client for one tunnel, any of which opens it. */
export class VisitorLogins {
  /** What a visitor without a login is told (RFC 9110 11.6.1). */
  readonly schemes: ReadonlySet<LoginScheme>;
  /** Where visitors log in with their browsers; undefined: nowhere. */
  readonly provider: string | undefined;
  readonly #logins: readonly Login[];
  readonly #rules: readonly LoginRule[];

  constructor(texts: readonly string[]) {
    this.#logins = texts.filter(isShownByField).map((text) => {
      const [, scheme, salt = '', digest = ''] = DECLARED.exec(text) ?? [];
      // What does not fit was refused when it was declared; here it opens nothing.
      return { scheme: scheme as LoginScheme, salt, digest: Buffer.from(digest, 'hex') };
    });
    this.schemes = new Set(this.#logins.map(({ scheme }) => scheme));
    this.provider = texts.map(providerOf).filter((name) => name !== undefined)[0];
    const rules = texts.filter((text) => providerOf(text) === this.provider).map(readRule);
    this.#rules = rules.filter((rule) => typeof rule === 'object');
  }

  /** Who is known to the provider of these logins: may they visit? */
  admitsIdentity(identity: Identity): boolean {
    return this.#rules.some((rule) => fitsRule(rule, identity));
  }

  admits(authorization: string | undefined): boolean {
    const shown = readCredentials(authorization);
    if (shown === undefined) return false;
    let isAdmitted = false;
    for (const { scheme, salt, digest } of this.#logins) {
      if (scheme !== shown.scheme || digest.length === 0) continue;
      if (timingSafeEqual(digestOf(salt, shown.secret), digest)) isAdmitted = true;
    }
    return isAdmitted;
  }
}

function readCredentials(
  authorization: string | undefined,
): { readonly scheme: LoginScheme; readonly secret: string } | undefined {
  if (authorization === undefined || authorization.length > AUTHORIZATION_LENGTH_MAX) {
    return undefined;
  }
  const [, name = '', text = ''] = CREDENTIALS.exec(authorization) ?? [];
  if (text === '') return undefined;
  const scheme = name.toLowerCase() as LoginScheme;
  return { scheme, secret: scheme === 'basic' ? Buffer.from(text, 'base64').toString() : text };
}

function digestOf(salt: string, secret: string): Buffer {
  return createHash('sha256').update(`${salt}:${secret}`).digest();
}
