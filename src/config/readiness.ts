// Options of `status --ready`, and where a server of this machine is asked.
//
// Invariant: a tunnel's name is printable and short, and is sent as it is given. Must not know: who
// is asked, or what ready means to it.

import { addressOrOff } from './address.ts';
import { one, optional } from './option.ts';
import { boolean, text } from './quantity.ts';

/** Status asks here what runs on this machine. */
export const adminAddr = one(addressOrOff, {
  default: '127.0.0.1:9123',
  help: 'dashboard and the same endpoints, served by the main thread; or off',
});

export const READINESS_OPTIONS = {
  ready: one(boolean, {
    default: 'false',
    help: 'exit code 0 when the server is ready, or what runs here with --local; 1 when it is not',
  }),
  tunnel: optional(text('NAME', /^[!-~]{1,300}$/, 'is not the name of a tunnel'), {
    help: 'with --ready: and serves this tunnel, such as example.com or tcp:2222',
  }),
};
