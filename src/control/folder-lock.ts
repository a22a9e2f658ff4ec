// Locks between processes that share a folder, so that one of them orders a certificate, or changes
// the tokens.
//
// Invariant: a lock file is there whole or not at all, names its holder, and counts for nothing
// once that process is gone or LOCK_MS have passed; of several who find it so one gets it. Must
// not know: what is locked.

import { randomBytes } from 'node:crypto';
import { link, rename, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { createFile, readIfThere } from '../base/durable-file.ts';

/** Above the longest order, below what anybody would wait for a dead neighbour. Guess. */
export const LOCK_MS = 15 * 60_000;

export type Release = () => Promise<void>;

interface Holder {
  readonly host: string;
  readonly pid: number;
  readonly id: string;
  readonly sinceMs: number;
}

/** Held by this process: a lock with our pid and none of these is of a life before. */
const held = new Set<string>();

/** Undefined: somebody else has it. */
export async function acquireLock(path: string, wallMs: number): Promise<Release | undefined> {
  const id = randomBytes(8).toString('hex');
  const holder: Holder = { host: hostname(), pid: process.pid, id, sinceMs: wallMs };
  const text = JSON.stringify(holder);
  held.add(id);
  try {
    const isOurs =
      (await createFile(path, text)) ||
      ((await removeStale(path, wallMs)) && (await createFile(path, text)));
    if (isOurs) return () => release(path, text, id);
  } catch (error) {
    held.delete(id);
    throw error;
  }
  held.delete(id);
  return undefined;
}

async function release(path: string, text: string, id: string): Promise<void> {
  held.delete(id);
  // Unless it took too long, and the lock is another's now.
  if ((await readIfThere(path)) === text) await rm(path, { force: true });
}

/** False: the lock counts. */
async function removeStale(path: string, wallMs: number): Promise<boolean> {
  const text = await readIfThere(path);
  if (text === undefined) return true;
  if (!isStale(text, wallMs)) return false;
  // Renamed first: of two who saw the stale lock only one finds it there. A lock that came in
  // between is put back.
  const aside = `${path}.${randomBytes(6).toString('hex')}.stale`;
  try {
    await rename(path, aside);
  } catch (error) {
    if (errorCodeOf(error) === 'ENOENT') return true;
    throw error;
  }
  const isSame = (await readIfThere(aside)) === text;
  if (!isSame) {
    await link(aside, path).catch(() => {
      // A third one has made a lock meanwhile; two orders are the worst that can follow.
    });
  }
  await rm(aside, { force: true });
  return isSame;
}

function isStale(text: string, wallMs: number): boolean {
  const holder = readHolder(text);
  if (holder === undefined) return true;
  const ageMs = wallMs - holder.sinceMs;
  // From the future: a clock was set back, and its age says nothing.
  if (ageMs > LOCK_MS || ageMs < -LOCK_MS) return true;
  if (holder.host !== hostname()) return false;
  return holder.pid === process.pid ? !held.has(holder.id) : !isAlive(holder.pid);
}

function readHolder(text: string): Holder | undefined {
  try {
    const { host, pid, id, sinceMs } = JSON.parse(text) as Partial<Holder>;
    if (typeof host !== 'string' || typeof id !== 'string') return undefined;
    return Number.isSafeInteger(pid) && Number.isFinite(sinceMs)
      ? { host, pid: Number(pid), id, sinceMs: Number(sinceMs) }
      : undefined;
  } catch {
    // Not written by us: files of ours are whole.
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errorCodeOf(error) !== 'ESRCH';
  }
}

/** `ENOENT` and the like; '' when there is none. */
export function errorCodeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}
