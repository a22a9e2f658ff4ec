// The issuer of --oidc-issuer, and what a rule of the tokens file asks of its JWTs.
//
// Invariant: the issuer is kept as it was written, as a JWT must name it to the letter; without TLS
// only this machine is asked; a rule names a claim that tells its bearers from the issuer's others.
// Must not know: keys, signatures, or who is asked.

import { isLoopbackHost } from '../base/target.ts';
import { InvalidText, type Kind, kindOf } from './option.ts';

export interface OidcConfig {
  readonly issuer: string;
  readonly audience: string;
}

/** One claim of a rule: it, or one of its values, must match one of the patterns. */
export interface ClaimRule {
  readonly claim: string;
  /** `*` stands for any text, also for none. */
  readonly patterns: readonly string[];
}

const CLAIM = /^[A-Za-z0-9_.:/-]{1,128}$/;
const PATTERN_LENGTH_MAX = 1024;
/** Each JWT of the issuer passes these, or they are checked by themselves. */
const COMMON_CLAIMS = new Set(['iss', 'aud', 'exp', 'nbf', 'iat', 'jti', 'azp']);
const ISSUER_RIGHT =
  'write its https URL as its tokens name it, such as https://token.actions.githubusercontent.com';
const URL_LENGTH_MAX = 1024;

export const oidcIssuer: Kind<string> = kindOf(
  'issuer',
  'URL',
  (text) => {
    const isRight = text.length <= URL_LENGTH_MAX && isTrustworthyUrl(text) && !/[?#]/.test(text);
    return isRight ? text : new InvalidText(`is no issuer; ${ISSUER_RIGHT}`);
  },
  String,
);

/** Over https, or to this machine; with nothing secret in it. */
export function isTrustworthyUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname, username, password } = new URL(text);
  if (username !== '' || password !== '') return false;
  const host = hostname.replace(/^\[|\]$/g, '');
  return protocol === 'https:' || (protocol === 'http:' && isLoopbackHost(host));
}

/** What is wrong with a claim's name; undefined: nothing. */
export function claimProblem(claim: string): string | undefined {
  if (!CLAIM.test(claim)) return 'is no name of a claim';
  return COMMON_CLAIMS.has(claim)
    ? 'tells nobody apart; name another claim, such as sub'
    : undefined;
}

export function patternProblem(pattern: string): string | undefined {
  if (pattern === '' || pattern.length > PATTERN_LENGTH_MAX) {
    return `is no pattern of 1 to ${PATTERN_LENGTH_MAX} characters`;
  }
  return undefined;
}

/** Would every bearer of the issuer's tokens pass? */
export function matchesEverybody(rules: readonly ClaimRule[]): boolean {
  return rules.every(({ patterns }) => patterns.some((pattern) => /^\**$/.test(pattern)));
}

/** Linear in the text for each piece between two stars: no pattern makes it slow. */
export function matchesPattern(pattern: string, text: string): boolean {
  const [first = '', ...rest] = pattern.split('*');
  const last = rest.pop();
  if (last === undefined) return text === pattern;
  if (!text.startsWith(first) || text.length < first.length + last.length) return false;
  if (!text.endsWith(last)) return false;
  const end = text.length - last.length;
  let from = first.length;
  for (const piece of rest) {
    const at = text.indexOf(piece, from);
    if (at === -1 || at + piece.length > end) return false;
    from = at + piece.length;
  }
  return true;
}

/** Do the claims of a JWT fit all of the rule? */
export function matchesClaims(
  rules: readonly ClaimRule[],
  claims: Readonly<Record<string, unknown>>,
): boolean {
  return rules.every(({ claim, patterns }) => {
    const value = Object.hasOwn(claims, claim) ? claims[claim] : undefined;
    const values = Array.isArray(value) ? value : [value];
    return values.some((one) => {
      const isPlain = ['string', 'number', 'boolean'].includes(typeof one);
      return isPlain && patterns.some((pattern) => matchesPattern(pattern, String(one)));
    });
  });
}
