// Brings flags, environment and file together: for each option the texts of its strongest source.
//
// Invariant: flag before environment before file, option by option, a stronger list replacing the
// weaker one whole; every name that is not an option of the command is a problem, except another
// command's variables and those that Kubernetes or our own tests set. Must not know: kinds or
// defaults.

import { type ConfigFile, type FileEntry, readConfigFile } from './file.ts';
import { InvalidText, type Option, type OptionTable, type Source } from './option.ts';
import { nearestName, type Problems, quote } from './problems.ts';
import { splitUnquoted } from './upstream-options.ts';

/** A flag's value: true or false for a boolean, several texts when it was repeated. */
export type FlagValue = string | boolean | readonly string[];

export interface Given {
  /** One or more, or it is a problem. */
  readonly texts: readonly string[];
  /** `flag`, `environment variable SLUICEWAY_URL`, `sluiceway.yaml line 3, column 1`. */
  readonly origin: string;
  readonly source: Source;
}

export interface MergeInput {
  readonly command: string;
  readonly tables: Readonly<Record<string, OptionTable>>;
  readonly flags: Readonly<Record<string, FlagValue>>;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly file?: ConfigFile;
}

export const VARIABLE_PREFIX = 'SLUICEWAY_';
/** Set for the test suite's own use and inherited by the programs it starts. */
const TEST_VARIABLES: ReadonlySet<string> = new Set([
  'SLUICEWAY_FUZZ_SECONDS',
  'SLUICEWAY_SOAK_SECONDS',
]);
/**
 * What Kubernetes sets in every pod for a Service whose name starts with "sluiceway". That of a
 * port is known by its value, too: by its name alone it could be one of ours, misspelt.
 */
const KUBERNETES_VARIABLES: readonly (readonly [name: RegExp, value: RegExp])[] = [
  [/^SLUICEWAY_([A-Z0-9_]+_)?SERVICE_HOST$/, /^[0-9a-f.:]+$/],
  [/^SLUICEWAY_([A-Z0-9_]+_)?SERVICE_PORT(_[A-Z0-9_]+)?$/, /^\d+$/],
  [/^SLUICEWAY_([A-Z0-9_]+_)?PORT(_\d+_(TCP|UDP|SCTP))?$/, /^(tcp|udp|sctp):\/\//],
  [/^SLUICEWAY_([A-Z0-9_]+_)?PORT_\d+_(TCP|UDP|SCTP)_(PROTO|PORT|ADDR)$/, /^[0-9a-z.:]+$/],
];

export function variableOf(name: string): string {
  return `${VARIABLE_PREFIX}${name.toUpperCase().replaceAll('-', '_')}`;
}

/** An option as a problem names it: `--url (flag)`. */
export function labelOf(given: ReadonlyMap<string, Given>, name: string): string {
  return `--${name} (${originOf(given, name)})`;
}

export function originOf(given: ReadonlyMap<string, Given>, name: string): string {
  return given.get(name)?.origin ?? 'default';
}

export function merge(input: MergeInput, problems: Problems): Map<string, Given> {
  const merged = new Map<string, Given>();
  // Weakest first: a stronger source overwrites.
  const file = input.file === undefined ? undefined : readConfigFile(input.file, problems);
  let isWhole = file?.isWhole ?? true;
  for (const entry of file?.entries ?? []) {
    if (problems.isFull) break;
    if (!mergeFileEntry(merged, entry, input, problems)) isWhole = false;
  }
  mergeEnvironment(merged, input, problems);
  mergeFlags(merged, input, problems);
  refuseEmpty(merged, problems);
  // What could not be read is not "missing": say nothing of that sort.
  if (!isWhole) problems.throwIfAny();
  return merged;
}

/** False when the value has not even the form of one. */
function mergeFileEntry(
  merged: Map<string, Given>,
  entry: FileEntry,
  input: MergeInput,
  problems: Problems,
): boolean {
  const { key, origin } = entry;
  const option = optionOf(input, key);
  if (option === undefined || !option.sources.includes('file')) {
    problems.add(`${quote(key)} (${origin}): ${unknownName(input, key, 'file')}`);
    return true;
  }
  if (entry.isList && !option.repeats) {
    problems.add(`--${key} (${origin}): takes one value, not a list`);
    return true;
  }
  const texts = textsOfFile(entry, option, problems);
  if (texts === undefined) return false;
  merged.set(key, { texts, origin, source: 'file' });
  return true;
}

function textsOfFile(
  { key, items }: FileEntry,
  option: Option<unknown>,
  problems: Problems,
): readonly string[] | undefined {
  const texts: string[] = [];
  for (const item of items) {
    if (typeof item === 'string') {
      texts.push(...(option.repeats ? splitList(item, option.separators) : [item]));
    } else if (option.kind.textOfMap === undefined) {
      problems.add(`${item.origin}: ${quote(key)} must be one value or a list of values`);
      return undefined;
    } else {
      const text = option.kind.textOfMap(item.pairs);
      if (text instanceof InvalidText) {
        problems.add(`${item.origin}: ${quote(key)} ${text.message}`);
        return undefined;
      }
      texts.push(text);
    }
  }
  return texts;
}

function mergeEnvironment(merged: Map<string, Given>, input: MergeInput, problems: Problems): void {
  const known = new Map<string, string>();
  for (const table of Object.values(input.tables)) {
    for (const name of Object.keys(table)) known.set(variableOf(name), name);
  }
  for (const [variable, text] of Object.entries(input.env)) {
    if (!variable.startsWith(VARIABLE_PREFIX) || text === undefined) continue;
    const name = known.get(variable);
    const option = name === undefined ? undefined : optionOf(input, name);
    if (name !== undefined && option?.sources.includes('environment')) {
      const texts = option.repeats ? splitList(text, option.separators) : [text];
      const origin = `environment variable ${variable}`;
      merged.set(name, { texts, origin, source: 'environment' });
    } else if (name === undefined && !isForeign(variable, text) && !problems.isFull) {
      const hint = suggestion(nearestName(variable, known.keys()), '');
      problems.add(`${quote(variable)} (environment): unknown variable${hint}`);
    }
  }
}

function mergeFlags(merged: Map<string, Given>, input: MergeInput, problems: Problems): void {
  for (const [name, value] of Object.entries(input.flags)) {
    const option = optionOf(input, name);
    if (option === undefined || !option.sources.includes('flag')) {
      problems.add(`${quote(`--${name}`)} (flag): ${unknownName(input, name, 'flag')}`);
      continue;
    }
    const given = typeof value === 'object' ? value : [String(value)];
    const texts = option.repeats
      ? given.flatMap((text) => splitList(text, option.separators))
      : given;
    merged.set(name, { texts, origin: 'flag', source: 'flag' });
  }
}

/** Nothing in a list is what a template left of it; without a pin or a list, all are let in. */
function refuseEmpty(merged: ReadonlyMap<string, Given>, problems: Problems): void {
  for (const [name, { texts }] of merged) {
    if (texts.length > 0) continue;
    problems.add(`${labelOf(merged, name)}: is an empty list; give a value, or leave it out`);
  }
}

/** Only the table's own names: `constructor` in a file is a name like any other. */
function optionOf({ tables, command }: MergeInput, name: string) {
  const table = tables[command] ?? {};
  return Object.hasOwn(table, name) ? table[name] : undefined;
}

function unknownName(input: MergeInput, name: string, source: Source): string {
  if (optionOf(input, name)?.sources.includes('environment')) {
    return `cannot be set here; set ${variableOf(name)} in the environment`;
  }
  const owners = Object.keys(input.tables).filter((command) =>
    Object.hasOwn(input.tables[command] ?? {}, name),
  );
  if (owners.length > 0) {
    return `is an option of ${listed(owners)}, not of ${input.command}`;
  }
  const names = Object.entries(input.tables[input.command] ?? {})
    .filter(([, option]) => option.sources.includes(source))
    .map(([known]) => known);
  return `unknown option${suggestion(nearestName(name, names), source === 'flag' ? '--' : '')}`;
}

/** `a`, `a and b`, `a, b and c`. */
function listed(names: readonly string[]): string {
  const [last = '', ...others] = names.toReversed();
  return others.length === 0 ? last : `${others.toReversed().join(', ')} and ${last}`;
}

function suggestion(nearest: string | undefined, dashes: string): string {
  return nearest === undefined ? '' : `; did you mean ${dashes}${nearest}?`;
}

function isForeign(variable: string, text: string): boolean {
  if (TEST_VARIABLES.has(variable)) return true;
  return KUBERNETES_VARIABLES.some(([name, value]) => name.test(variable) && value.test(text));
}

/** Separators in quotes do not count, nor do blanks around an item and empty items. */
function splitList(text: string, separators: string): readonly string[] {
  const items = splitUnquoted(text, separators).map((item) => item.trim());
  const filled = items.filter((item) => item !== '');
  return filled.length === 0 ? [''] : filled;
}
