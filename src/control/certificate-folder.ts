// The folder of an issuer's account and certificates.
//
//   DIR/HOST-HASH/account.pem         the account's key
//                /example.com.pem     key and chain, in one file, so that they always match
//                /example.com.orders  when orders were made, so that restarts count too
//                /example.com.lock    who orders now
//
// Invariant: a file is replaced whole (base/durable-file.ts); one that cannot be read as what it
// should be is set aside as `.broken` and never served; none is removed while its certificate is of
// use to anybody. Errors are SLW_CERTIFICATE_STORE. Must not know: how certificates are ordered or
// served.

import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { readdir, rename, rm, stat } from 'node:fs/promises';
import { join, parse } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { createFile, readIfThere, replaceFile, sweepTemporaries } from '../base/durable-file.ts';
import { SluicewayError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { makeFolder } from '../base/make-folder.ts';
import { type CheckedPair, checkPair, isForName } from './certificate-pair.ts';
import { errorCodeOf, holdLock, type Release } from './folder-lock.ts';

const FOLDER_MODE = 0o700;
/** Order times kept for a name: more than any budget asks for. */
const ORDER_TIMES_MAX = 32;
const ACCOUNT = 'account.pem';
/** Files of a name, but for those that were set aside. */
const EXTENSIONS: ReadonlySet<string> = new Set(['.pem', '.orders', '.lock']);
/** After a certificate's end. Guess: no issuer and no client is away for a month to come back. */
export const KEPT_AFTER_END_MS = 30 * 86_400_000;
/** Names in one sweep, for orders wait meanwhile; more than clients may add between two. */
const SWEPT_MAX = 200;
/** The key stands first, as `save` writes it. */
const CHAIN_BEGIN = '-----BEGIN CERTIFICATE-----';

export interface FolderOptions {
  readonly dir: string;
  /** Each issuer has a folder of its own: a staging certificate is never served for a real one. */
  readonly issuer: string;
  readonly clock: Clock;
  readonly log: Logger;
}

export class CertificateFolder {
  readonly path: string;
  readonly #clock: Clock;
  readonly #log: Logger;

  constructor({ dir, issuer, clock, log }: FolderOptions) {
    const hash = createHash('sha256').update(issuer).digest('hex').slice(0, 8);
    this.path = join(dir, `${new URL(issuer).hostname}-${hash}`);
    this.#clock = clock;
    this.#log = log;
  }

  /** Makes the folder, and removes what killed writers left. */
  prepare(): Promise<void> {
    return this.#guard(async () => {
      await makeFolder(this.path, FOLDER_MODE);
      await sweepTemporaries(this.path, this.#clock.wallMs());
    });
  }

  /** Undefined: there is none, or it was broken. */
  load(name: string): Promise<CheckedPair | undefined> {
    return this.#read(`${fileName(name)}.pem`, (text) => {
      const begin = Math.max(0, text.indexOf(CHAIN_BEGIN));
      return checkPair({ name, key: text.slice(0, begin), cert: text.slice(begin) });
    });
  }

  save({ name, cert, key }: CheckedPair): Promise<void> {
    const path = join(this.path, `${fileName(name)}.pem`);
    return this.#guard(() => replaceFile(path, `${key.trimEnd()}\n${cert.trimEnd()}\n`));
  }

  /** The account's key, PEM; made by `create` when there is none. */
  async accountKey(create: () => Promise<string>): Promise<string> {
    const known = await this.#readAccount();
    if (known !== undefined) return known;
    const key = await create();
    const isOurs = await this.#guard(() => createFile(join(this.path, ACCOUNT), key));
    // Another process was faster: one account for all.
    return isOurs ? key : ((await this.#readAccount()) ?? key);
  }

  #readAccount(): Promise<string | undefined> {
    return this.#read(ACCOUNT, (text) => {
      createPrivateKey(text);
      return text;
    });
  }

  /** When `name` was ordered, since `sinceMs`. */
  async ordersSince(name: string, sinceMs: number): Promise<readonly number[]> {
    const times = await this.#read(`${fileName(name)}.orders`, (text): number[] => {
      const list: unknown = JSON.parse(text);
      if (!Array.isArray(list)) throw new Error('no list of times');
      return list.filter((time): time is number => typeof time === 'number');
    });
    // A time from the future is of a clock that was set back: it must not block for ever.
    const nowMs = this.#clock.wallMs();
    return (times ?? []).filter((time) => time > sinceMs && time <= nowMs);
  }

  /** Before an order: it counts even if we do not live to see its end. */
  async noteOrder(name: string, earlier: readonly number[]): Promise<void> {
    const times = [...earlier, this.#clock.wallMs()].slice(-ORDER_TIMES_MAX);
    const path = join(this.path, `${fileName(name)}.orders`);
    await this.#guard(() => replaceFile(path, JSON.stringify(times)));
  }

  /** Undefined: another process orders this name now. Held for as long as the order takes. */
  lock(name: string): Promise<Release | undefined> {
    const path = join(this.path, `${fileName(name)}.lock`);
    return this.#guard(() => holdLock(path, this.#clock));
  }

  /**
   * Removes what is left of names that nobody here keeps, once it was not touched, and their
   * certificate has been over, for KEPT_AFTER_END_MS. Gives how many names these were.
   */
  async sweep(isKept: (name: string) => boolean): Promise<number> {
    let swept = 0;
    for (const name of await this.#names()) {
      if (swept >= SWEPT_MAX) break;
      if (isKept(name) || !(await this.#isOver(name))) continue;
      const release = await this.lock(name);
      // Another process orders it now.
      if (release === undefined) continue;
      try {
        // Or has just done so.
        if (!(await this.#isOver(name))) continue;
        await this.#remove(name);
        swept += 1;
      } finally {
        await this.#guard(release);
      }
    }
    return swept;
  }

  /** Of which there is any file. */
  async #names(): Promise<ReadonlySet<string>> {
    const names = new Set<string>();
    for (const file of await this.#guard(() => readdir(this.path))) {
      const { name: stem, ext } = parse(file);
      const isOfName = file !== ACCOUNT && !stem.startsWith('.') && EXTENSIONS.has(ext);
      if (isOfName) names.add(stem.replace(/^_/, '*'));
    }
    return names;
  }

  async #isOver(name: string): Promise<boolean> {
    const beforeMs = this.#clock.wallMs() - KEPT_AFTER_END_MS;
    const path = join(this.path, `${fileName(name)}.pem`);
    return this.#guard(async () => {
      if ((await changedMs(path)) > beforeMs) return false;
      if ((await changedMs(join(this.path, `${fileName(name)}.orders`))) > beforeMs) return false;
      const text = await readIfThere(path);
      return text === undefined || hasEndedFor(name, text, beforeMs);
    });
  }

  async #remove(name: string): Promise<void> {
    const stem = join(this.path, fileName(name));
    await this.#guard(() => rm(`${stem}.orders`, { force: true }));
    await this.#guard(() => rm(`${stem}.pem`, { force: true }));
  }

  async #read<T>(file: string, parse: (text: string) => T): Promise<T | undefined> {
    const path = join(this.path, file);
    const text = await this.#guard(() => readIfThere(path));
    if (text === undefined) return undefined;
    try {
      return parse(text);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#log.error({ file: path, reason }, 'a stored file is broken, set aside as .broken');
      await this.#guard(() => rename(path, `${path}.broken`));
      return undefined;
    }
  }

  async #guard<T>(run: () => Promise<T>): Promise<T> {
    try {
      return await run();
    } catch (cause) {
      const reason = errorCodeOf(cause) || String(cause);
      const detail = `${this.path}: ${REASONS[reason] ?? reason}`;
      throw new SluicewayError('SLW_CERTIFICATE_STORE', detail, { cause });
    }
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EROFS: 'the file system is read-only',
  EACCES: 'permission denied; give a folder that can be written with --letsencrypt-dir',
  EPERM: 'permission denied; give a folder that can be written with --letsencrypt-dir',
};

/** 0 when there is no such file. */
async function changedMs(path: string): Promise<number> {
  try {
    return (await stat(path)).mtimeMs;
  } catch (error) {
    if (errorCodeOf(error) === 'ENOENT') return 0;
    throw error;
  }
}

/** False for what we have not written: it is not ours to remove. */
function hasEndedFor(name: string, text: string, beforeMs: number): boolean {
  try {
    const cert = text.slice(Math.max(0, text.indexOf(CHAIN_BEGIN)));
    return isForName(cert, name) && new X509Certificate(cert).validToDate.getTime() <= beforeMs;
  } catch {
    // No certificate at all.
    return false;
  }
}

/** `*.example.com` as `_.example.com`: an underscore is in no name that is ordered. */
function fileName(name: string): string {
  return name.replace(/^\*/, '_');
}
