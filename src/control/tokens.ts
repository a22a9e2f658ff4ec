// Who may connect, by token: the shared one, those of the tokens file, and JWTs by its rules.
//
//   Authorization --digest--> the shared token: everything
//                         --> an entry of the file: its scope, while it is valid
//   claims of a JWT --patterns--> a rule of the file: likewise, until the session is over
//
// Invariant: digests alone are kept; the shared one is compared in constant time, and those of the
// file are found by digest, of which a guess says nothing about another; an empty or missing header
// never passes, nor does an entry that has ended or an address that is not on its list. Must not
// know: where the file came from, or what is served.

import { createHash, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import { plainAddress } from '../base/ip.ts';
import type { Masked } from '../base/masked.ts';
import { type AddressSet, networkSet } from '../base/network-set.ts';
import type { TokenEntry } from '../config/config.ts';
import { matchesClaims } from '../config/oidc.ts';

/** Longest Authorization header that is looked at: a token and its scheme. */
const AUTHORIZATION_LENGTH_MAX = 8192;
const SCHEME = /^bearer +/i;
/** Of a digest, to tell the two secrets of an entry apart, or to show a subject. */
const MARK_LENGTH = 12;
/** Of a subject's digest: who may choose a part of their own is not to find another's. 128 bits. */
const SUBJECT_LENGTH = 32;
/** Unless the rule says: longer than a job of GitHub Actions runs (6 h). Guess. */
const SESSION_MAX_MS = 24 * 3_600_000;

/** Who a token says that its bearer is. */
export interface Principal {
  /** Undefined: the shared token, which may do everything. */
  readonly entry: TokenEntry | undefined;
  /** Names the entry, none for the shared token, and the secret; is no secret itself. */
  readonly credential: string;
}

interface Known {
  readonly entry: TokenEntry;
  readonly allowed: AddressSet | undefined;
}

export class TokenGate {
  readonly #clock: Clock;
  /** Absent: no shared token opens. */
  #shared: { readonly digest: Buffer; readonly principal: Principal } | undefined;
  #byDigest: ReadonlyMap<string, Known> = new Map();
  #byCredential: ReadonlyMap<string, Known> = new Map();
  /** By name and what it asks for, so that another condition ends those who came by the old. */
  #rules: ReadonlyMap<string, Known> = new Map();
  /** Of all entries, whatever secrets they have. */
  #names: ReadonlySet<string> = new Set();

  constructor(token: Masked | undefined, clock: Clock) {
    this.#clock = clock;
    this.share(token);
  }

  /** This is the shared token from now on, and no other; undefined: there is none. */
  share(token: Masked | undefined): void {
    this.#shared = undefined;
    if (token === undefined) return;
    const digest = digestOf(token.reveal());
    const credential = credentialOf('', digest.toString('hex'));
    this.#shared = { digest, principal: { entry: undefined, credential } };
  }

  /** Was the credential given out for the shared token that is valid now? */
  isShared(credential: string): boolean {
    return this.#shared?.principal.credential === credential;
  }

  /** These and no others are valid from now on, beside the shared token. */
  replace(entries: readonly TokenEntry[]): void {
    const byDigest = new Map<string, Known>();
    const byCredential = new Map<string, Known>();
    const rules = new Map<string, Known>();
    for (const entry of entries) {
      const known = { entry, allowed: networkSet(entry.allowIps) };
      for (const digest of entry.digests) {
        byDigest.set(digest, known);
        byCredential.set(credentialOf(entry.name, digest), known);
      }
      if (entry.claims !== undefined) rules.set(ruleKeyOf(entry), known);
    }
    this.#byDigest = byDigest;
    this.#byCredential = byCredential;
    this.#rules = rules;
    this.#names = new Set(entries.map(({ name }) => name));
  }

  /** Whose token this Authorization header carries, from `remoteAddress`; undefined: nobody's. */
  identify(authorization: string | undefined, remoteAddress: string): Principal | undefined {
    if (authorization === undefined || authorization.length > AUTHORIZATION_LENGTH_MAX)
      return undefined;
    if (!SCHEME.test(authorization)) return undefined;
    const digest = digestOf(authorization.replace(SCHEME, '').trimEnd());
    const shared = this.#shared;
    if (shared !== undefined && timingSafeEqual(digest, shared.digest)) return shared.principal;
    const hex = digest.toString('hex');
    const entry = this.#valid(this.#byDigest.get(hex), remoteAddress);
    return entry && { entry, credential: credentialOf(entry.name, hex) };
  }

  /** Whom the first rule that fits the claims of a verified JWT lets in; undefined: nobody. */
  identifyClaims(
    claims: Readonly<Record<string, unknown>>,
    remoteAddress: string,
  ): Principal | undefined {
    for (const known of this.#rules.values()) {
      const entry = this.#valid(known, remoteAddress);
      if (entry?.claims === undefined || !matchesClaims(entry.claims, claims)) continue;
      const subject = digestOf(String(claims.sub)).toString('hex').slice(0, SUBJECT_LENGTH);
      const endMs = Math.floor(this.#clock.wallMs() + (entry.sessionMaxMs ?? SESSION_MAX_MS));
      const key = ruleKeyOf(entry).replace('#', `@${subject}#`);
      return { entry, credential: `${key}.${endMs}` };
    }
    return undefined;
  }

  /** The entry behind a credential that was given out, while it holds for `remoteAddress`. */
  entryOf(credential: string, remoteAddress: string): TokenEntry | undefined {
    const rule = RULE_CREDENTIAL.exec(credential);
    const known =
      rule === null ? this.#byCredential.get(credential) : this.#rules.get(`${rule[1]}#${rule[2]}`);
    return this.#valid(known, remoteAddress);
  }

  /**
   * Has the secret of this credential given way to another of its entry, or of all? Who was told
   * of that may have it by now, though its link has not. A session by a rule has no secret.
   */
  isReplaced(credential: string): boolean {
    if (this.isShared(credential) || this.#byCredential.has(credential)) return false;
    const owner = ownerOf(credential);
    return owner === '' ? this.#shared !== undefined : this.#names.has(owner);
  }

  /** Must a client with this credential log in again? */
  isSessionOver(credential: string): boolean {
    const endMs = RULE_CREDENTIAL.exec(credential)?.[3];
    return endMs !== undefined && this.#clock.wallMs() >= Number(endMs);
  }

  #valid(known: Known | undefined, remoteAddress: string): TokenEntry | undefined {
    if (known === undefined) return undefined;
    const { entry, allowed } = known;
    const { expiresMs } = entry;
    if (expiresMs !== undefined && this.#clock.wallMs() >= expiresMs) return undefined;
    return allowed?.has(plainAddress(remoteAddress)) === false ? undefined : entry;
  }
}

/** `NAME@SUBJECT#CONDITIONS.END`; a name has none of these signs but the dot. */
const RULE_CREDENTIAL = /^([^@#]+)@[0-9a-f]+#([0-9a-f]+)\.(\d+)$/;

/** Whose a credential is: of an entry by name, and of a rule by name and subject; empty for the
 * shared token's. */
export function ownerOf(credential: string): string {
  return credential.split('#', 1)[0] ?? '';
}

/** The same to be shown: shorter, so that two may look alike that are not. */
export function shownOwnerOf(credential: string): string {
  const owner = ownerOf(credential);
  const at = owner.indexOf('@');
  return at === -1 ? owner : owner.slice(0, at + 1 + MARK_LENGTH);
}

/** The name of the entry or rule that a credential is of; empty for the shared token's. */
export function entryNameOf(credential: string): string {
  return ownerOf(credential).split('@', 1)[0] ?? '';
}

function ruleKeyOf({ name, claims }: TokenEntry): string {
  return credentialOf(name, digestOf(JSON.stringify(claims)).toString('hex'));
}

function credentialOf(name: string, digest: string): string {
  return `${name}#${digest.slice(0, MARK_LENGTH)}`;
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
