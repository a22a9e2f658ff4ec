// Options of the request inspector.
//
// Invariant: off unless a tunnel is named; bodies are kept only when that is asked for by itself.
// Must not know: what is kept, or how.

import type { InspectSettings } from '../base/inspection.ts';
import { InvalidText, type Kind, kindOf, many, one, type ValuesOf } from './option.ts';
import { integer, size } from './quantity.ts';
import { readTunnelName } from './tunnel.ts';

/** Guess: what somebody scrolls through. */
const REQUESTS_MAX = 1000;
const BODY_BYTES_MAX = 1024 * 1024;
const RIGHT =
  'is no HTTP tunnel; write its name, such as example.com or example.com/api, or * for all';

/** In the form in which clients register it. */
const tunnelName: Kind<string> = kindOf(
  'tunnel name',
  'NAME',
  (text) => {
    const name = readTunnelName(text);
    return name instanceof InvalidText ? new InvalidText(RIGHT) : name;
  },
  String,
);

export const INSPECT_OPTIONS = {
  inspect: many(tunnelName, {
    help: 'keep the last requests of this tunnel for the dashboard; * for all; repeat',
  }),
  'inspect-requests': one(integer({ min: 1, max: REQUESTS_MAX }), {
    default: '100',
    help: 'requests kept of each inspected tunnel',
  }),
  'inspect-body-max': one(size({ min: 1, max: BODY_BYTES_MAX, offWord: 'off' }), {
    default: 'off',
    help: 'keep so much of each body of inspected requests',
  }),
};

export function buildInspect(values: ValuesOf<typeof INSPECT_OPTIONS>): InspectSettings {
  return {
    tunnels: values.inspect,
    requestsMax: values['inspect-requests'],
    bodyBytesMax: values['inspect-body-max'],
  };
}
