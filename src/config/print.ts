// Shows options: descriptions for help and docs, and a resolved configuration as YAML.
//
// Invariant: what `maskedConfig` prints is a file that --config reads back as the same
// configuration, but for the secrets, which are masked and then refused. Must not know: the
// terminal.

import { stringify } from 'yaml';
import { variableOf } from './merge.ts';
import type { Option, OptionTable } from './option.ts';
import { type ConfigInput, resolveValues } from './resolve.ts';
import { type Command, SCHEMA } from './schema.ts';

export interface OptionDescription {
  readonly name: string;
  /** Absent for what only the environment can set. */
  readonly flag?: string;
  readonly variable: string;
  /** Absent for what a file cannot set. */
  readonly key?: string;
  readonly kind: string;
  /** Empty for a boolean. */
  readonly placeholder: string;
  /** Empty when there is no default. */
  readonly defaultText: string;
  readonly repeats: boolean;
  readonly isTuning: boolean;
  readonly help: string;
}

export const COMMANDS = Object.keys(SCHEMA) as readonly Command[];

export function describeOptions(command: Command): readonly OptionDescription[] {
  return Object.entries<Option<unknown>>(SCHEMA[command]).map(([name, option]) => ({
    name,
    ...(option.sources.includes('flag') ? { flag: `--${name}` } : {}),
    variable: variableOf(name),
    ...(option.sources.includes('file') ? { key: name } : {}),
    kind: option.kind.name,
    placeholder: option.kind.placeholder,
    defaultText: option.defaultText,
    repeats: option.repeats,
    isTuning: option.isTuning,
    help: option.help,
  }));
}

/** The resolved options as YAML in the form of --config; throws as `resolveConfig` does. */
export function maskedConfig(input: ConfigInput): string {
  const { values } = resolveValues(input);
  const shown: Record<string, Printed | readonly Printed[]> = {};
  const table: OptionTable = SCHEMA[input.command];
  for (const [name, option] of Object.entries(table)) {
    if (!option.sources.includes('file')) continue;
    const texts = option.show((values as Readonly<Record<string, unknown>>)[name]);
    const [first] = texts;
    if (first === undefined) continue;
    const { name: kind } = option.kind;
    shown[name] = option.repeats ? texts.map((text) => plain(text, kind)) : plain(first, kind);
  }
  return stringify(shown, { lineWidth: 0 });
}

type Printed = string | number | boolean;

/** Numbers and booleans without the quotes that YAML would put around their texts. */
function plain(text: string, kind: string): Printed {
  if (kind === 'boolean') return text === 'true';
  return kind === 'integer' && /^\d+$/.test(text) ? Number(text) : text;
}
