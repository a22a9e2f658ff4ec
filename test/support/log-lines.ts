// Log lines of something that runs in the test's own process, as they are written.
//
// Invariant: a wait for a line has a deadline, and its failure shows what was logged instead. Must
// not know: who logs.

import { createLogger, createRecordLog, type Logger } from '../../src/base/log.ts';
import type { RecordLog } from '../../src/base/record-log.ts';
import { within } from './deadline.ts';

export type LogLine = Readonly<Record<string, unknown>>;

const LINE_MS = 15_000;
const LINES_SHOWN = 30;

interface Waiter {
  readonly matches: (line: LogLine) => boolean;
  readonly found: (line: LogLine) => void;
}

export class LogLines {
  readonly log: Logger;
  /** Of the same component. */
  readonly records: RecordLog;
  readonly lines: LogLine[] = [];
  readonly #waiters = new Set<Waiter>();

  constructor(component: string) {
    const stream = { write: (text: string) => this.#add(JSON.parse(text) as LogLine) };
    this.log = createLogger({ level: 'debug', component, format: 'json', stream });
    this.records = createRecordLog({ component, format: 'json', stream });
  }

  /** Lines whose message is `text`. */
  all(text: string): LogLine[] {
    return this.lines.filter((line) => line.msg === text);
  }

  /** The first line, past or coming, with this message and these fields; a pattern is tried. */
  async line(text: string, fields: LogLine = {}): Promise<LogLine> {
    const matches = (line: LogLine): boolean =>
      line.msg === text && Object.entries(fields).every(([key, value]) => fits(line[key], value));
    const past = this.lines.find(matches);
    if (past !== undefined) return past;
    const coming = new Promise<LogLine>((found) => this.#waiters.add({ matches, found }));
    try {
      return await within(LINE_MS, `the log line "${text}"`, coming);
    } catch (error) {
      throw new Error(`${String(error)}\n${this.tail()}`);
    }
  }

  /** Everything of level warn and above. */
  complaints(): LogLine[] {
    return this.lines.filter(({ level }) => level === 'warn' || level === 'error');
  }

  tail(): string {
    return this.lines
      .slice(-LINES_SHOWN)
      .map((line) => `  ${JSON.stringify(line)}`)
      .join('\n');
  }

  #add(line: LogLine): void {
    this.lines.push(line);
    for (const waiter of this.#waiters) {
      if (!waiter.matches(line)) continue;
      this.#waiters.delete(waiter);
      waiter.found(line);
    }
  }
}

function fits(value: unknown, wanted: unknown): boolean {
  return wanted instanceof RegExp ? wanted.test(String(value)) : value === wanted;
}
