// Every file of test/fixtures/config: the valid ones resolve, the invalid ones give the problem
// that their second line states. The first line names the command.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { resolveConfig } from '../../src/config/config.ts';
import type { Command } from '../../src/config/schema.ts';
import { configInput, problemsOf } from './input.ts';

const FIXTURES = new URL('../fixtures/config/', import.meta.url);

function resolveFile(name: string, text: string): unknown {
  const command = /^# command: (server|client|status)\r?$/m.exec(text)?.[1] as Command;
  return resolveConfig(configInput(command, { file: { path: name, text } }));
}

describe('valid files', () => {
  for (const name of readdirSync(new URL('valid/', FIXTURES))) {
    test(name, () => {
      resolveFile(name, readFileSync(new URL(`valid/${name}`, FIXTURES), 'utf8'));
    });
  }
});

describe('invalid files', () => {
  for (const name of readdirSync(new URL('invalid/', FIXTURES))) {
    test(name, () => {
      const text = readFileSync(new URL(`invalid/${name}`, FIXTURES), 'utf8');
      const expected = /^# problem: (.*)$/m.exec(text)?.[1];
      assert.ok(expected, 'the fixture states its problem');
      const problems = problemsOf(() => resolveFile(name, text));
      assert.match(problems.join('\n'), new RegExp(expected));
      assert.equal(problems.length, 1, problems.join('\n'));
    });
  }
});

test('reads values as they stand, whatever YAML makes of them', () => {
  const text = 'id: 0x1F\nurl: ws://localhost:8123\ntcp: [0022, 8080]\nmax-retry: 010\n';
  const config = resolveConfig(configInput('client', { file: { path: 'a.yaml', text } }));
  assert.equal(config.id, '0x1F');
  assert.equal(config.maxRetry, 10);
  assert.deepEqual(
    config.tunnels.map(({ name }) => name),
    ['tcp:22', 'tcp:8080'],
  );
});

test('refuses a file above 1 MiB before parsing it', () => {
  const text = `# ${'é'.repeat(512 * 1024)}\n`;
  const input = configInput('server', { file: { path: 'big.yaml', text } });
  assert.deepEqual(
    problemsOf(() => resolveConfig(input)),
    ['big.yaml: the file is larger than 1 MiB'],
  );
});

test('survives deep nesting and a flood of unknown keys', () => {
  const deep = { path: 'deep.yaml', text: '['.repeat(100_000) };
  assert.notEqual(problemsOf(() => resolveConfig(configInput('server', { file: deep }))).length, 0);
  const keys = Array.from({ length: 5000 }, (_, index) => `key-${index}: 1`).join('\n');
  const flood = { path: 'flood.yaml', text: keys };
  const problems = problemsOf(() => resolveConfig(configInput('server', { file: flood })));
  assert.equal(problems.length, 50);
});
