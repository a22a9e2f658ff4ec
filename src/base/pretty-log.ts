// Log lines for people: the time, the level, the component, the message, then key=value.
//
// Invariant: as with the JSON sink, a stalled or failing stderr never blocks or ends the program:
// writes are asynchronous, at most PENDING_BYTES_MAX wait, and lines beyond that are dropped and
// counted. A write is whole lines, and no more than a pipe takes whole. Must not know: what is
// worth logging.

import { write } from 'node:fs';
import { systemClock } from './clock.ts';
import { loggable } from './loggable.ts';
import { stderrDescriptor, WHOLE_BYTES_MAX } from './stderr.ts';

/** Bytes held for a stalled terminal. Guess: some 5,000 lines, as in the JSON sink. */
const PENDING_BYTES_MAX = 1024 * 1024;
/** Wait before a terminal that took nothing is tried again. Guess. */
const RETRY_MS = 50;
const LEVEL_LENGTH = 5;
const LF = 0x0a;
const HIDDEN: ReadonlySet<string> = new Set(['level', 'time', 'component', 'msg']);

/** Writes to a descriptor: node's `fs.write`, or a test's. */
export type WriteBytes = (
  bytes: Buffer,
  onWritten: (error: NodeJS.ErrnoException | null, written: number) => void,
) => void;

export class PrettyLog {
  readonly #write: WriteBytes;
  #state: 'idle' | 'writing' = 'idle';
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  #onIdle: (() => void)[] = [];
  /** Lines lost because the terminal stalled or failed. */
  droppedLines = 0;

  constructor(writeBytes: WriteBytes = writeToStderr) {
    this.#write = writeBytes;
  }

  /** Takes one JSON line of pino's. */
  write(line: string): void {
    const text = Buffer.from(formatLine(line));
    if (this.#pendingBytes + text.length > PENDING_BYTES_MAX) {
      this.droppedLines += 1;
      return;
    }
    this.#pending.push(text);
    this.#pendingBytes += text.length;
    if (this.#state === 'idle') this.#writeNext();
  }

  /** Calls back once everything taken so far was written or given up. */
  flush(onFlushed: () => void): void {
    if (this.#state === 'idle') onFlushed();
    else this.#onIdle.push(onFlushed);
  }

  #writeNext(): void {
    if (this.#pending.length === 0) {
      this.#state = 'idle';
      const waiting = this.#onIdle;
      this.#onIdle = [];
      for (const onFlushed of waiting) onFlushed();
      return;
    }
    this.#state = 'writing';
    const batch = this.#takeBatch();
    this.#write(batch, (error, written) => this.#onWritten(batch, error, written));
  }

  /** The first line, and those behind it that fit with it. */
  #takeBatch(): Buffer {
    let count = 0;
    let bytes = 0;
    for (const { length } of this.#pending) {
      if (count > 0 && bytes + length > WHOLE_BYTES_MAX) break;
      count += 1;
      bytes += length;
    }
    return Buffer.concat(this.#pending.splice(0, count));
  }

  #onWritten(batch: Buffer, error: NodeJS.ErrnoException | null, written: number): void {
    if (error?.code === 'EAGAIN') {
      this.#pending.unshift(batch);
      systemClock.after(RETRY_MS, () => this.#writeNext());
      return;
    }
    // Any other error loses the batch: there is nowhere to report it but in a count.
    if (error !== null) this.droppedLines += linesIn(batch);
    const taken = error === null ? written : batch.length;
    this.#pendingBytes -= taken;
    if (taken < batch.length) this.#pending.unshift(batch.subarray(taken));
    this.#writeNext();
  }
}

/** One that was cut in two counts where it ends. */
function linesIn(batch: Buffer): number {
  let count = 0;
  for (let at = batch.indexOf(LF); at !== -1; at = batch.indexOf(LF, at + 1)) count += 1;
  return count;
}

function writeToStderr(
  bytes: Buffer,
  onWritten: (error: NodeJS.ErrnoException | null, written: number) => void,
): void {
  write(stderrDescriptor(), bytes, onWritten);
}

/** `10:20:30.456 INFO  control: listening name=http address=127.0.0.1:8000` */
export function formatLine(line: string): string {
  const entry = readEntry(line);
  if (entry === undefined) return line;
  const time = String(entry.time ?? '').slice(11, 23);
  const level = String(entry.level ?? '')
    .toUpperCase()
    .padEnd(LEVEL_LENGTH);
  const head = `${time} ${level} ${show(entry.component)}: ${show(entry.msg)}`;
  const rest = Object.entries(entry)
    .filter(([key]) => !HIDDEN.has(key))
    .map(([key, value]) => ` ${key}=${show(value)}`);
  return `${head}${rest.join('')}\n`;
}

function show(value: unknown): string {
  return loggable(typeof value === 'string' ? value : (JSON.stringify(value) ?? ''));
}

function readEntry(line: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const entry: unknown = JSON.parse(line);
    return typeof entry === 'object' && entry !== null ? { ...entry } : undefined;
  } catch {
    // Not pino's: passed on as it is.
    return undefined;
  }
}
