// How many bytes each token with a limit of the month has used in this one, and the file of it.
//
//   bytes --add--> counted, not yet written --save: what the file says, and that--> written
//
// Invariant: what is written is never less than what the file said, so that two processes (one that
// takes over from another) can share it; a file that cannot be read stops the start, as counting
// from zero would give the month again. Must not know: limits, or who moved the bytes.

import { type Clock, isoTimeOf } from '../base/clock.ts';
import { readIfThere, rewriteFile } from '../base/durable-file.ts';
import { ConfigError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { TOKEN_NAME } from '../config/tokens-file.ts';

/** `2026-11`: of an ISO time. */
const MONTH_LENGTH = 7;
const MONTH = /^\d{4}-\d\d$/;
/** A file that cannot be written is complained of so often, while saving goes on being tried. */
const COMPLAINT_MS = 3_600_000;

export interface TokenUsageOptions {
  readonly path: string;
  readonly clock: Clock;
  readonly log: Logger;
}

interface UsageOfMonth {
  readonly month: string;
  readonly bytes: ReadonlyMap<string, number>;
}

export class TokenUsage {
  readonly #options: TokenUsageOptions;
  #month: string;
  /** As the file says, when it was last read or written. */
  #written = new Map<string, number>();
  readonly #unwritten = new Map<string, number>();
  #saving: Promise<void> = Promise.resolve();
  #complainedMs = Number.NEGATIVE_INFINITY;

  constructor(options: TokenUsageOptions) {
    this.#options = options;
    this.#month = monthOf(options.clock);
  }

  /** Rejects with a ConfigError for a file that is there and cannot be used. */
  async load(): Promise<void> {
    const { path } = this.#options;
    try {
      this.#written = await this.#read();
    } catch (cause) {
      const hint = 'mend it, or remove it to count this month from zero';
      throw new ConfigError([`--tokens-usage-file: ${path} ${reasonOf(cause)}; ${hint}`], {
        cause,
      });
    }
  }

  /** Rejects with a ConfigError when nothing can be written there. */
  async check(): Promise<void> {
    const { path } = this.#options;
    try {
      await this.#write();
    } catch (cause) {
      const why = `${path} cannot be written: ${reasonOf(cause)}`;
      throw new ConfigError([`--tokens-usage-file: ${why}`], { cause });
    }
  }

  bytesOf(token: string): number {
    return (this.#written.get(token) ?? 0) + (this.#unwritten.get(token) ?? 0);
  }

  add(token: string, bytes: number): void {
    if (bytes > 0) this.#unwritten.set(token, (this.#unwritten.get(token) ?? 0) + bytes);
  }

  /** True when another month has begun since the last call: all is zero again. */
  turn(): boolean {
    const month = monthOf(this.#options.clock);
    if (month === this.#month) return false;
    this.#month = month;
    this.#written.clear();
    this.#unwritten.clear();
    return true;
  }

  /** Writes what is not yet; what cannot be written now is tried again by the next call. */
  save(): Promise<void> {
    this.#saving = this.#saving.then(async () => {
      if (this.#unwritten.size === 0) return;
      try {
        await this.#write();
      } catch (error) {
        this.#complain(reasonOf(error));
      }
    });
    return this.#saving;
  }

  async #write(): Promise<void> {
    const taken = new Map(this.#unwritten);
    const month = this.#month;
    // A file that was lost or spoilt meanwhile is made again of what is known here.
    const onDisk = await this.#read().catch(() => new Map<string, number>());
    const names = new Set([...this.#written.keys(), ...onDisk.keys(), ...taken.keys()]);
    const bytes = new Map<string, number>();
    for (const name of names) {
      const known = Math.max(onDisk.get(name) ?? 0, this.#written.get(name) ?? 0);
      bytes.set(name, known + (taken.get(name) ?? 0));
    }
    await rewriteFile(this.#options.path, format({ month, bytes }));
    if (month !== this.#month) return;
    this.#written = bytes;
    for (const [name, count] of taken) {
      const rest = (this.#unwritten.get(name) ?? 0) - count;
      if (rest > 0) this.#unwritten.set(name, rest);
      else this.#unwritten.delete(name);
    }
  }

  /** What the file says of this month. */
  async #read(): Promise<Map<string, number>> {
    const text = await readIfThere(this.#options.path);
    if (text === undefined) return new Map();
    const { month, bytes } = readUsage(text);
    return month === this.#month ? new Map(bytes) : new Map();
  }

  #complain(reason: string): void {
    const { clock, log, path } = this.#options;
    const nowMs = clock.nowMs();
    if (nowMs - this.#complainedMs < COMPLAINT_MS) return;
    this.#complainedMs = nowMs;
    log.error({ path, reason }, 'the usage of tokens cannot be written, a restart would forget it');
  }
}

/** Where it is, unless --tokens-usage-file says. */
export function usageFileOf(tokensFile: string): string {
  return `${tokensFile}.usage.json`;
}

/** The file's text. Throws an Error that says what is wrong with it. */
export function readUsage(text: string): UsageOfMonth {
  const read: unknown = parse(text);
  const { month, bytes } = (read ?? {}) as { month?: unknown; bytes?: unknown };
  if (typeof month !== 'string' || !MONTH.test(month)) throw new Error('names no month');
  if (typeof bytes !== 'object' || bytes === null) throw new Error('has no bytes');
  const entries = Object.entries(bytes).map(([name, count]): [string, number] => {
    const isCount = typeof count === 'number' && Number.isSafeInteger(count) && count >= 0;
    if (!TOKEN_NAME.test(name) || !isCount) throw new Error('has a token without a count');
    return [name, count];
  });
  return { month, bytes: new Map(entries) };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error('is no JSON');
  }
}

function format({ month, bytes }: UsageOfMonth): string {
  return `${JSON.stringify({ month, bytes: Object.fromEntries(bytes) }, undefined, 2)}\n`;
}

/** Of UTC. */
export function monthOf(clock: Clock): string {
  return isoTimeOf(clock.wallMs()).slice(0, MONTH_LENGTH);
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
