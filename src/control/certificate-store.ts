// The folder of --auto-tls-dir: the private CA and the leaf, each with its key in one file.
//
// Invariant: a key and its certificate are in one file that is replaced as a whole, so a pair that
// loads belongs together; of several processes that start at once one makes the CA and all use
// it; a file that is broken is set aside and never overwritten, one that cannot be read is an
// error and never "none". Must not know: when a leaf is due, or who serves with it.

import { createPrivateKey, X509Certificate } from 'node:crypto';
import { promises as fs } from 'node:fs';
import { join } from 'node:path';
import {
  createFile,
  linkInto,
  readIfThere,
  replaceFile,
  sweepTemporaries,
} from '../base/durable-file.ts';
import type { Logger } from '../base/log.ts';
import { makeFolder } from '../base/make-folder.ts';
import { pemBlocks } from '../base/pem.ts';
import type { KeyPair } from './private-ca.ts';

const FOLDER_MODE = 0o700;
/** Others may neither read a key nor put a CA of theirs in its place. */
const OTHERS = 0o077;
const OTHERS_WRITE = 0o022;
const CA_FILE = 'ca.pem';
const LEAF_FILE = 'leaf.pem';
/** A copy without the key, to be given to people and programs. */
const CA_COPY = 'ca.crt';

export class CertificateStore {
  readonly #folder: string;
  readonly #log: Logger;

  constructor(folder: string, log: Logger) {
    this.#folder = folder;
    this.#log = log;
  }

  /** Makes the folder and clears what killed processes left in it. */
  async prepare(wallMs: number): Promise<void> {
    await makeFolder(this.#folder, FOLDER_MODE);
    const { mode } = await fs.stat(this.#folder);
    if ((mode & OTHERS_WRITE) !== 0) {
      this.#log.warn({ folder: this.#folder }, 'others may write to the folder of --auto-tls-dir');
    }
    await sweepTemporaries(this.#folder, wallMs);
  }

  /** The CA that is there, or the one that `make` gives, kept. */
  async authority(wallMs: number, make: () => Promise<KeyPair>): Promise<KeyPair> {
    const path = this.#path(CA_FILE);
    const isSound = (text: string): boolean => readAuthority(text, wallMs) !== undefined;
    const text = await readIfThere(path);
    if (text !== undefined && !isSound(text)) await this.#setAside(path, isSound);
    const found = text === undefined ? undefined : readAuthority(text, wallMs);
    if (found !== undefined) {
      await this.#closeToOthers(path);
      return found;
    }
    await createFile(path, bundle(await make()));
    // Another process may have been faster: its CA counts.
    const kept = readAuthority((await readIfThere(path)) ?? '', wallMs);
    if (kept === undefined) throw new Error(`${path} is broken as soon as it was written`);
    await replaceFile(this.#path(CA_COPY), kept.cert);
    return kept;
  }

  /** The leaf that is there and was signed by `authority`. */
  async leaf(authority: KeyPair): Promise<KeyPair | undefined> {
    const path = this.#path(LEAF_FILE);
    const text = await readIfThere(path);
    if (text === undefined) return undefined;
    const pair = readPair(text);
    if (pair === undefined) {
      await this.#setAside(path, (moved) => readPair(moved) !== undefined);
      return undefined;
    }
    await this.#closeToOthers(path);
    const ca = new X509Certificate(authority.cert);
    const certificate = new X509Certificate(pair.cert);
    return certificate.checkIssued(ca) && certificate.verify(ca.publicKey) ? pair : undefined;
  }

  async saveLeaf(pair: KeyPair): Promise<void> {
    await replaceFile(this.#path(LEAF_FILE), bundle(pair));
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }

  /** Moves a broken file away; `isSound` tells of one that another process put there meanwhile. */
  async #setAside(path: string, isSound: (text: string) => boolean): Promise<void> {
    const { mtimeMs } = await fs.stat(path);
    const aside = `${path}.broken-${Math.round(mtimeMs)}`;
    await fs.rename(path, aside);
    if (isSound((await readIfThere(aside)) ?? '')) {
      await linkInto(aside, path);
      await fs.rm(aside);
      return;
    }
    this.#log.warn({ path, aside }, 'broken or expired: set aside and replaced');
  }

  async #closeToOthers(path: string): Promise<void> {
    const { mode } = await fs.stat(path);
    if ((mode & OTHERS) === 0) return;
    this.#log.warn({ path }, 'others could read a private key; only the owner may now');
    await fs.chmod(path, 0o600);
  }
}

function bundle({ cert, key }: KeyPair): string {
  return `${key}${cert}`;
}

/** Key and certificate of one file; undefined unless both are whole and belong together. */
function readPair(text: string): KeyPair | undefined {
  const blocks = new Map<string, string>();
  for (const block of pemBlocks(text)) blocks.set(block.label, `${block.text}\n`);
  const cert = blocks.get('CERTIFICATE');
  const key = blocks.get('PRIVATE KEY');
  if (cert === undefined || key === undefined) return undefined;
  try {
    const isPair = new X509Certificate(cert).checkPrivateKey(createPrivateKey(key));
    return isPair ? { cert, key } : undefined;
  } catch {
    // PEM around what is neither key nor certificate: broken.
    return undefined;
  }
}

function readAuthority(text: string, wallMs: number): KeyPair | undefined {
  const pair = readPair(text);
  if (pair === undefined) return undefined;
  const certificate = new X509Certificate(pair.cert);
  const isOwn = certificate.ca && certificate.verify(certificate.publicKey);
  return isOwn && wallMs < certificate.validToDate.getTime() ? pair : undefined;
}
