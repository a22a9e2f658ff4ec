// Goal: every text comes back as it was from every reader of what is printed. Method: texts that
// YAML takes for something else, read by both versions of our own library, and by PyYAML, which is
// what docker-compose 1 and cloud-init have.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { plainYaml } from '../../src/deploy/plain-yaml.ts';
import { runProgram } from '../support/process.ts';
import { requirePrograms, scratchFolder, skipOrFail } from '../support/programs.ts';

const TEXTS = [
  ...['on', 'Off', 'yes', 'NO', 'y', 'N', 'true', 'null', 'Null', '~', '', '=', '<<', '.inf'],
  ...['0755', '0o17', '0x1F', '0b11', '1e3', '1E+3', '.5', '5.', '+1', '-1', '1_000', '22:22'],
  ...['2001-01-01', '-', '--', '---', '...', '- a', '? a', 'a: b', 'a:', 'a #b', '#a', '%a', '@a'],
  ...['*a', '&a', '!a', '!!str a', '`a`', '|', '>', '"a"', "'a'", '{a}', '[a]', ',a', ':8000'],
  ...[' a', 'a ', '  ', 'a\n', 'a\n\n', '\na', ' a\nb', 'a \nb\n', 'a\r\nb\r\n', 'a\n---\nb\n'],
  ...['\t', 'a\tb', 'a\t#b', 'a\n\tb', '\t\nb', 'a\\', '\\n', 'a\u00e4b', 'a\u{1f600}b'],
  ...[
    'a\u007fb',
    'a\u0085b',
    'a\u0085\nb\n',
    '\u2028',
    'a\u2029b',
    '\ufeffa',
    'a\u0001b',
    '\uffff',
  ],
  ...['x'.repeat(300), 'a '.repeat(100), '[::]:9124', 'C:\\x: y'],
];
const WRITTEN = {
  list: TEXTS,
  nested: TEXTS.map((text) => ({ path: text, content: text })),
  keys: Object.fromEntries(TEXTS.filter(({ length }) => length < 100).map((text) => [text, text])),
};

test('either version of YAML reads each text as it was', () => {
  for (const version of ['1.1', '1.2'] as const) {
    assert.deepEqual(parse(plainYaml(WRITTEN), { version }), WRITTEN);
  }
});

test('so does PyYAML', async (t) => {
  const programs = requirePrograms(t, ['python3']);
  if (programs === undefined) return;
  const file = path.join(scratchFolder(t), 'written.yaml');
  writeFileSync(file, plainYaml(WRITTEN));
  const python = (script: string) =>
    runProgram(t, { command: programs.python3, args: ['-c', script, file] });
  if ((await python('import yaml')).code !== 0) return skipOrFail(t, 'not installed: PyYAML');
  const read = 'json.dumps(yaml.safe_load(open(sys.argv[1], encoding="utf8", newline="")))';
  const { code, stdout, stderr } = await python(`import json, sys, yaml\nprint(${read})`);
  assert.equal(code, 0, stderr);
  assert.deepEqual(JSON.parse(stdout), WRITTEN);
});
