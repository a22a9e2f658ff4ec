// How this very program is started once more: by its successor and by the demonstration.
//
// Invariant: the same Node with the same flags and the same entry; a single executable is all
// three, and takes what would be flags of Node for words of its own. Must not know: what is
// started, or why.

import { IS_SINGLE_FILE } from '../base/embedded-file.ts';

export interface OwnCommand {
  readonly command: string;
  readonly args: readonly string[];
}

/** The arguments behind the program's own name, as this process was given them. */
export function ownArguments(): string[] {
  return process.argv.slice(2);
}

export function ownCommand(args: readonly string[]): OwnCommand {
  const [node = process.execPath, entry = ''] = process.argv;
  if (IS_SINGLE_FILE) return { command: process.execPath, args };
  return { command: node, args: [...process.execArgv, entry, ...args] };
}
