// docs/config.md is written by hand; its tables must list exactly the options of the schema.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { COMMANDS, describeOptions } from '../src/config/print.ts';

const DOCUMENT = readFileSync(new URL('../docs/config.md', import.meta.url), 'utf8');
const HEADING = '| option | for | kind | default | meaning |';

/** Tables under the heading of options, as `section: option | for | kind | default`. */
function documentedOptions(): string[] {
  const rows: string[] = [];
  let section = '';
  let isOptionTable = false;
  for (const line of DOCUMENT.split('\n')) {
    if (line.startsWith('## ')) section = line.slice(3);
    isOptionTable = line === HEADING || (isOptionTable && line.startsWith('|'));
    if (!isOptionTable || line === HEADING || line.startsWith('|---')) continue;
    const [option, commands, kind, defaultText, meaning] = cellsOf(line);
    assert.ok(meaning, `${line} says what the option means`);
    rows.push(`${section}: ${[option, commands, kind, defaultText].join(' | ')}`);
  }
  return rows;
}

function cellsOf(line: string): string[] {
  return line
    .slice(1, -1)
    .split('|')
    .map((cell) => cell.trim().replaceAll('`', ''));
}

function schemaOptions(): string[] {
  const commands = new Map<string, string[]>();
  for (const command of COMMANDS) {
    for (const option of describeOptions(command)) {
      const section = option.isTuning ? 'Tuning' : 'Options';
      const kind = `${option.kind}${option.repeats ? ', repeat' : ''}`;
      const key = [section, option.flag ?? option.variable, kind, option.defaultText].join('\n');
      commands.set(key, [...(commands.get(key) ?? []), command]);
    }
  }
  return [...commands].map(([key, names]) => {
    const [section, name, kind, defaultText] = key.split('\n');
    return `${section}: ${[name, names.join(', '), kind, defaultText].join(' | ')}`;
  });
}

test('docs/config.md lists exactly the options of the schema, with kind and default', () => {
  assert.deepEqual(documentedOptions().sort(), schemaOptions().sort());
});

test('docs/config.md describes every kind of value', () => {
  const kinds = COMMANDS.flatMap((command) => describeOptions(command).map(({ kind }) => kind));
  for (const kind of new Set(kinds))
    assert.match(DOCUMENT, new RegExp(`^\\| ${kind} \\| .+ \\|$`, 'm'));
});
