// Certificates that operators keep in files of their own, read again when the files change.
//
// Invariant: a change that cannot be used leaves the old pair in place and is logged once. Must
// not know: who is served.

import { readFile } from 'node:fs/promises';
import type { Clock } from '../base/clock.ts';
import { ConfigError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { CertificateFiles as Entry } from '../config/config.ts';
import { type CheckedPair, checkPair, isForName } from './certificate-pair.ts';
import { FileWatch } from './file-watch.ts';

export interface CertificateFilesOptions {
  readonly entries: readonly Entry[];
  readonly onPair: (pair: CheckedPair) => void;
  /** Counts changes by how they ended, `ok` and `failed`. */
  readonly reloads: Map<string, number>;
  readonly clock: Clock;
  readonly log: Logger;
}

export class CertificateFiles {
  readonly #options: CertificateFilesOptions;
  /** What was last seen, by name: key and certificate in one text. */
  readonly #seen = new Map<string, string>();
  readonly #watch: FileWatch;
  /** Reloads come one after the other. */
  #reloading: Promise<void> = Promise.resolve();

  constructor(options: CertificateFilesOptions) {
    this.#options = options;
    const { entries, clock } = options;
    const paths = entries.flatMap(({ cert, key }) => [cert, key]);
    this.#watch = new FileWatch({ paths, clock });
  }

  /** Throws a ConfigError when one cannot be used. */
  async load(): Promise<void> {
    await this.#watch.mark();
    for (const entry of this.#options.entries) {
      try {
        await this.#read(entry);
      } catch (cause) {
        const reason = cause instanceof Error ? cause.message : String(cause);
        throw new ConfigError([`--https-cert "${entry.name}": ${reason}`], { cause });
      }
    }
  }

  /** Follows the files, as they were when they were loaded, until `close`. */
  watch(): Promise<void> {
    return this.#watch.start(() => void this.reload());
  }

  close(): void {
    this.#watch.close();
  }

  /** Looks at all files now. */
  reload(): Promise<void> {
    this.#reloading = this.#reloading.then(() => this.#reload());
    return this.#reloading;
  }

  async #reload(): Promise<void> {
    for (const entry of this.#options.entries) {
      try {
        if (await this.#read(entry)) this.#count('ok');
      } catch (error) {
        this.#complain(entry, error);
      }
    }
  }

  #count(result: 'ok' | 'failed'): void {
    const { reloads } = this.#options;
    reloads.set(result, (reloads.get(result) ?? 0) + 1);
  }

  /** False: nothing new. */
  async #read(entry: Entry): Promise<boolean> {
    const { name } = entry;
    const [cert, key] = await Promise.all([
      readFile(entry.cert, 'utf8'),
      readFile(entry.key, 'utf8'),
    ]);
    const text = `${key}\n${cert}`;
    if (text === this.#seen.get(name)) return false;
    // Also what cannot be used: it is complained of once.
    this.#seen.set(name, text);
    const pair = checkPair({ name, cert, key });
    if (!isForName(cert, name)) {
      this.#options.log.warn({ name, file: entry.cert }, 'the certificate is for other names');
    }
    this.#options.onPair(pair);
    return true;
  }

  #complain({ name, cert }: Entry, error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    const mark = `failed: ${reason}`;
    // A file that is missing has no content to remember: its error stands for it.
    if (this.#seen.get(name) === mark) return;
    if (error instanceof Error && 'code' in error) this.#seen.set(name, mark);
    this.#count('failed');
    const hint = 'the old certificate stays; put matching files in place';
    this.#options.log.error({ name, file: cert, reason, hint }, 'certificate cannot be read again');
  }
}
