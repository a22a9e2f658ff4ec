// Files that are whole or absent, whatever ends the process while they are written.
//
//   write a temporary file beside it --fsync--> rename or link it into place --fsync the folder-->
//
// Invariant: a reader sees the old content or the new one, never a part of either; nobody but the
// owner may read what is written, unless the file that it replaces says otherwise and it is asked
// to be kept so. Must not know: what is in the files.

import { randomBytes } from 'node:crypto';
import { constants, promises as fs } from 'node:fs';
import { basename, dirname, join } from 'node:path';

const OWNER_ONLY = 0o600;
const MODE_BITS = 0o777;
const TEMPORARY = /\.[0-9a-f]{16}\.tmp$/;
/** A temporary file that is older was left by a process that was killed. Guess. */
const LEFT_BEHIND_MS = 3_600_000;

/** Puts `content` at `path`, in place of what is there. */
export async function replaceFile(path: string, content: string): Promise<void> {
  const temporary = await writeBeside(path, content);
  try {
    await fs.rename(temporary, path);
  } catch (error) {
    await fs.rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}

/** The same, for a file that others read: owner and mode stay what they were, if there was one. */
export async function rewriteFile(path: string, content: string): Promise<void> {
  const before = await fs.stat(path).catch(() => undefined);
  const temporary = await writeBeside(path, content);
  try {
    if (before !== undefined) {
      // First the owner: a change of it may take bits of the mode away.
      await fs.chown(temporary, before.uid, before.gid);
      await fs.chmod(temporary, before.mode & MODE_BITS);
    }
    await fs.rename(temporary, path);
  } catch (error) {
    await fs.rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}

/** Puts `content` at `path` unless there is something; false when there was, also by a race. */
export async function createFile(path: string, content: string): Promise<boolean> {
  const temporary = await writeBeside(path, content);
  try {
    return await linkInto(temporary, path);
  } finally {
    await fs.rm(temporary, { force: true });
    await syncFolder(dirname(path));
  }
}

/**
 * Puts the file `from` at `path` as well, unless there is something. Atomic with a hard link;
 * where the file system has none, a copy that a kill may leave in part.
 */
export async function linkInto(from: string, path: string): Promise<boolean> {
  try {
    await fs.link(from, path);
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'].includes(codeOf(error))) throw error;
  }
  try {
    await fs.copyFile(from, path, constants.COPYFILE_EXCL);
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw error;
  }
}

/** The content, or undefined when there is no such file. Throws for what cannot be read. */
export async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await fs.readFile(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Removes temporary files that killed processes left in `folder`. */
export async function sweepTemporaries(folder: string, wallMs: number): Promise<void> {
  for (const name of await fs.readdir(folder)) {
    if (!name.startsWith('.') || !TEMPORARY.test(name)) continue;
    const path = join(folder, name);
    const { mtimeMs } = await fs.stat(path).catch(() => ({ mtimeMs: wallMs }));
    if (wallMs - mtimeMs > LEFT_BEHIND_MS) await fs.rm(path, { force: true });
  }
}

async function writeBeside(path: string, content: string): Promise<string> {
  const name = `.${basename(path)}.${randomBytes(8).toString('hex')}.tmp`;
  const temporary = join(dirname(path), name);
  const file = await fs.open(temporary, 'wx', OWNER_ONLY);
  try {
    await file.writeFile(content);
    await file.sync();
  } catch (error) {
    await fs.rm(temporary, { force: true });
    throw error;
  } finally {
    await file.close();
  }
  return temporary;
}

/** So that the new name survives a power cut; the file itself is whole either way. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await fs.open(folder, 'r').catch(() => undefined);
  if (handle === undefined) return;
  try {
    await handle.sync();
  } catch {
    // Some file systems cannot sync a folder; there is no other way to ask them.
  } finally {
    await handle.close();
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? '';
}
