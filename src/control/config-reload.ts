// Reads the whole configuration again, at SIGHUP and when one of its files has changed.
//
// Invariant: what cannot be read in full changes nothing; what cannot change without a restart is
// named once a reload; what is watched is what the running configuration was read from. Must not
// know: how options are merged, or what a new configuration does.

import { statSync } from 'node:fs';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { changedOptions, mergeLive } from '../config/changes.ts';
import type { ServerConfig, ServerReading } from '../config/config.ts';
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
  #watch: FileWatch | undefined;
  #state: 'open' | 'closed' = 'open';

  constructor(options: ConfigReloadOptions) {
    this.#options = options;
    this.#running = options.source.started;
  }

  async watch(): Promise<void> {
    this.#watch?.close();
    const { clock } = this.#options;
    const paths = this.#running.files;
    if (paths.length === 0 || this.#state === 'closed') return;
    const watch = new FileWatch({ paths, clock, onChange: () => this.reload() });
    this.#watch = watch;
    await watch.start();
  }

  reload(): void {
    const { source, log, reloads, apply } = this.#options;
    let next: ServerReading;
    try {
      this.#running.files.forEach(checkFile);
      next = source.read();
    } catch (error) {
      log.error({ err: (error as Error).message }, 'configuration: the old one stays in use');
      count(reloads, 'failed');
      return;
    }
    const { live, restart } = changedOptions(this.#running, next);
    const areFilesOther = next.files.join('\n') !== this.#running.files.join('\n');
    this.#running = mergeLive(this.#running, next);
    log.info({ changed: live }, 'configuration read again');
    if (restart.length > 0) log.warn({ options: restart }, 'changed options need a restart');
    count(reloads, 'ok');
    if (live.length > 0) apply(this.#running.config);
    if (areFilesOther) void this.watch();
  }

  close(): void {
    this.#state = 'closed';
    this.#watch?.close();
  }
}

/** A pipe that was read at the start has nothing more to say, and could be waited for forever. */
function checkFile(path: string): void {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found !== undefined && !found.isFile()) throw new Error(`${path} is no file to read again`);
}

function count(reloads: Map<string, number>, result: string): void {
  reloads.set(result, (reloads.get(result) ?? 0) + 1);
}
