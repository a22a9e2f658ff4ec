// Standard error as the logs of several threads write to it: without waiting, and line by line.
//
// Invariant: where stderr is a pipe, a write that it has no room for fails rather than waits, and
// one of at most WHOLE_BYTES_MAX is taken whole or not at all, so that lines of threads do not cut
// into each other. The same holds of a socket, such as journald's: Node's own stream for it, which
// pino asks for as it is loaded, has told it not to wait. Must not know: what is written, or when.

import { constants, fstatSync, openSync } from 'node:fs';

/** What a pipe takes whole (POSIX: PIPE_BUF, as Linux has it). */
export const WHOLE_BYTES_MAX = 4096;

const STDERR = 2;
/** The same pipe by another way in, which can be told not to wait. */
const STDERR_PATH = '/proc/self/fd/2';

let descriptor: number | undefined;

/** One for a thread. */
export function stderrDescriptor(): number {
  descriptor ??= openPipe() ?? STDERR;
  return descriptor;
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
