// The way back: what clients listen on for remote services, and what a server lets them reach.
//
// Invariant: a target is a host and a port and nothing else; a rule says what it means, or it is a
// problem. Must not know: who dials, or which addresses are reserved.

import { type ForwardRule, readForwardRule, showForwardRule } from '../base/forward-rules.ts';
import { readPort, readTarget, showTarget, type Target } from '../base/target.ts';
import { InvalidText, type Kind, kindOf } from './option.ts';

export interface LocalForward {
  /** To listen on; 0: the system chooses. */
  readonly port: number;
  /** What the server dials. */
  readonly target: Target;
}

const RIGHT = 'write PORT:HOST:PORT, such as 4222:nats.default.svc:4222';

export const forwardRule: Kind<ForwardRule> = kindOf(
  'forward rule',
  'HOST:PORT',
  (text) => {
    const read = readForwardRule(text);
    return typeof read === 'string' ? new InvalidText(read) : read;
  },
  showForwardRule,
);

export const localForward: Kind<LocalForward> = kindOf(
  'local forward',
  'PORT:HOST:PORT',
  (text) => {
    const colon = text.indexOf(':');
    const port = readPort(text.slice(0, Math.max(0, colon)));
    const target = readTarget(text.slice(colon + 1));
    if (port === undefined) return new InvalidText(`has no local port; ${RIGHT}`);
    return target === undefined
      ? new InvalidText(`has no valid host and port to dial; ${RIGHT}`)
      : { port, target };
  },
  ({ port, target }) => `${port}:${showTarget(target)}`,
);
