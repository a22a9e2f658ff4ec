// What people read: lines on stdout and stderr, aligned tables, and lengths of time in words.
//
// Invariant: answers go to stdout, everything else to stderr; a reader that went away (a closed
// pipe) never ends the program, and an answer that is lost otherwise (a full disk) is told and
// fails a command that only answers; names from outside cannot move the terminal's cursor. Must
// not know: what the answers are about.

import { loggable } from '../base/loggable.ts';
import { EXIT } from './exit-codes.ts';

export { inBytes } from '../base/size-text.ts';

const SECOND_MS = 1000;
const UNITS: readonly (readonly [name: string, ms: number])[] = [
  ['day', 24 * 3600 * SECOND_MS],
  ['hour', 3600 * SECOND_MS],
  ['minute', 60 * SECOND_MS],
  ['second', SECOND_MS],
];
/** Blanks behind the first column and behind each further one (contract: the status table). */
const GAPS = [2, 3] as const;

/** What cannot be written is an error event, which would end the process. */
export function surviveClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', () => {
      // Each write has one; the first is told below.
    });
  }
  process.stdout.once('error', (error: NodeJS.ErrnoException) => {
    // A reader that has read enough, as `head`, is no failure.
    if (error.code === 'EPIPE') return;
    complain(`cannot write to stdout: ${error.message}`);
    // What runs until it is ended ends with a code of its own.
    process.exitCode ||= EXIT.failure;
  });
}

/** Aborted once something could not be written to stdout, for whatever reason. */
export function stdoutFailure(): AbortSignal {
  const failure = new AbortController();
  process.stdout.once('error', () => failure.abort());
  return failure.signal;
}

/** For what is told but once: rejects when it was not written. */
export function answerOnce(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(text, (error) => {
      if (error) reject(error);
      else resolve();
    });
  });
}

export function answer(text: string): void {
  process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
}

/**
 * Ends the program, whatever else it has open, once its answers are written: with `code`, or as a
 * failure where one was lost.
 */
export async function exitAnswered(code: number): Promise<never> {
  // Behind all that was written; its callback comes before what failed is told.
  await new Promise<void>((resolve) => {
    process.stdout.write('', () => setImmediate(resolve));
  });
  process.exit(code || process.exitCode);
}

/** One `sluiceway: ` line on stderr for each line of `message`. */
export function complain(message: string): void {
  for (const line of message.split('\n')) process.stderr.write(`sluiceway: ${line}\n`);
}

/** In the largest unit that fits: `49 minutes`, `2 hours`, `1 day`. */
export function inWords(durationMs: number): string {
  for (const [name, ms] of UNITS) {
    const count = Math.floor(durationMs / ms);
    if (count >= 1) return `${count} ${name}${count === 1 ? '' : 's'}`;
  }
  return '0 seconds';
}

/** Rows with the columns of the first one, padded so that they align; the last is not padded. */
export function table(rows: readonly (readonly string[])[]): string {
  const safe = rows.map((row) => row.map(loggable));
  const widths = (safe[0] ?? []).map((_, column) =>
    Math.max(...safe.map((row) => row[column]?.length ?? 0)),
  );
  const lines = safe.map((row) =>
    row
      .map((cell, column) =>
        column === row.length - 1
          ? cell
          : cell.padEnd((widths[column] ?? 0) + GAPS[column === 0 ? 0 : 1]),
      )
      .join(''),
  );
  return `${lines.join('\n')}\n`;
}

/**
 * Milliseconds since the epoch of an RFC 3339 time, or undefined. By hand, because the clock's
 * room alone may use Date; the day count is that of the proleptic Gregorian calendar.
 */
export function readTimestamp(text: string): number | undefined {
  const match = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d+)?(Z|([+-])(\d\d):(\d\d))$/.exec(
    text,
  );
  if (match === null) return undefined;
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map(Number);
  const days = daysSinceEpoch(year ?? 0, month ?? 0, day ?? 0);
  const sign = match[9] === '-' ? -1 : 1;
  const offsetMinutes = sign * (Number(match[10] ?? 0) * 60 + Number(match[11] ?? 0));
  const minutes = (days * 24 + (hour ?? 0)) * 60 + (minute ?? 0) - offsetMinutes;
  const ms = Number((match[7] ?? '.').slice(1, 4).padEnd(3, '0'));
  return (minutes * 60 + (second ?? 0)) * SECOND_MS + ms;
}

function daysSinceEpoch(year: number, month: number, day: number): number {
  // Years that begin in March put the leap day last.
  const shifted = month > 2 ? year : year - 1;
  const monthFromMarch = (month + 9) % 12;
  const dayOfYear = Math.floor((153 * monthFromMarch + 2) / 5) + day - 1;
  const leapDays = Math.floor(shifted / 4) - Math.floor(shifted / 100) + Math.floor(shifted / 400);
  return shifted * 365 + leapDays + dayOfYear - 719_468;
}
