// `sluiceway config check server|client`: says whether a configuration could be run.
//
// Invariant: it is resolved exactly as the command itself would, and nothing is opened. Must not
// know: options.

import { resolveConfig } from '../../config/config.ts';
import type { Command } from '../../config/schema.ts';
import { answer } from '../output.ts';
import { collectInput, type Flags } from '../sources.ts';

export function runConfigCheck(command: Command, flags: Flags): void {
  resolveConfig(collectInput(command, flags));
  answer('ok');
}
