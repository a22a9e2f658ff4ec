// The lines of a thread's logs on their way out: gathered for a turn of the loop, then written.
//
//   write ──► blocks of LF-ended lines ──► at the turn's end: whole lines, wholeBytesMax at a time
//                                             │ no room, or an error: again after a while
//
// Invariant: at most PENDING_BYTES_MAX wait; a line that finds no room, or whose write failed, is
// counted, once. A target that takes nothing is tried again after RETRY_MS_MIN, and ever more
// rarely, and no turn of the loop writes more than TURN_BYTES_MAX. Must not know: what lines say.

import { systemClock } from './clock.ts';
import type { LineTarget } from './stderr.ts';

/** Bytes held for a target that stalls before lines are dropped. Guess: some 5,000 lines. */
const PENDING_BYTES_MAX = 1024 * 1024;
const BLOCK_BYTES = 64 * 1024;
/** What a pipe has room for, by default of Linux. */
const TURN_BYTES_MAX = 64 * 1024;
/** A reader that only was not awake yet comes soon. */
const RETRY_MS_MIN = 1;
const RETRY_MS_MAX = 100;
/** Of UTF-8, for one unit of UTF-16. */
const UNIT_BYTES_MAX = 3;
const LF = 0x0a;

/** Lines, of which those from `start` to `end` were not written yet. */
interface Block {
  readonly bytes: Buffer;
  start: number;
  end: number;
}

type State =
  /** Nothing waits. */
  | 'idle'
  /** Lines wait for the turn's end, or for a target that took nothing. */
  | 'waiting'
  | 'writing'
  | 'closed';

export class LineSink {
  readonly #target: LineTarget;
  readonly #blocks: Block[] = [];
  #state: State = 'idle';
  #pendingBytes = 0;
  #turnBytes = 0;
  #retryMs = RETRY_MS_MIN;
  #onIdle: (() => void)[] = [];
  /** Lines lost because the target stalled or failed. */
  droppedLines = 0;

  constructor(target: LineTarget) {
    this.#target = target;
  }

  /** Takes a line, or several; each ends with LF. */
  write(line: string): void {
    if (this.#state === 'closed') return;
    if (this.#pendingBytes + line.length > PENDING_BYTES_MAX) {
      this.droppedLines += 1;
      return;
    }
    const block = this.#blockFor(line.length * UNIT_BYTES_MAX);
    const written = block.bytes.write(line, block.end);
    block.end += written;
    this.#pendingBytes += written;
    if (this.#state !== 'idle') return;
    this.#state = 'waiting';
    setImmediate(() => this.#beginTurn());
  }

  /** Calls back once everything taken so far was written or given up. */
  flush(onFlushed: () => void): void {
    if (this.#state === 'idle' || this.#state === 'closed') onFlushed();
    else this.#onIdle.push(onFlushed);
  }

  /** Writes what the target takes now, where it can: there is no other turn. */
  writeLast(): void {
    if (this.#state === 'waiting' && this.#target.isImmediate) this.#beginTurn();
  }

  /** What waits is given up. */
  close(): void {
    this.#blocks.length = 0;
    this.#pendingBytes = 0;
    this.#becomes('closed');
  }

  #blockFor(bytesMax: number): Block {
    const last = this.#blocks.at(-1);
    if (last !== undefined) {
      if (last.bytes.length - last.end >= bytesMax) return last;
      if (last.start === last.end) this.#blocks.pop();
    }
    const bytes = Buffer.alloc(Math.max(BLOCK_BYTES, bytesMax));
    const block: Block = { bytes, start: 0, end: 0 };
    this.#blocks.push(block);
    return block;
  }

  #beginTurn(): void {
    if (this.#state !== 'waiting') return;
    this.#turnBytes = 0;
    this.#writeNext();
  }

  #writeNext(): void {
    const [block] = this.#blocks;
    if (block === undefined || this.#pendingBytes === 0) {
      this.#becomes('idle');
      return;
    }
    this.#state = 'writing';
    const lines = firstLines(block, this.#target.wholeBytesMax);
    this.#target.write(lines, (error, written) => this.#onWritten(lines, error, written));
  }

  #onWritten(lines: Buffer, error: NodeJS.ErrnoException | null, written: number): void {
    if (this.#state === 'closed') return;
    if (error !== null) {
      // There is nowhere to report it but in a count. One that was cut in two counts by its end.
      if (error.code !== 'EAGAIN') {
        this.droppedLines += linesIn(lines);
        this.#release(lines.length);
      }
      this.#state = 'waiting';
      systemClock.after(this.#retryMs, () => this.#beginTurn());
      this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MS_MAX);
      return;
    }
    this.#retryMs = RETRY_MS_MIN;
    this.#release(written);
    this.#turnBytes += written;
    if (this.#turnBytes < TURN_BYTES_MAX) this.#writeNext();
    else {
      this.#state = 'waiting';
      setImmediate(() => this.#beginTurn());
    }
  }

  #release(count: number): void {
    this.#pendingBytes -= count;
    const [block] = this.#blocks;
    if (block === undefined) return;
    block.start += count;
    if (block.start < block.end) return;
    // The last one is kept for the next lines; nothing refers to its bytes any more.
    if (this.#blocks.length > 1 || block.bytes.length > BLOCK_BYTES) this.#blocks.shift();
    else {
      block.start = 0;
      block.end = 0;
    }
  }

  #becomes(state: 'idle' | 'closed'): void {
    this.#state = state;
    const waiting = this.#onIdle;
    this.#onIdle = [];
    for (const onFlushed of waiting) onFlushed();
  }
}

/** Lines of at most `bytesMax` together; the first alone where it is longer. */
function firstLines({ bytes, start, end }: Block, bytesMax: number): Buffer {
  if (end - start <= bytesMax) return bytes.subarray(start, end);
  const last = bytes.lastIndexOf(LF, start + bytesMax - 1);
  if (last >= start) return bytes.subarray(start, last + 1);
  const long = bytes.indexOf(LF, start + bytesMax);
  return bytes.subarray(start, long === -1 ? end : long + 1);
}

function linesIn(lines: Buffer): number {
  let count = 0;
  for (let at = lines.indexOf(LF); at !== -1; at = lines.indexOf(LF, at + 1)) count += 1;
  return count;
}
