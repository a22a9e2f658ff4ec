// Who may visit a tunnel, as the cluster has it: `allowIps`, `loadBalancerSourceRanges`.
//
// Invariant: what is taken here its client takes as well, by the same bounds, as a client that ends
// at its start would be all that anybody sees; a list that is there never lets in everyone by being
// empty, though stored objects may be older than a definition that refuses it. Must not know: what
// becomes of an object whose list is wrong.

import { boundsProblem, TUNNEL_OPTIONS } from '../base/tunnel-options.ts';

/** Of a refused entry in a message; the longest network has fewer. */
const SHOWN_LENGTH_MAX = 64;

/** What is wrong with the list of a field, by its name; undefined for nothing, or no list. */
export function allowListProblem(
  field: string,
  list: readonly string[] | undefined,
): string | undefined {
  if (list === undefined) return undefined;
  if (list.length === 0) {
    return `${field} is empty, and nobody would be kept out; give an entry, or leave it out`;
  }
  const { problemOf } = TUNNEL_OPTIONS['allow-ips'];
  for (const text of list) {
    const problem = problemOf(text);
    if (problem !== undefined) return `${field}: '${text.slice(0, SHOWN_LENGTH_MAX)}' ${problem}`;
  }
  const beyond = boundsProblem({ 'allow-ips': list });
  return beyond === undefined ? undefined : `${field}: ${beyond}`;
}
