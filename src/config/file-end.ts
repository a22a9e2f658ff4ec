// How a file ends that is read again while it is in use: with a line, or within one.
//
// Invariant: a file that never ended with a newline is as good as one that does; only one that did
// and does so no more is refused. Must not know: what is in the file, or who reads it.

import { ConfigError } from '../base/errors.ts';
import type { ConfigFile } from './file.ts';

export interface FileEnd {
  readonly path: string;
  readonly hasLastNewline: boolean;
}

export function fileEndOf({ path, text }: ConfigFile): FileEnd {
  return { path, hasLastNewline: text.endsWith('\n') };
}

/**
 * Throws a ConfigError for a file that ends within a line when the one in use does not: a full
 * disk or a copy that stopped has cut it, and what is left may read well without what protects.
 */
export function refuseCut(running: FileEnd | undefined, next: FileEnd | undefined): void {
  if (running?.hasLastNewline !== true || next === undefined || next.hasLastNewline) return;
  const what = `${next.path} ends within a line, and did not before, as if it were cut`;
  throw new ConfigError([`${what}; write all of it, with a newline at its end, or restart`]);
}
