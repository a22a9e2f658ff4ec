// Options for UDP tunnels: where their ports open, and how many flows visitors may have.
//
// Invariant: what an operator has said of TCP ports holds for UDP ports too, unless they are given
// themselves; no limit is off but the one of an address, which may be. Must not know: how limits
// are held, or who divides them.

import { host, portRange } from './address.ts';
import type { Given } from './merge.ts';
import { type Kind, many, type Option, one } from './option.ts';
import { choice, duration, integer } from './quantity.ts';

const DAY_MS = 86_400_000;
/** Guess: far above what one machine serves. */
const FLOWS_MAX = 1_000_000;
/** Each may be a few frames without effect on its link, which 20,000 of them in a second end. */
const NEW_FLOWS_MAX = 5000;

/** Those that are as another option unless they are given. */
const FOLLOWED = { 'udp-addr': 'tcp-addr', 'udp-ports': 'tcp-ports' } as const;

export const UDP_PORT_OPTIONS = {
  'udp-addr': one(host, {
    default: '0.0.0.0',
    defaultText: 'as --tcp-addr',
    help: 'address on which UDP tunnel ports open',
  }),
  'udp-ports': many(portRange, {
    defaultText: 'as --tcp-ports',
    emptyWord: 'off',
    help: 'UDP ports that clients may ask for at all; or off',
  }),
};

export const UDP_IDLE_OPTION = {
  'udp-idle-timeout': tuning(
    duration({ min: 1000, max: DAY_MS }),
    '2m',
    'ends a flow of UDP without a datagram either way',
  ),
};

export const UDP_CLIENT_OPTIONS = {
  'udp-proxy-protocol': one(choice(['off', 'v2']), {
    default: 'off',
    help: 'tell upstreams of UDP tunnels who visits, with a PROXY header before each datagram',
  }),
};

export const UDP_FLOW_OPTIONS = {
  'udp-flows-max': tuning(
    integer({ min: 1, max: FLOWS_MAX }),
    '4096',
    'flows of UDP visitors at once; each address and port that sends is one',
  ),
  'udp-flows-per-ip-max': tuning(
    integer({ min: 1, max: FLOWS_MAX, autoWord: 'off' }),
    '1024',
    'flows of UDP visitors of one address at once',
  ),
  'udp-new-flows-per-second-max': tuning(
    integer({ min: 1, max: NEW_FLOWS_MAX }),
    '2000',
    'flows that UDP visitors may begin in a second',
  ),
};

/** Sets what follows from other options and was not given itself. */
export function followTcp<Parsed extends Readonly<Record<string, unknown>>>(
  parsed: Parsed,
  given: ReadonlyMap<string, Given>,
): Parsed {
  const followed = Object.entries(FOLLOWED)
    .filter(([name]) => !given.has(name))
    .map(([name, other]) => [name, parsed[other]]);
  return { ...parsed, ...Object.fromEntries(followed) };
}

function tuning(kind: Kind<number>, value: string, help: string): Option<number> {
  return one(kind, { default: value, help, isTuning: true });
}
