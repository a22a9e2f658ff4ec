// Limits on visitors and tunnels that an operator may set; all of them are off by default.
//
// Invariant: 0 is off and nothing else is; a value that is given and cannot be used is a problem,
// never "no limit". They are of the whole server; who divides them is not known here. Must not
// know: how they are held.

import type { VisitorLimits } from '../base/visitor-limits.ts';
import { InvalidText, type Kind, kindOf, type Option, one, type ValuesOf } from './option.ts';
import { integer, size } from './quantity.ts';

const KIB = 1024;
const TIB = KIB ** 4;
/** Guess: far above what one machine serves. */
const COUNT_MAX = 10_000_000;

function count(help: string): Option<number> {
  const kind = integer({ min: 1, max: COUNT_MAX, autoWord: 'off' });
  return one(kind, { default: 'off', help, isTuning: true });
}

function bytes(min: number, help: string): Option<number> {
  const kind = size({ min, max: TIB, offWord: 'off' });
  return one(kind, { default: 'off', help, isTuning: true });
}

/** Bytes, what the container or machine has, or no limit. */
export type MemoryMax = number | 'auto' | 'off';

/** Below, the program itself is above it at rest. */
const MEMORY_MIN = 128 * KIB * KIB;

function memoryMax(): Kind<MemoryMax> {
  const bytes = size({ min: MEMORY_MIN, max: TIB });
  const read = (text: string): MemoryMax | InvalidText => {
    if (text === 'auto' || text === 'off') return text;
    const read = bytes.read(text);
    if (!(read instanceof InvalidText)) return read;
    return new InvalidText(`${read.message}, or auto or off`);
  };
  const show = (max: MemoryMax): string => (typeof max === 'number' ? bytes.show(max) : max);
  return kindOf('size', 'SIZE', read, show);
}

export const MEMORY_OPTION = {
  'memory-max': one(memoryMax(), {
    default: 'auto',
    help: 'memory near which visitors are turned away; auto is the container or the machine',
    isTuning: true,
  }),
};

export const LIMIT_OPTIONS = {
  'visitor-connections-per-ip-max': count('visitor connections of one address at once'),
  'connections-per-second-per-ip-max': count('new visitor connections a second of one address'),
  'tunnel-connections-max': count('open streams of one tunnel at once'),
  'requests-per-second-max': count('HTTP requests a second, of all visitors'),
  'requests-per-second-per-ip-max': count('HTTP requests a second of one address'),
  'tunnel-requests-per-second-max': count('HTTP requests a second to one tunnel'),
  'tunnel-bytes-in-per-second-max': bytes(KIB, 'bytes a second from visitors of one tunnel'),
  'tunnel-bytes-out-per-second-max': bytes(KIB, 'bytes a second to visitors of one tunnel'),
  'request-body-max': bytes(1, 'largest body of an HTTP request'),
};

/** Of the whole server. */
export function buildLimits(values: ValuesOf<typeof LIMIT_OPTIONS>): VisitorLimits {
  return {
    connectionsPerAddressMax: values['visitor-connections-per-ip-max'],
    addressConnectionsPerSecondMax: values['connections-per-second-per-ip-max'],
    tunnelConnectionsMax: values['tunnel-connections-max'],
    requestsPerSecondMax: values['requests-per-second-max'],
    addressRequestsPerSecondMax: values['requests-per-second-per-ip-max'],
    tunnelRequestsPerSecondMax: values['tunnel-requests-per-second-max'],
    tunnelBytesInPerSecondMax: values['tunnel-bytes-in-per-second-max'],
    tunnelBytesOutPerSecondMax: values['tunnel-bytes-out-per-second-max'],
    requestBodyBytesMax: values['request-body-max'],
  };
}
