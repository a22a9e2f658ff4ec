// Where a log can go and not arrive: a full device, a pipe that nobody reads, a pipe whose reader
// is gone, and /dev/null, which takes all at once.
//
// Invariant: a pipe is a real one, as of a shell, and not the socket that Node makes of one; its
// reader is there, or gone, before whoever writes to it is started. Must not know: who writes, and
// what.

import { execFileSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import path from 'node:path';

export const SINKS = ['/dev/null', 'a full device', 'a pipe not read', 'a closed pipe'] as const;
export type Sink = (typeof SINKS)[number];

/** A descriptor to write to, the caller's to close; `folder` is for the sink's own files. */
export function openSink(sink: Sink, folder: string): number {
  switch (sink) {
    case '/dev/null':
      return openSync('/dev/null', 'w');
    case 'a full device':
      return openSync('/dev/full', 'w');
    case 'a pipe not read':
      // Whoever writes is the reader, too, and never reads.
      return openSync(makePipe(folder), 'r+');
    case 'a closed pipe':
      return openClosed(makePipe(folder));
  }
}

function openClosed(file: string): number {
  // Without a reader it could not be opened.
  const reader = openSync(file, 'r+');
  const writer = openSync(file, 'w');
  closeSync(reader);
  return writer;
}

function makePipe(folder: string): string {
  const file = path.join(folder, 'log');
  execFileSync('mkfifo', [file]);
  return file;
}
