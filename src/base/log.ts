// Log lines that can never slow or end the data plane.
//
// Invariant: what a thread logs goes through one sink, which holds a bounded number of bytes; when
// stderr stalls or fails, lines are dropped and counted, and the process goes on (a plain stdout
// write to a full disk ends it, pino's synchronous default hangs it). Must not know: what is worth
// logging.

import { type DestinationStream, type Logger, pino, stdTimeFunctions } from 'pino';
import { systemClock } from './clock.ts';
import { LineSink } from './line-sink.ts';
import { formatLine } from './pretty-log.ts';
import { RecordLog } from './record-log.ts';
import { openStderr } from './stderr.ts';

export type { Logger } from 'pino';

export interface LogOptions {
  readonly level: string;
  readonly component: string;
  /** `pretty` is for people at a terminal. */
  readonly format: LogFormat;
  /** Replaces stderr, in tests. */
  readonly stream?: DestinationStream;
}

export type LogFormat = 'json' | 'pretty';

/** One for all logs of a thread, whose writes are whole lines: threads do not cut into others'. */
let sink: LineSink | undefined;

/** Lines lost in this thread because the sink was stalled or failing. */
export function droppedLogLines(): number {
  return sink?.droppedLines ?? 0;
}

export function createLogger(options: LogOptions): Logger {
  const stream = options.stream ?? streamTo(openSink(), options.format);
  return pino(
    {
      level: options.level,
      base: { component: options.component },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    stream,
  );
}

/** For what has a line thousands of times a second, all of level info. */
export function createRecordLog(options: Omit<LogOptions, 'level'>): RecordLog {
  const stream = options.stream ?? streamTo(openSink(), options.format);
  return new RecordLog(options.component, stream, systemClock);
}

function openSink(): LineSink {
  if (sink !== undefined) return sink;
  const opened = new LineSink(openStderr());
  // What a thread says last, of an error that ends it, is worth most.
  process.once('exit', () => opened.writeLast());
  sink = opened;
  return opened;
}

/** As pino writes to it; it is flushed before the process exits. */
interface FlushedStream extends DestinationStream {
  flush(onFlushed: () => void): void;
}

function streamTo(lines: LineSink, format: LogFormat): FlushedStream {
  const flush = (onFlushed: () => void): void => lines.flush(onFlushed);
  if (format === 'json') return { write: (line) => lines.write(line), flush };
  return { write: (line) => lines.write(formatLine(line)), flush };
}

/** Gives up what the sink has not taken. */
export function closeLog(): void {
  sink?.close();
}
