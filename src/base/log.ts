// JSON log lines that can never slow or end the data plane.
//
// Invariant: writes go to an asynchronous destination with a bounded buffer; when the sink stalls
// or fails, lines are dropped and counted, and the process goes on (a plain stdout write to a full
// disk ends it, pino's synchronous default hangs it). Must not know: what is worth logging.

import { constants, fstatSync, openSync } from 'node:fs';
import { type DestinationStream, destination, type Logger, pino, stdTimeFunctions } from 'pino';
import { PrettyLog } from './pretty-log.ts';

export type { Logger } from 'pino';

/** Bytes held for a stalled sink before lines are dropped. Guess: some 5,000 lines. */
const SINK_BYTES_MAX = 1024 * 1024;

export interface LogOptions {
  readonly level: string;
  readonly component: string;
  /** `pretty` is for people at a terminal. */
  readonly format: LogFormat;
  /** Replaces stderr, in tests. */
  readonly stream?: DestinationStream;
}

export type LogFormat = 'json' | 'pretty';

const STDERR = 2;
/** The same pipe by another way in, which can be told not to wait. */
const STDERR_PATH = '/proc/self/fd/2';

let droppedLines = 0;
let pretty: PrettyLog | undefined;
let sink: ReturnType<typeof destination> | undefined;

/** Lines lost in this thread because the sink was stalled or failing. */
export function droppedLogLines(): number {
  return droppedLines + (pretty?.droppedLines ?? 0);
}

export function createLogger(options: LogOptions): Logger {
  const stream = options.stream ?? openStderr(options.format);
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

function openStderr(format: LogFormat): DestinationStream {
  if (format === 'pretty') {
    pretty ??= new PrettyLog();
    return pretty;
  }
  sink ??= createSink();
  return sink;
}

/** One for all logs of a thread, so that their lines do not cut into each other. */
function createSink(): ReturnType<typeof destination> {
  const stderr = destination({
    fd: openPipe() ?? STDERR,
    sync: false,
    minLength: 0,
    maxLength: SINK_BYTES_MAX,
  });
  let told: Error | undefined;
  stderr.on('error', (error: NodeJS.ErrnoException) => {
    // pino says its first one twice.
    if (error === told) return;
    told = error;
    countDropped();
    // Nobody reads it any more, and pino has put a write in place that does nothing.
    if (error.code === 'EPIPE') stderr.write = countDropped;
  });
  stderr.on('drop', countDropped);
  return stderr;
}

function countDropped(): boolean {
  droppedLines += 1;
  return true;
}

/**
 * Stderr as a pipe whose writes fail rather than wait. One that waits holds a thread of the pool
 * that all shards share, and the process cannot end while it does. Undefined where stderr is no
 * pipe, or may not be opened again.
 */
function openPipe(): number | undefined {
  try {
    if (!fstatSync(STDERR).isFIFO()) return undefined;
    return openSync(STDERR_PATH, constants.O_WRONLY | constants.O_APPEND | constants.O_NONBLOCK);
  } catch {
    return undefined;
  }
}

/** Gives up what the sink has not taken: pino would wait for it at the end, for ever. */
export function closeLog(): void {
  try {
    sink?.destroy();
  } catch {
    // It is closed already.
  }
}
