// JSON log lines that can never slow or end the data plane.
//
// Invariant: writes go to an asynchronous destination with a bounded buffer; when the sink stalls
// or fails, lines are dropped and counted, and the process goes on (a plain stdout write to a full
// disk ends it, pino's synchronous default hangs it). Must not know: what is worth logging.

import { type DestinationStream, destination, type Logger, pino, stdTimeFunctions } from 'pino';
import { PrettyLog } from './pretty-log.ts';
import { stderrDescriptor, WHOLE_BYTES_MAX } from './stderr.ts';

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

/** One for all logs of a thread, whose writes are whole lines: threads do not cut into others'. */
function createSink(): ReturnType<typeof destination> {
  const stderr = destination({
    fd: stderrDescriptor(),
    sync: false,
    minLength: 0,
    maxLength: SINK_BYTES_MAX,
    maxWrite: WHOLE_BYTES_MAX,
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

/** Gives up what the sink has not taken: pino would wait for it at the end, for ever. */
export function closeLog(): void {
  try {
    sink?.destroy();
  } catch {
    // It is closed already.
  }
}
