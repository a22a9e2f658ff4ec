// A run of TCP tunnels in one text: `8000-8010=127.0.0.1:9000-9010`, or `8000-8010` for the same
// ports on localhost.
//
// Invariant: as many ports here as there, in order; what stands behind `;` holds for each. Must not
// know: what one tunnel is.

import { readPortRange } from '../base/target.ts';
import { InvalidText } from './option.ts';

/** Ports of one run. Guess: a client has at most 1,000 tunnels. */
const RUN_MAX = 1000;
const RIGHT = 'write PORTS=HOST:PORTS, such as 8000-8010=127.0.0.1:9000-9010';

/** The text of each tunnel; the text itself when it is no run. */
export function expandPortRun(text: string): readonly string[] | InvalidText {
  const semicolon = text.indexOf(';');
  const head = semicolon === -1 ? text : text.slice(0, semicolon);
  const rest = text.slice(head.length);
  const [publicText = '', target] = head.trim().split('=', 2);
  if (!publicText.includes('-')) return [text];
  const ports = readPortRange(publicText);
  if (ports === undefined) return new InvalidText(`has no valid range of ports; ${RIGHT}`);
  const count = ports.last - ports.first + 1;
  if (count > RUN_MAX) {
    return new InvalidText(`has ${count} ports; give at most ${RUN_MAX}`);
  }
  const numbers = Array.from({ length: count }, (_, index) => index);
  if (target === undefined) return numbers.map((index) => `${ports.first + index}${rest}`);
  const colon = target.lastIndexOf(':');
  const upstream = readPortRange(target.slice(colon + 1));
  if (colon === -1 || upstream === undefined || upstream.last - upstream.first + 1 !== count) {
    return new InvalidText(`needs as many ports behind the "=" as before it; ${RIGHT}`);
  }
  const host = target.slice(0, colon);
  return numbers.map((index) => `${ports.first + index}=${host}:${upstream.first + index}${rest}`);
}
