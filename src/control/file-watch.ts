// Notices that files have changed, however they were changed.
//
//   new --mark, and their owner reads them--> marked --start--> whatever differs is told
//
// Invariant: what changed since the mark is told, even before the start; a change is told within a
// poll even where the system tells of none (network file systems, exhausted watches), and once for
// changes that follow each other closely: a certificate and its key are two files. Links are
// followed, and their folders watched, as Kubernetes swaps a link to a folder. Must not know: what
// is in the files.

import { type FSWatcher, promises as fs, watch } from 'node:fs';
import { dirname } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Clock, Timer } from '../base/clock.ts';

/** Unless told otherwise. Guess: for those who wait for the exchange of a certificate. */
const POLL_MS = 10_000;
/** After the system has told of a change. Guess: longer than it takes to copy two files. */
const SETTLE_MS = 500;

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
  #state: 'new' | 'idle' | 'polling' | 'settling' | 'closed' = 'new';

  constructor(options: FileWatchOptions) {
    this.#options = options;
  }

  isOf(paths: readonly string[]): boolean {
    return isDeepStrictEqual(this.#options.paths, paths);
  }

  /** Remembers the files as they are now, before they are read: what differs later is a change. */
  async mark(): Promise<void> {
    this.#seen = await this.#look();
  }

  /** Tells of changes from now on, also of those since the mark. Once; later it does nothing. */
  async start(onChange: () => void): Promise<void> {
    const { paths } = this.#options;
    if (this.#state !== 'new' || paths.length === 0) return;
    this.#onChange = onChange;
    this.#state = 'idle';
    for (const folder of new Set(paths.map(dirname))) this.#watchFolder(folder);
    await this.#check();
  }

  close(): void {
    this.#state = 'closed';
    this.#timer?.cancel();
    for (const watcher of this.#watchers) watcher.close();
  }

  #watchFolder(folder: string): void {
    try {
      const watcher = watch(folder, { persistent: false }, () => this.#lookSoon());
      watcher.on('error', () => watcher.close());
      this.#watchers.push(watcher);
    } catch {
      // No watch to be had: polling finds changes too, only later.
    }
  }

  /** Other files of a busy folder do not put it off: the first event counts. */
  #lookSoon(): void {
    if (this.#state === 'closed' || this.#state === 'settling') return;
    this.#lookAfter('settling', SETTLE_MS);
  }

  #pollLater(): void {
    // An event that came meanwhile has its own timer.
    if (this.#state === 'idle') this.#lookAfter('polling', this.#options.pollMs ?? POLL_MS);
  }

  #lookAfter(state: 'polling' | 'settling', delayMs: number): void {
    this.#timer?.cancel();
    this.#state = state;
    this.#timer = this.#options.clock.after(delayMs, () => {
      this.#state = 'idle';
      void this.#check();
    });
  }

  async #check(): Promise<void> {
    const found = await this.#look();
    if (this.#state === 'closed') return;
    const isChanged = found !== this.#seen;
    this.#seen = found;
    this.#pollLater();
    if (isChanged) this.#onChange();
  }

  async #look(): Promise<string> {
    const marks = this.#options.paths.map(async (path) => {
      const found = await fs.stat(path).catch(() => undefined);
      if (found === undefined) return 'none';
      return [found.dev, found.ino, found.size, found.mtimeMs, found.ctimeMs].join(' ');
    });
    return (await Promise.all(marks)).join('\n');
  }
}
