// Declares the schema's options to commander and reads the flags that were given.
//
// Invariant: every option of the schema becomes a flag, and nothing else does; what commander
// does not know goes on to the configuration, which names the nearest option together with all
// other problems. Must not know: what options mean.

import { type Command as CliCommand, Option } from 'commander';
import { ConfigError } from '../base/errors.ts';
import type { FlagValue } from '../config/merge.ts';
import { describeOptions, type OptionDescription } from '../config/print.ts';
import { quote } from '../config/problems.ts';
import type { Command } from '../config/schema.ts';
import type { Flags } from './sources.ts';

/** As a variable may say it. */
const BOOLEANS: ReadonlyMap<string, boolean> = new Map([
  ['true', true],
  ['1', true],
  ['false', false],
  ['0', false],
]);

/** Words that are not known are left for the configuration to name. */
export function addOptions(cli: CliCommand, command: Command): CliCommand {
  return declareOptions(cli, command).allowUnknownOption().allowExcessArguments();
}

/** The options alone: words that are not known are for commander to refuse. */
export function declareOptions(cli: CliCommand, command: Command): CliCommand {
  for (const description of describeOptions(command)) {
    if (description.flag === undefined) continue;
    cli.addOption(declare(description));
    if (description.placeholder === '') {
      cli.addOption(new Option(`--no-${description.name}`).hideHelp());
    }
  }
  return cli;
}

/** The flags given to `cli`, unknown ones among them. Throws for stray and missing values. */
export function collectFlags(cli: CliCommand, command: Command): Flags {
  const problems: string[] = [];
  const flags = knownFlags(cli, command, problems);
  const booleans = describeOptions(command).filter(({ placeholder }) => placeholder === '');
  const words = withoutBooleans(cli.args, new Set(booleans.map(({ name }) => name)), flags);
  collectUnknown(words, flags, problems);
  if (problems.length > 0) throw new ConfigError(problems);
  return flags;
}

/** Those that `cli` declares for `command`. Throws for missing values. */
export function collectDeclared(cli: CliCommand, command: Command): Flags {
  const problems: string[] = [];
  const flags = knownFlags(cli, command, problems);
  if (problems.length > 0) throw new ConfigError(problems);
  return flags;
}

function knownFlags(
  cli: CliCommand,
  command: Command,
  problems: string[],
): Record<string, FlagValue> {
  const flags: Record<string, FlagValue> = {};
  for (const { name, flag } of describeOptions(command)) {
    const attribute = new Option(`--${name}`).attributeName();
    if (flag === undefined || cli.getOptionValueSource(attribute) !== 'cli') continue;
    const value = cli.getOptionValue(attribute) as FlagValue;
    // commander takes the next word whatever it is: `--token --http-addr=off` would otherwise
    // run with a flag as its token. The word is not repeated, it may be a secret.
    const texts = typeof value === 'object' ? value : [value];
    if (texts.some((text) => String(text).startsWith('--'))) {
      problems.push(`${flag} (flag): needs a value, and one that does not begin with "--"`);
    }
    flags[name] = value;
  }
  return flags;
}

function declare(description: OptionDescription): Option {
  const { name, placeholder, defaultText, help, isTuning, repeats } = description;
  const value = placeholder === '' ? '' : ` <${placeholder}>`;
  const notes = [
    ...(repeats ? ['repeat or separate by commas'] : []),
    ...(defaultText === '' || placeholder === '' ? [] : [`default: ${defaultText}`]),
  ];
  const suffix = notes.length === 0 ? '' : ` (${notes.join('; ')})`;
  const option = new Option(`--${name}${value}`, `${help}${suffix}`);
  if (isTuning) option.helpGroup('Tuning:');
  if (repeats) {
    option.argParser((text: string, earlier: readonly string[] | undefined) => [
      ...(earlier ?? []),
      text,
    ]);
  }
  return option;
}

/** commander knows no `--once=false`: takes such words out, as a variable would have the value. */
function withoutBooleans(
  words: readonly string[],
  names: ReadonlySet<string>,
  flags: Record<string, FlagValue>,
): readonly string[] {
  return words.filter((word) => {
    const [, name = '', text = ''] = /^--([^=]+)=(.*)$/s.exec(word) ?? [];
    if (!names.has(name)) return true;
    flags[name] = BOOLEANS.get(text) ?? text;
    return false;
  });
}

/** What commander left: unknown options, the words behind them, and stray words. */
function collectUnknown(
  words: readonly string[],
  flags: Record<string, FlagValue>,
  problems: string[],
): void {
  let isBehindUnknown = false;
  for (const word of words) {
    const name = /^--?([^=]+)/.exec(word)?.[1];
    if (name !== undefined) flags[name] = '';
    else if (!isBehindUnknown) problems.push(`unexpected argument ${quote(word)}`);
    isBehindUnknown = name !== undefined && !word.includes('=');
  }
}
