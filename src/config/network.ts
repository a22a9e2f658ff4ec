// Networks as options take them, and lists of them in files: `--trusted-proxies @balancers.txt`.
//
// Invariant: a list that cannot be read is a problem and never an empty list. So is one that holds
// nothing, where an empty list would let everybody in; of networks that are denied it says that
// nobody is. Must not know: which options take networks.

import { type Network, readNetwork, showNetwork } from '../base/network.ts';
import { FileElsewhere } from './elsewhere.ts';
import type { Given } from './merge.ts';
import { InvalidText, type Kind, kindOf, type OptionTable } from './option.ts';
import { type Problems, quote } from './problems.ts';

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

/** The same, to be kept out: a file of them may have none at the time. */
export const deniedNetwork: Kind<Network> = { ...network };

/** Guess: what scripts ban, or the networks of the largest countries; in a table 2 MiB at most. */
export const DENIED_MAX = 65_536;

export interface ListSources {
  readonly table: OptionTable;
  readonly given: ReadonlyMap<string, Given>;
  readonly readFile: (path: string) => string;
  /** Gathers the names of the files. */
  readonly listFiles?: Set<string>;
}

/** `given` with every `@FILE` of a list of networks replaced by the lines of the file. */
export function readLists(sources: ListSources, problems: Problems): ReadonlyMap<string, Given> {
  const all = new Map(sources.given);
  for (const [name, option] of Object.entries(sources.table)) {
    const found = all.get(name);
    const isDenying = option.kind === deniedNetwork;
    if (found === undefined || (option.kind !== network && !isDenying)) continue;
    const texts = found.texts.flatMap((text) => {
      if (!text.startsWith('@')) return [text];
      const path = text.slice(1);
      sources.listFiles?.add(path);
      const lines = readList(path, sources.readFile, isDenying ? 'no entry' : 'an entry');
      if (typeof lines !== 'string') return lines;
      problems.add(`--${name} (${found.origin}): ${lines}`);
      return [];
    });
    all.set(name, { ...found, texts });
  }
  return all;
}

/** The entries of a list, or what is wrong with it. */
function readList(
  path: string,
  readFile: ListSources['readFile'],
  least: 'an entry' | 'no entry',
): readonly string[] | string {
  let text: string;
  try {
    text = readFile(path);
  } catch (error) {
    if (error instanceof FileElsewhere) return [];
    return error instanceof Error ? error.message : `${path} cannot be read`;
  }
  const entries: string[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    const entry = line.replace(/#.*$/, '').trim();
    if (entry === '') continue;
    const read = readNetwork(entry);
    if (typeof read === 'string') return `${path} line ${index + 1}: ${quote(entry)} ${read}`;
    entries.push(entry);
  }
  return entries.length > 0 || least === 'no entry' ? entries : `${path} lists no network`;
}
