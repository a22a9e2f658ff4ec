// Options of the request inspector.
//
// Invariant: off unless a tunnel is named; bodies are kept only when that is asked for by itself.
// Must not know: what is kept, or how.

import type { InspectSettings } from '../base/inspection.ts';
import { many, one, type ValuesOf } from './option.ts';
import { integer, size, text } from './quantity.ts';

/** Guess: what somebody scrolls through. */
const REQUESTS_MAX = 1000;
const BODY_BYTES_MAX = 1024 * 1024;
const NAME = /^(?:\*|(?:\*\.)?[a-z0-9_](?:[a-z0-9._-]{0,251}[a-z0-9_])?(?:\/[^\s?#]{0,255})?)$/i;

export const INSPECT_OPTIONS = {
  inspect: many(
    text('NAME', NAME, 'is no HTTP tunnel; write its name, such as example.com, or * for all'),
    { help: 'keep the last requests of this tunnel for the dashboard; * for all; repeat' },
  ),
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
    tunnels: values.inspect.map((name) => name.toLowerCase()),
    requestsMax: values['inspect-requests'],
    bodyBytesMax: values['inspect-body-max'],
  };
}
