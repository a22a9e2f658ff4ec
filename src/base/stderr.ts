// Standard error as the logs of several threads write to it: without waiting, and line by line.
//
// Invariant: no write holds up the thread that asks for it. Where stderr is a pipe or a socket that
// has been told not to wait, a write that finds no room fails at once; all else, where a write may
// take its time, is written by the pool's threads. Lines of threads do not cut into each other:
// a pipe takes PIPE_BUF whole or not at all, files and devices take whole what they are given at
// once. Must not know: what is written, or when.

import { constants, fstatSync, openSync, readFileSync, write, writeSync } from 'node:fs';

export type OnWritten = (error: NodeJS.ErrnoException | null, written: number) => void;

/** Where lines can be written to. */
export interface LineTarget {
  /** Of one write, whose lines no other thread then cuts into. */
  readonly wholeBytesMax: number;
  /** Does a write call back before it returns? */
  readonly isImmediate: boolean;
  write(bytes: Uint8Array, onWritten: OnWritten): void;
}

/** What a pipe takes whole (POSIX: PIPE_BUF, as Linux has it). */
const PIPE_BYTES_MAX = 4096;
/** Others take any number whole; this is what is worth a turn of the pool. Guess. */
const OTHER_BYTES_MAX = 64 * 1024;

const STDERR = 2;
/** The same pipe by another way in, which can be told not to wait. */
const STDERR_PATH = '/proc/self/fd/2';
const STDERR_INFO = '/proc/self/fdinfo/2';

/** One for a thread. */
export function openStderr(): LineTarget {
  const { isPipe, isSocket } = kindOfStderr();
  if (isPipe) {
    const pipe = openPipe();
    return pipe === undefined ? later(PIPE_BYTES_MAX) : atOnce(pipe);
  }
  // Node's own stream for it, which pino asks for as it is loaded, tells a socket not to wait.
  if (isSocket) return isNonBlocking() ? atOnce(STDERR) : later(PIPE_BYTES_MAX);
  return later(OTHER_BYTES_MAX);
}

function kindOfStderr(): { readonly isPipe: boolean; readonly isSocket: boolean } {
  try {
    const stats = fstatSync(STDERR);
    return { isPipe: stats.isFIFO(), isSocket: stats.isSocket() };
  } catch {
    // It is closed; each write will say so.
    return { isPipe: false, isSocket: false };
  }
}

/**
 * Stderr as a pipe whose writes fail rather than wait. One that waits holds a thread of the pool
 * that all shards share, and the process cannot end while it does. Undefined where it may not be
 * opened again.
 */
function openPipe(): number | undefined {
  try {
    return openSync(STDERR_PATH, constants.O_WRONLY | constants.O_APPEND | constants.O_NONBLOCK);
  } catch {
    return undefined;
  }
}

function isNonBlocking(): boolean {
  try {
    const flags = /^flags:\s*([0-7]+)$/mu.exec(readFileSync(STDERR_INFO, 'latin1'))?.[1] ?? '0';
    return (Number.parseInt(flags, 8) & constants.O_NONBLOCK) !== 0;
  } catch {
    return false;
  }
}

/** The pool's threads would cost more than the write, which only copies, and one a turn at most. */
function atOnce(descriptor: number): LineTarget {
  return {
    wholeBytesMax: PIPE_BYTES_MAX,
    isImmediate: true,
    write(bytes, onWritten) {
      let written = 0;
      try {
        written = writeSync(descriptor, bytes);
      } catch (error) {
        // What is thrown is the system's: the descriptor is ours, and so are the bytes.
        onWritten(error as NodeJS.ErrnoException, 0);
        return;
      }
      onWritten(null, written);
    },
  };
}

function later(wholeBytesMax: number): LineTarget {
  return {
    wholeBytesMax,
    isImmediate: false,
    write: (bytes, onWritten) => write(STDERR, bytes, onWritten),
  };
}
