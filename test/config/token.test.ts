// T-AUTH-MATRIX, the part of the configuration: each way to give a token, by each source, wrong in
// each way, must be a problem. A token that opens nothing is a mistake; no token is an open door.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { inspect } from 'node:util';
import { resolveConfig } from '../../src/config/config.ts';
import { maskedConfig } from '../../src/config/print.ts';
import type { ConfigInput } from '../../src/config/resolve.ts';
import { configInput, problemsOf, TOKEN } from './input.ts';

const FILES: Readonly<Record<string, string>> = {
  good: TOKEN,
  newline: `${TOKEN}\n`,
  crlf: `${TOKEN}\r\n`,
  empty: '',
  blank: '\n',
};
const VARIABLES: Readonly<Record<string, string>> = {
  GOOD: TOKEN,
  NEWLINE: `${TOKEN}\n`,
  EMPTY: '',
  BLANK: ' \t',
};
const SOURCES = ['flag', 'environment', 'file'] as const;
/** The commands that have a token. */
type Command = 'server' | 'client' | 'status';
const MINIMUM: Readonly<Record<Command, Readonly<Record<string, string>>>> = {
  server: {},
  client: { url: 'ws://localhost:8123', upstream: 'localhost:3000' },
  status: { url: 'ws://localhost:8123' },
};

function readFile(path: string): string {
  const text = FILES[path];
  if (text === undefined) throw new Error(`the file ${path} does not exist`);
  return text;
}

interface TokenCase {
  readonly command: Command;
  readonly source: (typeof SOURCES)[number];
  readonly options: Readonly<Record<string, string>>;
}

function inputOf({ command, source, options }: TokenCase): ConfigInput<Command> {
  const all = { ...MINIMUM[command], ...options };
  const entries = Object.entries(all);
  const variables = entries.map(([name, text]) => [
    `SLUICEWAY_${name.toUpperCase().replaceAll('-', '_')}`,
    text,
  ]);
  const yaml = entries.map(([name, text]) => `${name}: ${JSON.stringify(text)}\n`).join('');
  return configInput(command, {
    flags: source === 'flag' ? all : {},
    env: source === 'environment' ? { ...VARIABLES, ...Object.fromEntries(variables) } : VARIABLES,
    ...(source === 'file' ? { file: { path: 'a.yaml', text: yaml } } : {}),
    readFile,
  });
}

const GOOD = [
  { token: TOKEN },
  { token: `${TOKEN}\n` },
  { 'token-file': 'good' },
  { 'token-file': 'newline' },
  { 'token-file': 'crlf' },
  { 'token-env': 'GOOD' },
  { 'token-env': 'NEWLINE' },
];
const BAD: readonly (readonly [Readonly<Record<string, string>>, RegExp])[] = [
  [{}, /^a token is required: give --token-file FILE, --token-env NAME or --token TEXT$/],
  [{ token: '' }, /^--token \(.+\): the token is empty$/],
  [{ token: '  ' }, /^--token \(.+\): the token is empty$/],
  [{ token: '\n' }, /^--token \(.+\): the token is empty$/],
  [{ token: 'with space' }, /must be printable ASCII without spaces$/],
  [{ token: `${TOKEN}\nsecond` }, /must be printable ASCII without spaces$/],
  [{ token: 'schlüssel' }, /must be printable ASCII without spaces$/],
  [{ token: 'a'.repeat(4097) }, /the token is longer than 4096 characters$/],
  [{ token: '[masked]' }, /which stands for a masked one$/],
  [{ 'token-file': '' }, /^--token-file \(.+\): is empty; give a value$/],
  [{ 'token-file': 'missing' }, /^--token-file \(.+\): the file missing does not exist$/],
  [{ 'token-file': 'empty' }, /^--token-file \(.+\): the token is empty$/],
  [{ 'token-file': 'blank' }, /^--token-file \(.+\): the token is empty$/],
  [{ 'token-env': '' }, /^--token-env \(.+\): is empty; give a value$/],
  [{ 'token-env': 'UNSET' }, /^--token-env \(.+\): the environment variable UNSET is not set$/],
  [{ 'token-env': 'toString' }, /the environment variable toString is not set$/],
  [{ 'token-env': 'EMPTY' }, /^--token-env \(.+\): the token is empty$/],
  [{ 'token-env': 'BLANK' }, /^--token-env \(.+\): the token is empty$/],
  [{ 'token-env': '$GOOD' }, /is not the name of an environment variable; write the name alone$/],
  [{ token: TOKEN, 'token-file': 'good' }, /given more than once: --token .* --token-file .*one$/],
  [{ token: TOKEN, 'token-env': 'GOOD' }, /given more than once: --token .* and --token-env /],
  [{ 'token-file': 'missing', 'token-env': 'GOOD' }, /the token is given more than once/],
];

for (const command of ['server', 'client', 'status'] as const) {
  for (const source of SOURCES) {
    describe(`${command}, token from ${source}`, () => {
      for (const options of GOOD) {
        test(`accepts ${JSON.stringify(options)}`, () => {
          const { token } = resolveConfig(inputOf({ command, source, options }));
          assert.equal(token?.reveal(), TOKEN);
        });
      }
      for (const [options, expected] of BAD) {
        test(`refuses ${JSON.stringify(options).slice(0, 60)} as ${expected.source}`, () => {
          const problems = problemsOf(() => resolveConfig(inputOf({ command, source, options })));
          assert.equal(problems.length, 1, problems.join('\n'));
          assert.match(problems[0] ?? '', expected);
        });
      }
    });
  }
}

test('a token in one source and a file in another are two tokens', () => {
  const input = configInput('server', { flags: { 'token-file': 'good' }, readFile });
  assert.match(problemsOf(() => resolveConfig(input)).join(), /SLUICEWAY_TOKEN\) and --token-file/);
});

test('the same option in a stronger source replaces the weaker one', () => {
  const input = configInput('server', { flags: { token: 'stronger' } });
  assert.equal(resolveConfig(input).token?.reveal(), 'stronger');
});

test('no problem, no print and no inspection shows the token', () => {
  const secret = 'geheim-geheim\u00e9';
  const wrong = configInput('server', { flags: { token: secret }, env: {} });
  assert.ok(
    !problemsOf(() => resolveConfig(wrong))
      .join()
      .includes('geheim'),
  );
  const list = configInput('server', { flags: { token: ['geheim-1', 'geheim-2'] }, env: {} });
  assert.ok(
    !problemsOf(() => resolveConfig(list))
      .join()
      .includes('geheim'),
  );
  const config = resolveConfig(configInput('server'));
  for (const text of [inspect(config, { depth: 9 }), JSON.stringify(config), `${config.token}`]) {
    assert.ok(!text.includes(TOKEN));
  }
  assert.match(maskedConfig(configInput('server')), /^token: "\[masked\]"$/m);
  const url = configInput('status', { flags: { url: 'wss://user:geheim@example.com' } });
  assert.ok(
    !problemsOf(() => resolveConfig(url))
      .join()
      .includes('geheim'),
  );
});
