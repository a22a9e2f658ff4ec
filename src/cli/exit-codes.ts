// The exit codes of every command, and which error leads to which.
//
// Invariant: the table is the contract's; what has no code of its own is a runtime failure. Must
// not know: what a command was doing.

import { SluicewayError } from '../base/errors.ts';

export const EXIT = {
  ok: 0,
  failure: 1,
  usage: 2,
  refused: 3,
  timeout: 4,
} as const;

export function exitCodeOf(error: unknown): number {
  if (!(error instanceof SluicewayError)) return EXIT.failure;
  if (error.code === 'SLW_CONFIG_INVALID') return EXIT.usage;
  if (error.code === 'SLW_AUTH_REFUSED' || error.code === 'SLW_TLS_REFUSED') return EXIT.refused;
  if (error.code === 'SLW_TIMEOUT') return EXIT.timeout;
  return EXIT.failure;
}
