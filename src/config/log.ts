// The options of the log, which every program that runs has.
//
// Invariant: what is said at a level is said at every coarser one. Must not know: who logs what.

import { one, type ValuesOf } from './option.ts';
import { choice } from './quantity.ts';

export const LOG_OPTIONS = {
  'log-level': one(
    choice(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], 'LEVEL'),
    {
      default: 'info',
      help: 'log this and above to stderr: trace, debug, info, warn, error, fatal, silent',
    },
  ),
  'log-format': one(choice(['json', 'pretty']), {
    default: (machine) => machine.logFormat,
    defaultText: 'json, pretty on a terminal',
    help: 'how log lines look',
  }),
};

export type LogLevel = ValuesOf<typeof LOG_OPTIONS>['log-level'];
