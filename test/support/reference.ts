// The pages of docs that are made from the schema: a reference, and an example file for a command.
//
// Invariant: every option is there, in the order of the schema; what is not commented out in an
// example is all that such a file needs. Must not know: where the pages are kept.

import { RELOADS } from '../../src/config/changes.ts';
import { COMMANDS, describeOptions, type OptionDescription } from '../../src/config/print.ts';
import { SCHEMA } from '../../src/config/schema.ts';

type Command = 'server' | 'client';

/** What each file has to say; the rest has a default or is off. */
const NEEDED: Readonly<Record<Command, Readonly<Record<string, string>>>> = {
  server: { 'token-file': '/etc/sluiceway/token' },
  client: {
    url: '[wss://tunnel.example.com:8123]',
    'token-file': '/etc/sluiceway/token',
    upstream: '[example.com=http://127.0.0.1:3000]',
  },
};

export function renderReference(): string {
  const parts = COMMANDS.map((command) => {
    const isServer = command === 'server';
    const rows = describeOptions(command).map((option) => {
      const live = isServer ? ` ${RELOADS[option.name as keyof typeof RELOADS]} |` : '';
      const value = option.placeholder === '' ? '' : ` ${option.placeholder}`;
      const repeat = option.repeats ? ', repeat' : '';
      const flag = option.flag === undefined ? '' : code(`${option.flag}${value}`);
      const help = option.help.replaceAll('|', '\\|');
      const start = option.defaultText === '' ? '' : code(option.defaultText);
      return `| ${flag} | ${code(option.variable)} | ${option.kind}${repeat} | ${start} |${live} ${help} |`;
    });
    const columns = [
      'flag',
      'variable',
      'kind',
      'default',
      ...(isServer ? ['reload'] : []),
      'meaning',
    ];
    const head = `| ${columns.join(' | ')} |\n|${'---|'.repeat(columns.length)}`;
    return `## ${command}\n\n${head}\n${rows.join('\n')}\n`;
  });
  const reload =
    'Reload: `live` is taken over by a running server, `restart` is not (operating/reload.md).';
  const made = 'Made from the schema by `npm run docs`; [config.md](config.md) explains.';
  return `# Reference of options\n\n${made}\nA key of the file of \`--config\` is the flag without its dashes.\n${reload}\n\n${parts.join('\n')}`;
}

export function renderExample(command: Command): string {
  const keys = describeOptions(command).filter(({ key }) => key !== undefined);
  const head = [
    `# Every key of a file for \`sluiceway ${command} --config FILE\`, made from the schema.`,
    '#',
    '# A line that begins with "#" and a key is that key with its default, or with the form of its',
    '# value in angle brackets where it has none. Take the "#" away to set it.',
  ];
  return `${[...head, ...keys.flatMap((option) => entryOf(command, option))].join('\n')}\n`;
}

function entryOf(command: Command, option: OptionDescription): string[] {
  const { name, help, repeats } = option;
  const needed = NEEDED[command][name];
  const value = needed ?? defaultOf(command, option) ?? formOf(option);
  const shown = needed === undefined && repeats ? `[${value}]` : value;
  const isSaid = needed !== undefined || option.defaultText === '' || !value.startsWith('<');
  const start = isSaid ? [] : [`# Default: ${option.defaultText}.`];
  return ['', `# ${help}`, ...start, `${needed === undefined ? '#' : ''}${name}: ${shown}`];
}

/** Undefined where the default depends on the machine, or is nothing. */
function defaultOf(command: Command, { name, defaultText }: OptionDescription): string | undefined {
  const table = SCHEMA[command] as Readonly<
    Record<string, { parse(texts: readonly string[]): { readonly ok: boolean } }>
  >;
  if (defaultText === '' || table[name]?.parse([defaultText]).ok !== true) return undefined;
  return /^[\w./:-]*$/u.test(defaultText) && !defaultText.includes(': ')
    ? defaultText
    : JSON.stringify(defaultText);
}

/** In angle brackets, so that nobody takes it for a value. */
function formOf({ placeholder, kind }: OptionDescription): string {
  return `<${placeholder === '' ? kind : placeholder}>`;
}

function code(text: string): string {
  return `\`${text.replaceAll('|', '\\|')}\``;
}
