// How many bytes each token with a limit of the month has used in this one, and the file of it.
//
//   bytes --add--> counted, not yet written --save: what the file says, and that--> written
//   month --the clock says another--> kept as the other one --the clock says it again--> goes on
//
// Invariant: what is written is never less than what the file said, so that two processes (one that
// takes over from another) can share it; a file that cannot be read stops the start, as counting
// from zero would give the month again. So would a clock that is wrong for a while, as of a machine
// that starts without one: two months are kept, here and in the file. Must not know: limits, or who
// moved the bytes.

import { type Clock, isoTimeOf } from '../base/clock.ts';
import { readIfThere, rewriteFile } from '../base/durable-file.ts';
import { ConfigError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { TOKEN_NAME } from '../config/token-entry.ts';

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

/** Bytes by token. */
type Counts = ReadonlyMap<string, number>;
/** By month, that of the last writer first. */
type Usage = ReadonlyMap<string, Counts>;

interface Month {
  readonly name: string;
  /** As the file says, when it was last read or written. */
  written: Counts;
  readonly unwritten: Map<string, number>;
}

export class TokenUsage {
  readonly #options: TokenUsageOptions;
  #month: Month;
  /** The last one before it in which anything was used. */
  #other: Month | undefined;
  #saving: Promise<void> = Promise.resolve();
  #complainedMs = Number.NEGATIVE_INFINITY;

  constructor(options: TokenUsageOptions) {
    this.#options = options;
    this.#month = createMonth(monthOf(options.clock));
  }

  /** Rejects with a ConfigError for a file that is there and cannot be used. */
  async load(): Promise<void> {
    const { path } = this.#options;
    try {
      const usage = await this.#read();
      this.#month.written = usage.get(this.#month.name) ?? new Map();
      const [name, counts] = otherOf(usage, this.#month.name) ?? [];
      if (name !== undefined) this.#other = createMonth(name, counts);
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
    const { written, unwritten } = this.#month;
    return (written.get(token) ?? 0) + (unwritten.get(token) ?? 0);
  }

  add(token: string, bytes: number): void {
    const { unwritten } = this.#month;
    if (bytes > 0) unwritten.set(token, (unwritten.get(token) ?? 0) + bytes);
  }

  /** True when it is another month than at the last call: all is zero, or as it was left. */
  turn(): boolean {
    const name = monthOf(this.#options.clock);
    const before = this.#month;
    if (name === before.name) return false;
    const isBack = this.#other?.name === name;
    this.#month = (isBack ? this.#other : undefined) ?? createMonth(name);
    const isUsed = before.written.size + before.unwritten.size > 0;
    if (isBack || isUsed) this.#other = before;
    return true;
  }

  /** Writes what is not yet; what cannot be written now is tried again by the next call. */
  save(): Promise<void> {
    this.#saving = this.#saving.then(async () => {
      if (this.#months.every(({ unwritten }) => unwritten.size === 0)) return;
      try {
        await this.#write();
      } catch (error) {
        this.#complain(reasonOf(error));
      }
    });
    return this.#saving;
  }

  get #months(): readonly Month[] {
    return this.#other === undefined ? [this.#month] : [this.#month, this.#other];
  }

  async #write(): Promise<void> {
    const sums = this.#months.map((month) => ({ month, taken: new Map(month.unwritten) }));
    // A file that was lost or spoilt meanwhile is made again of what is known here.
    const onDisk = await this.#read().catch((): Usage => new Map());
    const usage = new Map<string, Counts>();
    for (const { month, taken } of sums) {
      usage.set(month.name, sumOf(month.written, onDisk.get(month.name), taken));
    }
    await rewriteFile(this.#options.path, format(usage, onDisk));
    for (const { month, taken } of sums) settle(month, usage.get(month.name), taken);
  }

  async #read(): Promise<Usage> {
    const text = await readIfThere(this.#options.path);
    return text === undefined ? new Map() : readUsage(text);
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
export function readUsage(text: string): Usage {
  const read = parse(text);
  const [month, counts] = readMonth(read);
  const { other } = read as { other?: unknown };
  // First, so that the month of the last writer counts where both are the same.
  const kept = other === undefined ? [] : [readMonth(other)];
  return new Map([[month, counts], ...kept.filter(([name]) => name !== month)]);
}

function readMonth(read: unknown): [month: string, counts: Counts] {
  const { month, bytes } = (read ?? {}) as { month?: unknown; bytes?: unknown };
  if (typeof month !== 'string' || !MONTH.test(month)) throw new Error('names no month');
  if (typeof bytes !== 'object' || bytes === null) throw new Error('has no bytes');
  const entries = Object.entries(bytes).map(([name, count]): [string, number] => {
    const isCount = typeof count === 'number' && Number.isSafeInteger(count) && count >= 0;
    if (!TOKEN_NAME.test(name) || !isCount) throw new Error('has a token without a count');
    return [name, count];
  });
  return [month, new Map(entries)];
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error('is no JSON');
  }
}

/** One that was not read here stays in the file, when there is room for it. */
function format(usage: Usage, onDisk: Usage): string {
  const [[month, counts] = ['', new Map()]] = usage;
  const other = otherOf(usage, month) ?? otherOf(onDisk, month);
  return `${JSON.stringify(
    { ...show(month, counts), ...(other && { other: show(...other) }) },
    undefined,
    2,
  )}\n`;
}

function show(month: string, counts: Counts) {
  return { month, bytes: Object.fromEntries(counts) };
}

/** The first that is not `month`, and in which something was used. */
function otherOf(usage: Usage, month: string): [string, Counts] | undefined {
  return [...usage].find(([name, counts]) => name !== month && counts.size > 0);
}

function createMonth(name: string, written: Counts = new Map()): Month {
  return { name, written, unwritten: new Map() };
}

/** What is known of a month here or in the file, and what has come since. */
function sumOf(written: Counts, onDisk: Counts | undefined, taken: Counts): Counts {
  const names = new Set([...written.keys(), ...(onDisk?.keys() ?? []), ...taken.keys()]);
  const sums = new Map<string, number>();
  for (const name of names) {
    const known = Math.max(onDisk?.get(name) ?? 0, written.get(name) ?? 0);
    sums.set(name, known + (taken.get(name) ?? 0));
  }
  return sums;
}

/** `taken` is in the file now. */
function settle(month: Month, sums: Counts | undefined, taken: Counts): void {
  if (sums !== undefined) month.written = sums;
  for (const [name, count] of taken) {
    const rest = (month.unwritten.get(name) ?? 0) - count;
    if (rest > 0) month.unwritten.set(name, rest);
    else month.unwritten.delete(name);
  }
}

/** Of UTC. */
export function monthOf(clock: Clock): string {
  return isoTimeOf(clock.wallMs()).slice(0, MONTH_LENGTH);
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
