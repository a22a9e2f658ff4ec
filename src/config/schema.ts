// Every option of every command: kind, default, unit, help.
//
// Invariant: only options that something in this release reads stand here; the flag is the name
// with two dashes, the file key the name itself, the variable SLUICEWAY_ and the name in
// capitals. docs/config.md lists exactly these tables, which a test checks. Must not know: how
// values are merged, or who uses them.

import { CLIENT_OPTIONS } from './client.ts';
import { EXIT_NODE_OPTIONS } from './cloud.ts';
import { CONFIG_OPTION } from './file.ts';
import { FILESERVER_OPTIONS } from './fileserver.ts';
import { GENERATE_OPTIONS } from './generate.ts';
import { LOG_OPTIONS } from './log.ts';
import { OPERATOR_OPTIONS } from './operator.ts';
import type { ValuesOf } from './option.ts';
import { SERVER_OPTIONS } from './server.ts';
import { STATUS_OPTIONS } from './status.ts';

export const SCHEMA = {
  server: SERVER_OPTIONS,
  client: CLIENT_OPTIONS,
  status: STATUS_OPTIONS,
  fileserver: FILESERVER_OPTIONS,
  operator: { ...CONFIG_OPTION, ...OPERATOR_OPTIONS, ...LOG_OPTIONS },
  ...GENERATE_OPTIONS,
  ...EXIT_NODE_OPTIONS,
};

/** Which option names the file of a command's options. */
export function fileOptionOf(command: Command): 'config' | 'generate-config' {
  return Object.hasOwn(SCHEMA[command], 'config') ? 'config' : 'generate-config';
}

export type Command = keyof typeof SCHEMA;

/** The parsed options of a command, by name. */
export type Values<C extends Command> = ValuesOf<(typeof SCHEMA)[C]>;
