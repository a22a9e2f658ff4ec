// Reads the values of a YAML file's nodes: texts, lists of them, and what a text stands for.
//
// Invariant: whatever cannot be read is a problem with its line and column, and once there is one
// the file is not whole any more; a value is the text that stands in the file. Must not know: which
// keys there are, or what values mean.

import { isSeq, LineCounter, type Node } from 'yaml';
import { type ConfigFile, parseYaml, readScalar } from './file.ts';
import { InvalidText, type Kind } from './option.ts';
import { type Problems, quote } from './problems.ts';

/** Values of one list, or of one map. */
export const LIST_MAX = 1000;

export class NodeReader {
  readonly #file: ConfigFile;
  readonly #problems: Problems;
  readonly #lines = new LineCounter();
  #isWhole = true;

  constructor(file: ConfigFile, problems: Problems) {
    this.#file = file;
    this.#problems = problems;
  }

  /** Has nothing been wrong so far? */
  get isWhole(): boolean {
    return this.#isWhole;
  }

  /** The file's own value; undefined when it is no YAML. */
  root(): { readonly node: Node | null } | undefined {
    const { root, fault } = parseYaml(this.#file.text, this.#lines);
    if (fault === undefined) return { node: root };
    this.addAt(fault.pos[0], fault.message);
    return undefined;
  }

  /** The scalar's text when `check` gives it back; otherwise `check` gave what is wrong. */
  text(
    node: Node,
    name: string,
    check: (text: string) => string,
  ): { readonly value: string } | undefined {
    const text = readScalar(node);
    const checked = text === undefined ? undefined : check(text);
    if (text !== undefined && checked === text) return { value: text };
    const what = text === undefined ? '' : ` ${quote(text)}`;
    this.add(node, `"${name}"${what} ${checked ?? 'must be given one value'}`);
    return undefined;
  }

  parsed(node: Node, name: string, kind: Kind<number>): number | undefined {
    let value: number | undefined;
    this.text(node, name, (text) => {
      const read = kind.read(text);
      if (read instanceof InvalidText) return read.message;
      value = read;
      return text;
    });
    return value;
  }

  /** `shown` is how a text that `read` finds wrong stands in the problem, behind a blank. */
  list<T>(
    node: Node,
    name: string,
    read: (text: string) => { readonly value: T } | string,
    shown: (text: string) => string = shownQuoted,
  ): readonly T[] | undefined {
    const items = isSeq(node) ? (node.items as readonly Node[]) : [node];
    if (items.length === 0 || items.length > LIST_MAX) {
      this.add(node, `"${name}" must have 1 to ${LIST_MAX} values`);
      return undefined;
    }
    const values: T[] = [];
    for (const item of items) {
      const text = readScalar(item);
      const value = text === undefined ? 'must be a list of values' : read(text);
      if (typeof value === 'object') values.push(value.value);
      else this.add(item, `"${name}"${text === undefined ? '' : shown(text)} ${value}`);
    }
    return values;
  }

  add(node: Node, message: string): void {
    this.addAt(node.range?.[0] ?? 0, message);
  }

  addAt(offset: number, message: string): void {
    const { line, col } = this.#lines.linePos(offset);
    this.#isWhole = false;
    this.#problems.add(`${this.#file.path} line ${line}, column ${col}: ${message}`);
  }
}

function shownQuoted(text: string): string {
  return ` ${quote(text)}`;
}
