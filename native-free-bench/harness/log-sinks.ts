// Where a log can go: /dev/null, which takes all at once, a file, a pipe that is read; and where it
// does not arrive: a full device, a pipe that nobody reads, a pipe whose reader is gone.
//
// Invariant: a pipe is a real one, as of a shell, and not the socket that Node makes of one; its
// reader is there, or gone, before whoever writes to it is started. Must not know: who writes, and
// what.

import { execFileSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import path from 'node:path';
import type { Children } from './children.ts';

export const TAKING_SINKS = ['/dev/null', 'a file', 'a pipe that is read'] as const;
export const FAILING_SINKS = ['a full device', 'a pipe not read', 'a closed pipe'] as const;
export type Sink = (typeof TAKING_SINKS | typeof FAILING_SINKS)[number];

/** A descriptor to write to, the caller's to close. Files and readers go with `children`. */
export function openSink(sink: Sink, children: Children): number {
  const folder = children.folder();
  switch (sink) {
    case '/dev/null':
      return openSync('/dev/null', 'w');
    case 'a file':
      return openSync(path.join(folder, 'log'), 'a');
    case 'a pipe that is read':
      return openRead(makePipe(folder), children);
    case 'a full device':
      return openSync('/dev/full', 'w');
    case 'a pipe not read':
      // Whoever writes is the reader, too, and never reads.
      return openSync(makePipe(folder), 'r+');
    case 'a closed pipe':
      return openClosed(makePipe(folder));
  }
}

function openRead(file: string, children: Children): number {
  children.run('sh', ['-c', 'exec cat "$0" > /dev/null', file]);
  // It waits for the reader.
  return openSync(file, 'w');
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
