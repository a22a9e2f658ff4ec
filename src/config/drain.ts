// How long a program that was told to end goes on.
//
// Invariant: each wait has an end. Must not know: what is waited for.

import { one } from './option.ts';
import { duration } from './quantity.ts';

const DAY_MS = 86_400_000;

export const DRAIN_DELAY_OPTION = {
  'drain-delay': one(duration({ min: 0, max: DAY_MS }), {
    default: '5s',
    help: 'on SIGTERM, how long /readyz answers 503 before listeners close',
  }),
};

export const DRAIN_TIMEOUT_OPTION = {
  'drain-timeout': one(duration({ min: 0, max: DAY_MS }), {
    default: '30s',
    help: 'on SIGTERM, how long open streams may take to finish',
  }),
};
