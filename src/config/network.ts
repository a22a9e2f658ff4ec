// Networks as options take them, and lists of them in files: `--trusted-proxies @balancers.txt`.
//
// Invariant: a list that cannot be read, or that holds nothing, is a problem and never an empty
// list, for an empty list may protect nothing. Must not know: which options take networks.

import { type Network, readNetwork, showNetwork } from '../base/network.ts';
import type { Given } from './merge.ts';
import { InvalidText, type Kind, kindOf, type OptionTable } from './option.ts';
import type { Problems } from './problems.ts';

/** `10.0.0.0/8`, `192.0.2.7`, `2001:db8::/32`, or `@FILE` with one of them a line. */
export const network: Kind<Network> = kindOf(
  'network',
  'CIDR',
  (text) => {
    const read = readNetwork(text);
    return typeof read === 'string' ? new InvalidText(read) : read;
  },
  showNetwork,
);

export interface ListSources {
  readonly table: OptionTable;
  readonly given: ReadonlyMap<string, Given>;
  readonly readFile: (path: string) => string;
}

/** `given` with every `@FILE` of a list of networks replaced by the lines of the file. */
export function readLists(sources: ListSources, problems: Problems): ReadonlyMap<string, Given> {
  const all = new Map(sources.given);
  for (const [name, option] of Object.entries(sources.table)) {
    const found = all.get(name);
    if (option.kind !== network || found === undefined) continue;
    const texts = found.texts.flatMap((text) => {
      if (!text.startsWith('@')) return [text];
      const lines = readList(text.slice(1), sources.readFile);
      if (typeof lines !== 'string') return lines;
      problems.add(`--${name} (${found.origin}): ${lines}`);
      return [];
    });
    all.set(name, { ...found, texts });
  }
  return all;
}

/** The entries of a list, or what is wrong with it. */
function readList(path: string, readFile: ListSources['readFile']): readonly string[] | string {
  let text: string;
  try {
    text = readFile(path);
  } catch (error) {
    return error instanceof Error ? error.message : `${path} cannot be read`;
  }
  const lines = text.split('\n').map((line) => line.replace(/#.*$/, '').trim());
  const entries = lines.filter((line) => line !== '');
  return entries.length > 0 ? entries : `${path} lists no network`;
}
