// The control port's automatic certificate: when a leaf is made, for which names, and renewed.
//
//   start: the stored leaf, if it is for the same names and not due --due, or other names--> a new
//   leaf of the same CA --> told to whoever serves
//
// Invariant: a leaf is renewed after two thirds of its life, by its own dates; while this runs its
// CA stays the same until its end, whatever becomes of the folder; what cannot be stored is served
// all the same and said; no timer is longer than an hour, so that a machine that slept or a clock
// that was set is noticed. Must not know: sockets, shards.

import { createHash, X509Certificate } from 'node:crypto';
import { hostname, networkInterfaces } from 'node:os';
import type { Clock, Timer } from '../base/clock.ts';
import { ConfigError } from '../base/errors.ts';
import { describeFileFailure } from '../base/file-failure.ts';
import type { Logger } from '../base/log.ts';
import { readHost } from '../base/target.ts';
import { CertificateStore } from './certificate-store.ts';
import type { KeyPair } from './private-ca.ts';

export interface AutoTlsOptions {
  readonly folder: string;
  /** Names and addresses that clients dial; empty: those of this machine. */
  readonly names: readonly string[];
  readonly clock: Clock;
  readonly log: Logger;
}

const HOUR_MS = 3_600_000;
const CHECK_EVERY_MS = HOUR_MS;
/** Between renewals at least: also when one failed. */
const RETRY_MS = HOUR_MS;
/** Guess: a machine with more is given its names by the operator. */
const FOUND_NAMES_MAX = 64;
/** Always in the leaf: for checks from the machine itself. */
const OWN_NAMES = ['localhost', '127.0.0.1', '::1'];

export class AutoTls {
  readonly #options: AutoTlsOptions;
  readonly #store: CertificateStore;
  #authority: KeyPair;
  #leaf: KeyPair;
  #names: readonly string[] = [];
  #timer: Timer | undefined;
  #onChange: (isRenewed: boolean) => void = () => {};
  #state: 'open' | 'closed' = 'open';

  private constructor(options: AutoTlsOptions, store: CertificateStore, authority: KeyPair) {
    this.#options = options;
    this.#store = store;
    this.#authority = authority;
    this.#leaf = { cert: '', key: '' };
  }

  /** Loads or makes CA and leaf. Rejects with a ConfigError when the folder cannot be used. */
  static async open(options: AutoTlsOptions): Promise<AutoTls> {
    const { folder, log, clock } = options;
    const store = new CertificateStore(folder, log);
    const nowMs = clock.wallMs();
    try {
      await store.prepare(nowMs);
      const authority = await store.authority(nowMs, () => newAuthority(nowMs));
      if (isEarly(authority, nowMs)) {
        const { validFrom } = new X509Certificate(authority.cert);
        // Not made anew: it is as likely that this clock is behind, and clients know this CA.
        log.warn({ folder, validFrom }, 'the CA is not valid yet: it was made by another clock');
      }
      const autoTls = new AutoTls(options, store, authority);
      await autoTls.#loadLeaf((error) => {
        throw error;
      });
      return autoTls;
    } catch (cause) {
      const error = cause as NodeJS.ErrnoException;
      // Of a file in it, the system's own words name it.
      const why = error.path === folder ? describeFileFailure(error) : error.message;
      const detail = `--auto-tls-dir ${folder}: ${why}`;
      throw new ConfigError([detail], { cause });
    }
  }

  get leaf(): KeyPair {
    return this.#leaf;
  }

  get names(): readonly string[] {
    return this.#names;
  }

  /** The CA's certificate, PEM. */
  get ca(): string {
    return this.#authority.cert;
  }

  /** Starts to renew; `onChange` is told of each new leaf, and of each failure. */
  watch(onChange: (isRenewed: boolean) => void): void {
    this.#onChange = onChange;
    this.#checkAfter(this.#untilDueMs());
  }

  close(): void {
    this.#state = 'closed';
    this.#timer?.cancel();
  }

  /**
   * A CA that is not at its end stays: another one would lock out all clients that know this. A
   * folder that lost it gets it back, and one that has another is used at the next start.
   */
  async #keepAuthority(): Promise<void> {
    const { clock, log, folder } = this.#options;
    const nowMs = clock.wallMs();
    const inUse = this.#authority;
    const isOver = nowMs >= endMs(inUse);
    const kept = await this.#store.authority(nowMs, async () => {
      if (isOver) return newAuthority(nowMs);
      log.warn({ folder }, 'the CA in use was not in its folder, and is put back');
      return inUse;
    });
    if (kept.cert === inUse.cert) return;
    const fingerprint = fingerprintOf(kept.cert);
    if (isOver) {
      this.#authority = kept;
      log.warn({ fingerprint }, 'the CA is at its end: another is in use');
    } else log.warn({ fingerprint, folder }, 'another CA is in the folder: used at the next start');
  }

  /** `onTrouble` is told what the store refused; what is in memory does for a while. */
  async #loadLeaf(onTrouble: (error: unknown) => void): Promise<void> {
    const { clock, names: given } = this.#options;
    const nowMs = clock.wallMs();
    this.#names = unique([...(given.length > 0 ? given : foundNames()), ...OWN_NAMES]);
    const stored = await this.#store.leaf(this.#authority).catch(onTrouble);
    if (typeof stored === 'object' && this.#isGood(stored, nowMs)) {
      this.#leaf = stored;
      return;
    }
    const { issueLeaf } = await import('./private-ca.ts');
    this.#leaf = await issueLeaf(this.#authority, this.#names, nowMs);
    await this.#store.saveLeaf(this.#leaf).catch(onTrouble);
  }

  #isGood(leaf: KeyPair, nowMs: number): boolean {
    const hasNames = String(namesOf(leaf)) === String(this.#names);
    return hasNames && this.#isInTime(leaf, nowMs);
  }

  #isInTime(leaf: KeyPair, nowMs: number): boolean {
    // Made while the clock was ahead, unless the CA says that it is behind now.
    const isAhead = isEarly(leaf, nowMs) && !isEarly(this.#authority, nowMs);
    return !isAhead && nowMs < dueMs(leaf);
  }

  #untilDueMs(): number {
    return dueMs(this.#leaf) - this.#options.clock.wallMs();
  }

  #checkAfter(delayMs: number): void {
    if (this.#state === 'closed') return;
    const boundedMs = Math.min(CHECK_EVERY_MS, Math.max(0, delayMs));
    this.#timer = this.#options.clock.after(boundedMs, () => void this.#check());
  }

  async #check(): Promise<void> {
    if (this.#isInTime(this.#leaf, this.#options.clock.wallMs())) {
      this.#checkAfter(this.#untilDueMs());
      return;
    }
    const { log } = this.#options;
    const before = this.#leaf;
    const onTrouble = (error: unknown): void => {
      log.error({ err: (error as Error).message }, 'certificate store failed');
      this.#onChange(false);
    };
    await this.#keepAuthority().catch(onTrouble);
    await this.#loadLeaf(onTrouble).catch(onTrouble);
    this.#checkAfter(Math.max(RETRY_MS, this.#untilDueMs()));
    if (this.#leaf === before || this.#state === 'closed') return;
    log.info({ notAfter: new X509Certificate(this.#leaf.cert).validTo }, 'certificate renewed');
    this.#onChange(true);
  }
}

/** How people compare CAs: SHA-256 of the certificate. */
export function fingerprintOf(cert: string): string {
  const { raw } = new X509Certificate(cert);
  return `sha256:${createHash('sha256').update(raw).digest('hex')}`;
}

/** Loaded when it is needed: most starts find what they need. */
async function newAuthority(nowMs: number): Promise<KeyPair> {
  const { makeAuthority } = await import('./private-ca.ts');
  return makeAuthority(nowMs);
}

function endMs({ cert }: KeyPair): number {
  return new X509Certificate(cert).validToDate.getTime();
}

function isEarly({ cert }: KeyPair, nowMs: number): boolean {
  return nowMs < new X509Certificate(cert).validFromDate.getTime();
}

function dueMs({ cert }: KeyPair): number {
  const { validFromDate, validToDate } = new X509Certificate(cert);
  const lifetimeMs = validToDate.getTime() - validFromDate.getTime();
  return validFromDate.getTime() + (lifetimeMs * 2) / 3;
}

function namesOf({ cert }: KeyPair): readonly string[] {
  const { subjectAltName = '' } = new X509Certificate(cert);
  return unique(subjectAltName.split(', ').map((name) => name.replace(/^(DNS|IP Address):/, '')));
}

/** The names of this machine: where clients may reach it unless something stands in front. */
function foundNames(): string[] {
  const addresses = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    // An address of one cable only; nobody can dial it without naming the cable.
    .filter(({ address }) => !/^(fe80:|169\.254\.)/i.test(address))
    .map(({ address }) => address);
  const own = readHost(hostname());
  return [...(own === undefined ? [] : [own]), ...addresses].slice(0, FOUND_NAMES_MAX);
}

/** Sorted, each once, IPv6 in its one short form. */
function unique(names: readonly string[]): string[] {
  const canonical = names.map((name) =>
    name.includes(':') ? new URL(`http://[${name}]`).hostname.slice(1, -1) : name,
  );
  return [...new Set(canonical)].sort();
}
