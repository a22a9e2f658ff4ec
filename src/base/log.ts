// JSON log lines that can never slow or end the data plane.
//
// Invariant: writes go to an asynchronous destination with a bounded buffer; when the sink stalls
// or fails, lines are dropped and counted, and the process goes on (a plain stdout write to a full
// disk ends it, pino's synchronous default hangs it). Must not know: what is worth logging.

import { type DestinationStream, destination, type Logger, pino, stdTimeFunctions } from 'pino';

export type { Logger } from 'pino';

/** Bytes held for a stalled sink before lines are dropped. Guess: some 5,000 lines. */
const SINK_BYTES_MAX = 1024 * 1024;
/** Names and addresses from outside are cut here before they are logged. */
export const LOGGED_NAME_LENGTH_MAX = 256;

export interface LogOptions {
  readonly level: string;
  readonly component: string;
  /** File descriptor; 2 is stderr. */
  readonly fd?: number;
  /** Replaces the descriptor: for the pretty printer and for tests. */
  readonly stream?: DestinationStream;
}

let droppedLines = 0;

/** Lines lost in this thread because the sink was stalled or failing. */
export function droppedLogLines(): number {
  return droppedLines;
}

export function createLogger(options: LogOptions): Logger {
  const stream = options.stream ?? openSink(options.fd ?? 2);
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

function openSink(fd: number): DestinationStream {
  const sink = destination({ fd, sync: false, minLength: 0, maxLength: SINK_BYTES_MAX });
  sink.on('error', () => {
    droppedLines += 1;
  });
  sink.on('drop', () => {
    droppedLines += 1;
  });
  return sink;
}

/** Cuts and escapes a name that came from outside, so that a log reader's terminal stays safe. */
export function loggable(text: string): string {
  const cut =
    text.length > LOGGED_NAME_LENGTH_MAX ? `${text.slice(0, LOGGED_NAME_LENGTH_MAX)}…` : text;
  return cut.replace(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, '?');
}
