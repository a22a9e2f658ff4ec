// Networks as options take them, and lists of them in files: `--trusted-proxies @balancers.txt`.
//
// Invariant: a list that cannot be read, or that holds nothing, is a problem and never an empty
// list, for an empty list may protect nothing. Must not know: which options take networks.

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
    if (option.kind !== network || found === undefined) continue;
    const texts = found.texts.flatMap((text) => {
      if (!text.startsWith('@')) return [text];
      const path = text.slice(1);
      sources.listFiles?.add(path);
      const lines = readList(path, sources.readFile);
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
  return entries.length > 0 ? entries : `${path} lists no network`;
}
