// A folder on disk, and what may be had of it.
//
//   names --open--> descriptor --where is it?--> within the folder, not hidden: a file or a folder
//     ^---------------------- another one is there, a few times
//
// Invariant: what is given lies within the folder once links are followed, and it is looked at
// after it was opened, so that nothing can be put in its place in between; it is a file or a
// folder, never a pipe or a device; names that begin with a dot, also behind a link, are not there
// unless they are served. The folder may itself be a link that is changed. Must not know: HTTP.

import { type BigIntStats, constants } from 'node:fs';
import { type FileHandle, lstat, open, opendir, realpath, stat } from 'node:fs/promises';
import path from 'node:path';

/** Entries shown of one folder. Guess: more is no page that anybody reads. */
export const LISTED_MAX = 5000;
/** Asked of the file system at once. */
const BATCH = 64;
/** Open to all (RFC 8615), though it begins with a dot. */
const WELL_KNOWN = '.well-known';
const NANOSECONDS = 1_000_000n;
/** A pipe without a writer would hold up who opens it. */
const READING = constants.O_RDONLY | constants.O_NONBLOCK;
/** Whoever publishes a file renames it over the old one, maybe between two looks. Guess:
 * nobody does so five times in a row. */
const TRIES_MAX = 5;

export interface FoundFile {
  readonly kind: 'file';
  /** To be closed by whoever asked. */
  readonly handle: FileHandle;
  readonly size: number;
  readonly modifiedMs: number;
  /** Another one when its content has changed, as far as that can be known. */
  readonly version: string;
}

export interface FoundFolder {
  readonly kind: 'folder';
  readonly path: string;
}

export interface Entry {
  readonly name: string;
  readonly kind: 'file' | 'folder';
  readonly size: number;
  readonly modifiedMs: number;
}

export interface Listing {
  readonly entries: readonly Entry[];
  /** There are more. */
  readonly isCut: boolean;
}

type Place = 'within' | 'outside' | 'replaced';
type Opened = FoundFile | FoundFolder | 'replaced' | undefined;

export class Folder {
  readonly #path: string;
  readonly #showsHidden: boolean;

  constructor(folder: string, showsHidden: boolean) {
    this.#path = folder;
    this.#showsHidden = showsHidden;
  }

  /** Undefined: there is nothing, or nothing that may be had. Rejects for what else fails. */
  async open(names: readonly string[]): Promise<FoundFile | FoundFolder | undefined> {
    if (!this.#isShown(names)) return undefined;
    for (let tries = 0; tries < TRIES_MAX; tries += 1) {
      const found = await this.#openOnce(names);
      if (found !== 'replaced') return found;
    }
    const reason = 'replaced each time that it was opened';
    throw Object.assign(new Error(`EBUSY: ${reason}`), { code: 'EBUSY' });
  }

  async #openOnce(names: readonly string[]): Promise<Opened> {
    const root = await realpath(this.#path);
    const wanted = path.join(root, ...names);
    // Opening a device may already do something.
    const { kind } = kindOf(await stat(wanted, { bigint: true }));
    if (kind === 'other') return undefined;
    if (kind === 'folder') return await this.#folderAt(root, wanted);
    const handle = await open(wanted, READING);
    try {
      const held = await handle.stat({ bigint: true });
      const place = held.isFile() ? await this.#placeOf(root, wanted, held) : 'outside';
      if (place === 'within') return { handle, ...describe(held) };
      await handle.close();
      return place === 'replaced' ? place : undefined;
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** What is in it, in no order. Undefined: it is another one meanwhile. */
  async list({ path: folder }: FoundFolder): Promise<Listing | undefined> {
    const root = await realpath(this.#path);
    const names: string[] = [];
    for await (const { name } of await opendir(folder)) {
      if (names.length > LISTED_MAX) break;
      // What is not UTF-8 could not be asked for.
      if (this.#isShown([name]) && !name.includes('\ufffd')) names.push(name);
    }
    const entries: Entry[] = [];
    for (let at = 0; at < Math.min(names.length, LISTED_MAX); at += BATCH) {
      const batch = names.slice(at, Math.min(at + BATCH, LISTED_MAX));
      const looks = batch.map((name) => this.#look(root, folder, name));
      entries.push(...(await Promise.all(looks)).filter((entry) => entry !== undefined));
    }
    if ((await this.#folderAt(root, folder))?.path !== folder) return undefined;
    return { entries, isCut: names.length > LISTED_MAX };
  }

  async #folderAt(root: string, wanted: string): Promise<FoundFolder | undefined> {
    const real = await realpath(wanted);
    const found = await lstat(real);
    return found.isDirectory() && this.#mayHave(root, real)
      ? { kind: 'folder', path: real }
      : undefined;
  }

  async #look(root: string, folder: string, name: string): Promise<Entry | undefined> {
    const place = path.join(folder, name);
    try {
      const found = await lstat(place, { bigint: true });
      const seen = found.isSymbolicLink() ? await this.#follow(root, place) : found;
      if (seen === undefined) return undefined;
      const { kind } = kindOf(seen);
      if (kind === 'other') return undefined;
      return { name, kind, size: Number(seen.size), modifiedMs: modifiedMsOf(seen) };
    } catch {
      // It has gone, or leads nowhere.
      return undefined;
    }
  }

  async #follow(root: string, place: string): Promise<BigIntStats | undefined> {
    const real = await realpath(place);
    return this.#mayHave(root, real) ? await lstat(real, { bigint: true }) : undefined;
  }

  /** Where is what was opened at `wanted`? When another one is there now, nobody can know. */
  async #placeOf(root: string, wanted: string, held: BigIntStats): Promise<Place> {
    const real = await realpath(wanted);
    if (!this.#mayHave(root, real)) return 'outside';
    const { dev, ino } = await lstat(real, { bigint: true });
    return dev === held.dev && ino === held.ino ? 'within' : 'replaced';
  }

  #mayHave(root: string, real: string): boolean {
    if (real === root) return true;
    const below = root.endsWith(path.sep) ? root : `${root}${path.sep}`;
    return real.startsWith(below) && this.#isShown(real.slice(below.length).split(path.sep));
  }

  #isShown(names: readonly string[]): boolean {
    if (this.#showsHidden) return true;
    return names.every((name, depth) => {
      const isKnown = depth === 0 && name === WELL_KNOWN;
      return isKnown || !name.startsWith('.');
    });
  }
}

function kindOf(found: BigIntStats): { readonly kind: 'file' | 'folder' | 'other' } {
  if (found.isFile()) return { kind: 'file' };
  return { kind: found.isDirectory() ? 'folder' : 'other' };
}

function describe(held: BigIntStats): Omit<FoundFile, 'handle'> {
  const version = `${held.ino.toString(36)}-${held.size.toString(36)}-${held.mtimeNs.toString(36)}`;
  return { kind: 'file', size: Number(held.size), modifiedMs: modifiedMsOf(held), version };
}

function modifiedMsOf({ mtimeNs }: BigIntStats): number {
  return Number(mtimeNs / NANOSECONDS);
}
