// Goal: the reference and the example files say what the schema says, and the examples can be used.
// Method: they are made anew and compared; each example is read as --config would.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { resolveConfig } from '../src/config/config.ts';
import { describeOptions } from '../src/config/print.ts';
import { renderExample, renderReference } from './support/reference.ts';

const DOCS = new URL('../docs/', import.meta.url);
const read = (name: string): string => readFileSync(new URL(name, DOCS), 'utf8');
const TOKEN = 'token-of-an-example-0123456789';

test('docs/reference.md is what `npm run docs` makes', () => {
  assert.equal(read('reference.md'), renderReference());
});

for (const command of ['server', 'client'] as const) {
  const name = `examples/${command}.yaml`;

  test(`docs/${name} is what \`npm run docs\` makes, and has every key`, () => {
    const text = read(name);
    assert.equal(text, renderExample(command));
    for (const { key } of describeOptions(command)) {
      if (key !== undefined) assert.match(text, new RegExp(`^#?${key}: `, 'mu'), key);
    }
  });

  const resolve = (text: string): unknown =>
    resolveConfig({
      command,
      flags: {},
      env: {},
      file: { path: name, text },
      defaults: { cores: 2, logFormat: 'json' },
      readFile: () => TOKEN,
    });

  test(`docs/${name} can be used as it is, and with every default taken as written`, () => {
    const text = read(name);
    const asItIs = resolve(text);
    // But for forms of values.
    const withDefaults = text.replaceAll(/^#([a-z-]+: (?!\[?<).*)$/gmu, '$1');
    assert.notEqual(withDefaults, text);
    assert.deepEqual(resolve(withDefaults), asItIs);
  });
}
