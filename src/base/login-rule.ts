// Who may visit of those that a login provider knows: one rule, and whom it fits.
//
//   ann@example.com    this e-mail address    login:ann    this login, as the provider spells it
//   @example.com       any of this domain     anyone       whoever the provider knows
//
// Invariant: an address counts only when the provider has verified it (an identity has none
// otherwise), and whole: neither a subdomain nor a part of a name fits. What cannot be read fits
// nobody. Pure. Must not know: providers, or how somebody logged in.

/** Whom a provider has seen. Visible ASCII each; '' for what it does not say. */
export interface Identity {
  /** Never given to somebody else. */
  readonly user: string;
  readonly login: string;
  /** Verified, in lower case. */
  readonly email: string;
}

export type LoginRule =
  | { readonly kind: 'anyone' }
  | { readonly kind: 'email' | 'domain' | 'login'; readonly text: string };

/** RFC 5321 4.5.3.1.3; what identities hold is no longer. */
const IDENTITY_LENGTH_MAX = 254;
const LOGIN = 'login:';
const LOGIN_NAME = /^[\x21-\x7e]{1,254}$/;
const LOCAL_PART = /^[\x21-\x3f\x41-\x7e]{1,64}$/;
const DOMAIN = /^[a-z0-9.-]{1,253}$/;
const RIGHT = 'write ann@example.com, @example.com, login:NAME or anyone';

/** A rule, or what is wrong with the text, as the rest of a sentence about it. */
export function readLoginRule(text: string): LoginRule | string {
  if (text === 'anyone') return { kind: 'anyone' };
  if (text.startsWith(LOGIN)) {
    const name = text.slice(LOGIN.length);
    return LOGIN_NAME.test(name) ? { kind: 'login', text: name } : `has no login; ${RIGHT}`;
  }
  const at = text.indexOf('@');
  const domain = text.slice(at + 1).toLowerCase();
  const isRight = at !== -1 && DOMAIN.test(domain) && !domain.split('.').includes('');
  if (!isRight || text.length > IDENTITY_LENGTH_MAX) return `is no rule; ${RIGHT}`;
  const local = text.slice(0, at);
  if (local === '') return { kind: 'domain', text: domain };
  if (!LOCAL_PART.test(local)) return `is no rule; ${RIGHT}`;
  return { kind: 'email', text: `${local.toLowerCase()}@${domain}` };
}

export function fitsRule(rule: LoginRule, { login, email }: Identity): boolean {
  switch (rule.kind) {
    case 'anyone':
      return true;
    case 'login':
      return login !== '' && login === rule.text;
    case 'email':
      return email !== '' && email === rule.text;
    case 'domain':
      return email !== '' && email.slice(email.lastIndexOf('@') + 1) === rule.text;
  }
}

/** Visible ASCII of a bounded length, so that a header and a cookie can hold it; '' otherwise. */
export function identityText(value: unknown): string {
  const text = typeof value === 'number' ? String(value) : value;
  if (typeof text !== 'string' || text.length > IDENTITY_LENGTH_MAX) return '';
  return /^[\x21-\x7e]+$/.test(text) ? text : '';
}
