// Reads the whole configuration again, at SIGHUP and when one of its files has changed.
//
// Invariant: what cannot be read in full changes nothing; what cannot change without a restart is
// named once a reload; what is watched is what the running configuration was read from. Must not
// know: how options are merged, or what a new configuration does.

import { statSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { changedOptions, mergeLive, refuseEmptied } from '../config/changes.ts';
import type { ServerConfig, ServerReading } from '../config/config.ts';
import { refuseCut } from '../config/file-end.ts';
import { FileWatch } from './file-watch.ts';

/** Where a configuration comes from. */
export interface ConfigSource {
  /** What the server was started with. */
  readonly started: ServerReading;
  /** Flags, environment and files as they are now; throws a ConfigError. */
  readonly read: () => ServerReading;
}

export interface ConfigReloadOptions {
  readonly source: ConfigSource;
  readonly clock: Clock;
  readonly log: Logger;
  /** By result, for the metric. */
  readonly reloads: Map<string, number>;
  /** Takes over what can change. */
  readonly apply: (config: ServerConfig) => void;
}

export class ConfigReload {
  readonly #options: ConfigReloadOptions;
  #running: ServerReading;
  /** What was read last, as it was. */
  #latest: ServerReading;
  #watch: FileWatch | undefined;
  #state: 'open' | 'closed' = 'open';

  constructor(options: ConfigReloadOptions) {
    this.#options = options;
    this.#running = options.source.started;
    this.#latest = this.#running;
  }

  /** Follows the files, as they were when they were read, until `close`. */
  async watch(): Promise<void> {
    this.#watch?.close();
    const { clock } = this.#options;
    const paths = this.#running.files;
    if (paths.length === 0 || this.#state === 'closed') return;
    const watch = new FileWatch({ paths, clock });
    this.#watch = watch;
    await watch.mark();
    // Which they are was known only when they had been read.
    if (!this.#isAsRead()) this.reload();
    await watch.start(() => this.reload());
  }

  reload(): void {
    const { source, log, reloads, apply } = this.#options;
    let next: ServerReading;
    try {
      this.#running.files.forEach(checkFile);
      next = source.read();
      refuseEmptied(this.#running, next);
      refuseCut(this.#running.file, next.file);
    } catch (error) {
      log.error({ err: (error as Error).message }, 'configuration: the old one stays in use');
      count(reloads, 'failed');
      return;
    }
    const { live, restart } = changedOptions(this.#running, next);
    const areFilesOther = next.files.join('\n') !== this.#running.files.join('\n');
    this.#running = mergeLive(this.#running, next);
    this.#latest = next;
    log.info({ changed: live }, 'configuration read again');
    if (restart.length > 0) log.warn({ options: restart }, 'changed options need a restart');
    count(reloads, 'ok');
    if (live.length > 0) apply(this.#running.config);
    if (areFilesOther) void this.watch();
  }

  /** Would a reload find what was read last? */
  #isAsRead(): boolean {
    const { files } = this.#latest;
    if (!files.every(canBeReadAgain)) return true;
    try {
      const next = this.#options.source.read();
      const { live, restart } = changedOptions(this.#latest, next);
      return live.length + restart.length === 0 && isDeepStrictEqual(next.files, files);
    } catch {
      // The reload will say why.
      return false;
    }
  }

  close(): void {
    this.#state = 'closed';
    this.#watch?.close();
  }
}

function checkFile(path: string): void {
  if (!canBeReadAgain(path)) throw new Error(`${path} is no file to read again`);
}

/** A pipe that was read at the start has nothing more to say, and could be waited for forever. */
function canBeReadAgain(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() !== false;
}

function count(reloads: Map<string, number>, result: string): void {
  reloads.set(result, (reloads.get(result) ?? 0) + 1);
}
