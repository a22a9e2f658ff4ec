// Notices that files have changed, however they were changed.
//
//   new --mark, start--> looking --nothing new--> idle --a poll, an event--> looking
//   looking --not as the look before--> settling --a pause--> looking
//   looking --as the look before, or after many looks--> told where it differs; idle
//
// Invariant: what changed since the mark is told, even before the start; a change is seen within a
// poll even where the system tells of none (network file systems, exhausted watches), and told
// when two looks agree: what is written in pieces is one change, and so are a certificate and its
// key. Links are followed, and their folders watched, as Kubernetes swaps a link to a folder. Must
// not know: what is in the files.

import { type FSWatcher, promises as fs, watch } from 'node:fs';
import { dirname } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Clock, Timer } from '../base/clock.ts';

/** Unless told otherwise: with the look that must agree it is the promise, ten seconds. Guess. */
const POLL_MS = 9000;
/** Between two looks that must agree. Guess: longer than a copy pauses, or takes for two files. */
const SETTLE_MS = 500;
/** Then a file that never rests is told as it is: 10 s, in which 1 MiB comes at 1 Mbit/s. Guess. */
const LOOKS_MAX = 20;

export interface FileWatchOptions {
  readonly paths: readonly string[];
  /** Between looks where the system tells of no change. */
  readonly pollMs?: number;
  readonly clock: Clock;
}

export class FileWatch {
  readonly #options: FileWatchOptions;
  readonly #watchers: FSWatcher[] = [];
  #seen = '';
  #timer: Timer | undefined;
  #onChange: () => void = () => {};
  /** `overtaken`: as `looking`, and what is being looked at may have changed again. */
  #state: 'new' | 'idle' | 'looking' | 'overtaken' | 'settling' | 'closed' = 'new';

  constructor(options: FileWatchOptions) {
    this.#options = options;
  }

  isOf(paths: readonly string[]): boolean {
    return isDeepStrictEqual(this.#options.paths, paths);
  }

  /** Remembers the files as they are now, before they are read: what differs later is a change. */
  async mark(): Promise<void> {
    this.#seen = await marksOf(this.#options.paths);
  }

  /** Tells of changes from now on, also of those since the mark. Once; later it does nothing. */
  async start(onChange: () => void): Promise<void> {
    const { paths } = this.#options;
    if (this.#state !== 'new' || paths.length === 0) return;
    this.#onChange = onChange;
    for (const folder of new Set(paths.map(dirname))) this.#watchFolder(folder);
    await this.#look(this.#seen);
  }

  close(): void {
    this.#state = 'closed';
    this.#timer?.cancel();
    for (const watcher of this.#watchers) watcher.close();
  }

  #watchFolder(folder: string): void {
    try {
      const watcher = watch(folder, { persistent: false }, () => this.#onEvent());
      watcher.on('error', () => watcher.close());
      this.#watchers.push(watcher);
    } catch {
      // No watch to be had: polling finds changes too, only later.
    }
  }

  /** Of any file of the folder: one that is busy with others puts nothing off. */
  #onEvent(): void {
    if (this.#state === 'looking') this.#state = 'overtaken';
    if (this.#state !== 'idle') return;
    this.#timer?.cancel();
    void this.#look();
  }

  /** `before` is what the look before has found; without one, another must follow. */
  async #look(before?: string, count = 1): Promise<void> {
    this.#turn('looking');
    const found = await marksOf(this.#options.paths);
    if (this.#state === 'closed') return;
    if (found !== before && count < LOOKS_MAX) {
      this.#lookAfter('settling', SETTLE_MS, () => this.#look(found, count + 1));
      return;
    }
    const isChanged = found !== this.#seen;
    this.#seen = found;
    if (this.#state === 'overtaken') void this.#look();
    else this.#lookAfter('idle', this.#options.pollMs ?? POLL_MS, () => this.#look(found));
    if (isChanged) this.#onChange();
  }

  #lookAfter(state: 'idle' | 'settling', delayMs: number, look: () => Promise<void>): void {
    this.#turn(state);
    this.#timer = this.#options.clock.after(delayMs, () => void look());
  }

  #turn(state: 'idle' | 'looking' | 'settling'): void {
    this.#state = state;
  }
}

/** What a file is known by, one line each: a look. */
async function marksOf(paths: readonly string[]): Promise<string> {
  const marks = paths.map(async (path) => {
    const found = await fs.stat(path).catch(() => undefined);
    if (found === undefined) return 'none';
    return [found.dev, found.ino, found.size, found.mtimeMs, found.ctimeMs].join(' ');
  });
  return (await Promise.all(marks)).join('\n');
}
