// Locks between processes that share a folder, so that one of them orders a certificate, or changes
// the tokens.
//
//   acquireLock   for what takes less than LOCK_MS
//   holdLock      for what may take longer: renewed until it is released, or for HOLD_MS_MAX
//
// Invariant: a lock file is there whole or not at all, names its holder, and counts for nothing
// once that process is gone or LOCK_MS have passed; of several who find it so one gets it, and who
// had it leaves it alone. Must not know: what is locked.

import { randomBytes } from 'node:crypto';
import { link, rename, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import type { Clock, Timer } from '../base/clock.ts';
import { createFile, readIfThere, replaceFile } from '../base/durable-file.ts';

/** Above almost every order, below what anybody would wait for a dead neighbour. Guess. */
export const LOCK_MS = 15 * 60_000;
/** Several can fail before anybody may take the lock. */
export const RENEW_MS = LOCK_MS / 5;
/** What takes longer hangs, and is not waited for by others. Guess. */
export const HOLD_MS_MAX = 8 * LOCK_MS;

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
  const holder = await acquire(path, wallMs);
  return holder && (() => release(path, holder));
}

/** The same, for as long as it takes. */
export async function holdLock(path: string, clock: Clock): Promise<Release | undefined> {
  const holder = await acquire(path, clock.wallMs());
  if (holder === undefined) return undefined;
  const renewals = new Renewals(path, holder, clock);
  return async () => {
    await renewals.stop();
    await release(path, renewals.holder);
  };
}

class Renewals {
  holder: Holder;
  readonly #path: string;
  readonly #clock: Clock;
  readonly #endMs: number;
  /** Undefined: there is none any more. */
  #timer: Timer | undefined;
  #last: Promise<void> = Promise.resolve();

  constructor(path: string, holder: Holder, clock: Clock) {
    this.#path = path;
    this.holder = holder;
    this.#clock = clock;
    this.#endMs = clock.nowMs() + HOLD_MS_MAX;
    this.#plan();
  }

  /** Resolves when nothing more is written. */
  stop(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    return this.#last;
  }

  #plan(): void {
    this.#timer = this.#clock.after(RENEW_MS, () => {
      if (this.#clock.nowMs() >= this.#endMs) return;
      this.#plan();
      // One after another, however slow the folder is. A full disk may have room the next time.
      this.#last = this.#last.then(() => this.#renew()).catch(() => {});
    });
  }

  async #renew(): Promise<void> {
    const sinceMs = this.#clock.wallMs();
    // After a sleep of this machine it may be anybody's at any moment.
    const isOurs = isYoung(this.holder, sinceMs) && (await isHeld(this.#path, this.holder));
    if (!isOurs || this.#timer === undefined) return;
    const next = { ...this.holder, sinceMs };
    await replaceFile(this.#path, JSON.stringify(next));
    this.holder = next;
  }
}

/** Undefined: somebody else has it. */
async function acquire(path: string, wallMs: number): Promise<Holder | undefined> {
  const id = randomBytes(8).toString('hex');
  const holder: Holder = { host: hostname(), pid: process.pid, id, sinceMs: wallMs };
  const text = JSON.stringify(holder);
  held.add(id);
  try {
    const isOurs =
      (await createFile(path, text)) ||
      ((await removeStale(path, wallMs)) && (await createFile(path, text)));
    if (isOurs) return holder;
  } catch (error) {
    held.delete(id);
    throw error;
  }
  held.delete(id);
  return undefined;
}

async function release(path: string, holder: Holder): Promise<void> {
  held.delete(holder.id);
  // Unless it took too long, and the lock is another's now.
  if (await isHeld(path, holder)) await rm(path, { force: true });
}

async function isHeld(path: string, holder: Holder): Promise<boolean> {
  return (await readIfThere(path)) === JSON.stringify(holder);
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
  if (!isYoung(holder, wallMs)) return true;
  if (holder.host !== hostname()) return false;
  return holder.pid === process.pid ? !held.has(holder.id) : !isAlive(holder.pid);
}

/** From the far future: a clock was set back, and its age says nothing. */
function isYoung({ sinceMs }: Holder, wallMs: number): boolean {
  return Math.abs(wallMs - sinceMs) <= LOCK_MS;
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
