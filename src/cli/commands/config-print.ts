// `sluiceway config print COMMAND`: shows the options as they were resolved, as YAML.
//
// Invariant: secrets are masked, and what is printed can serve as a file of --config once they are
// filled in. Must not know: options.

import { maskedConfig } from '../../config/print.ts';
import type { Command } from '../../config/schema.ts';
import { answer } from '../output.ts';
import { collectInput, type Flags } from '../sources.ts';

export function runConfigPrint(command: Command, flags: Flags): void {
  answer(maskedConfig(collectInput(command, flags)));
}
