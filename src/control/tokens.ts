// Who may connect, by token: the shared one, and those of the tokens file.
//
//   Authorization --digest--> the shared token: everything
//                         --> an entry of the file: its scope, while it is valid
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

/** Longest Authorization header that is looked at: a token and its scheme. */
const AUTHORIZATION_LENGTH_MAX = 8192;
const SCHEME = /^bearer +/i;
/** Of a digest, to tell the two secrets of an entry apart. */
const MARK_LENGTH = 12;

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
    for (const entry of entries) {
      const known = { entry, allowed: networkSet(entry.allowIps) };
      for (const digest of entry.digests) {
        byDigest.set(digest, known);
        byCredential.set(credentialOf(entry.name, digest), known);
      }
    }
    this.#byDigest = byDigest;
    this.#byCredential = byCredential;
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

  /** The entry behind a credential that was given out, while it holds for `remoteAddress`. */
  entryOf(credential: string, remoteAddress: string): TokenEntry | undefined {
    return this.#valid(this.#byCredential.get(credential), remoteAddress);
  }

  #valid(known: Known | undefined, remoteAddress: string): TokenEntry | undefined {
    if (known === undefined) return undefined;
    const { entry, allowed } = known;
    const { expiresMs } = entry;
    if (expiresMs !== undefined && this.#clock.wallMs() >= expiresMs) return undefined;
    return allowed?.has(plainAddress(remoteAddress)) === false ? undefined : entry;
  }
}

/** The name of the entry that a credential is of; empty for the shared token's. */
export function ownerOf(credential: string): string {
  return credential.split('#', 1)[0] ?? '';
}

function credentialOf(name: string, digest: string): string {
  return `${name}#${digest.slice(0, MARK_LENGTH)}`;
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
