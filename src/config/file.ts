// Reads the YAML file of --config: a map from option names to scalars, flat maps, or lists of them.
//
// Invariant: every value comes out as the text that stands in the file, so that YAML's own types
// ("off", 1_000, 1e3) never change what an option means; whatever is not such a map is a problem
// with its line and column. Must not know: which options there are.

import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  type YAMLError,
  type YAMLMap,
} from 'yaml';
import { type MapPairs, optional } from './option.ts';
import { type Problems, quote } from './problems.ts';
import { path } from './quantity.ts';

/** Guess: a thousand tunnels take a tenth of it. */
export const CONFIG_FILE_BYTES_MAX = 1024 * 1024;

export const CONFIG_OPTION = {
  config: optional(path, {
    help: 'read options from this YAML file',
    sources: ['flag', 'environment'],
  }),
};

export interface ConfigFile {
  /** As the operator wrote it: it is only ever shown. */
  readonly path: string;
  readonly text: string;
}

export interface FileEntry {
  readonly key: string;
  /** Where the key stands: `sluiceway.yaml line 3, column 1`. */
  readonly origin: string;
  readonly items: readonly (string | FileMap)[];
  readonly isList: boolean;
}

/** A map in place of a value, whose own values are texts: no key twice, and none without one. */
export interface FileMap {
  readonly origin: string;
  readonly pairs: MapPairs;
}

export interface FileReading {
  /** Those that are well formed. */
  readonly entries: readonly FileEntry[];
  /** False when something in the file could not be read, and may seem to be missing. */
  readonly isWhole: boolean;
}

const UNREADABLE: FileReading = { entries: [], isWhole: false };

export function readConfigFile(file: ConfigFile, problems: Problems): FileReading {
  if (Buffer.byteLength(file.text) > CONFIG_FILE_BYTES_MAX) {
    problems.add(`${file.path}: the file is larger than 1 MiB`);
    return UNREADABLE;
  }
  try {
    return new FlatMapReader(file, problems).read();
  } catch (cause) {
    // The parser recurses: thousands of nested brackets exhaust the stack.
    problems.add(`${file.path}: the file cannot be parsed (${String(cause).slice(0, 100)})`);
    return UNREADABLE;
  }
}

/** The document of a file, or the first thing that is wrong with it; its line is in `lines`. */
export function parseYaml(
  text: string,
  lines: LineCounter,
): { readonly root: Node | null; readonly fault: YAMLError | undefined } {
  const parsed = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    // The parser compares each pair of keys, a minute for a file of the largest size.
    uniqueKeys: false,
    version: '1.2',
    schema: 'core',
  });
  // What follows the first one is mostly its consequence.
  const [fault] = [...parsed.errors, ...parsed.warnings];
  return { root: parsed.contents, fault };
}

class FlatMapReader {
  readonly #file: ConfigFile;
  readonly #problems: Problems;
  readonly #lines = new LineCounter();
  readonly #keys = new Set<string>();

  constructor(file: ConfigFile, problems: Problems) {
    this.#file = file;
    this.#problems = problems;
  }

  read(): FileReading {
    const { root, fault } = parseYaml(this.#file.text, this.#lines);
    if (fault !== undefined) {
      this.#add(fault.pos[0], fault.message);
      return UNREADABLE;
    }
    if (root === null) return { entries: [], isWhole: true };
    if (!isMap(root)) {
      this.#add(startOf(root), 'the file must be a map of options, one "name: value" a line');
      return UNREADABLE;
    }
    const entries = root.items.flatMap(({ key, value }) => {
      const entry = this.#readPair(key as Node, value as Node | null);
      return entry === undefined ? [] : [entry];
    });
    return { entries, isWhole: entries.length === root.items.length };
  }

  #readPair(key: Node, value: Node | null): FileEntry | undefined {
    const start = startOf(key);
    if (!isScalar(key) || typeof key.value !== 'string') {
      this.#add(start, 'a key must be the name of an option');
      return undefined;
    }
    if (this.#keys.has(key.value)) {
      this.#add(start, `${quote(key.value)} is given twice`);
      return undefined;
    }
    this.#keys.add(key.value);
    const items = isSeq(value) ? (value.items as readonly Node[]) : [value];
    const read: (string | FileMap)[] = [];
    for (const item of items) {
      const text = isMap(item) ? this.#readMap(item, key.value) : readScalar(item);
      if (text === undefined) {
        if (!isMap(item)) this.#addUnreadable(item ?? key, key.value, wantedIn(item));
        return undefined;
      }
      read.push(text);
    }
    return { key: key.value, origin: this.#where(start), items: read, isList: isSeq(value) };
  }

  /** Undefined where something is wrong, which is a problem then. */
  #readMap(map: YAMLMap, option: string): FileMap | undefined {
    const pairs = new Map<string, readonly string[]>();
    for (const { key, value } of map.items as readonly Pair<Node, Node | null>[]) {
      const name = readScalar(key);
      const items = isSeq(value) ? (value.items as readonly Node[]) : [value];
      const texts = items.map(readScalar).filter((text) => text !== undefined);
      if (name === undefined || texts.length !== items.length) {
        this.#addUnreadable(map, option, wantedIn(map));
        return undefined;
      }
      // An option that protects would be gone with its last value.
      const isEmpty = texts.length === 0;
      if (isEmpty || pairs.has(name)) {
        const wrong = isEmpty
          ? 'is an empty list; give a value, or leave it out'
          : 'is given twice';
        this.#add(startOf(key), `${quote(name)} ${wrong}`);
        return undefined;
      }
      pairs.set(name, texts);
    }
    return { origin: this.#where(startOf(map)), pairs: [...pairs] };
  }

  #addUnreadable(node: Node, option: string, wanted: string): void {
    this.#add(startOf(node), `${quote(option)} must be ${wanted}`);
  }

  #add(offset: number, message: string): void {
    this.#problems.add(`${this.#where(offset)}: ${message}`);
  }

  #where(offset: number): string {
    const { line, col } = this.#lines.linePos(offset);
    return `${this.#file.path} line ${line}, column ${col}`;
  }
}

function wantedIn(item: Node | null): string {
  if (isAlias(item)) return 'written out: aliases are not supported';
  return isScalar(item) || item === null ? 'given a value' : 'one value or a list of values';
}

/** The scalar's own text; undefined for null, maps, lists in lists and aliases. */
export function readScalar(node: Node | null): string | undefined {
  if (!isScalar(node) || node.value === null) return undefined;
  return node.source ?? String(node.value);
}

function startOf(node: Node): number {
  return node.range?.[0] ?? 0;
}
