// Goal: a value is the text that stands in the file, and what is wrong is named with its place and
// remembered. Method: small files, each with the one value that is read.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMap, type Node } from 'yaml';
import { ConfigError } from '../../src/base/errors.ts';
import { NodeReader } from '../../src/config/node-reader.ts';
import { Problems } from '../../src/config/problems.ts';
import { size } from '../../src/config/quantity.ts';

/** Reads the value of `key: value`; gives what came of it, and what was wrong. */
function readValue<T>(value: string, read: (reader: NodeReader, node: Node) => T) {
  const problems = new Problems();
  const reader = new NodeReader({ path: 'f.yaml', text: `key: ${value}\n` }, problems);
  const root = reader.root()?.node;
  const node = isMap(root) ? root.items[0]?.value : undefined;
  const found = node instanceof Object ? read(reader, node as Node) : undefined;
  try {
    problems.throwIfAny();
    return { found, isWhole: reader.isWhole, problems: [] };
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return { found, isWhole: reader.isWhole, problems: error.problems };
  }
}

const isShort = (text: string): string => (text.length < 6 ? text : 'is too long');

test('a text is what stands in the file, whatever YAML would make of it', () => {
  for (const text of ['off', '1_000', '0x10', '1e3', '~x']) {
    const { found, isWhole } = readValue(text, (reader, node) => reader.text(node, 'key', isShort));
    assert.deepEqual([found, isWhole], [{ value: text }, true], text);
  }
});

test('a text that is wrong, or none, is a problem with its place, and the file not whole', () => {
  const cases = [
    ['longer than that', `f.yaml line 1, column 6: "key" 'longer than that' is too long`],
    ['[a]', 'f.yaml line 1, column 6: "key" must be given one value'],
  ] as const;
  for (const [text, problem] of cases) {
    const read = readValue(text, (reader, node) => reader.text(node, 'key', isShort));
    assert.deepEqual(read, { found: undefined, isWhole: false, problems: [problem] });
  }
});

test('a value of a kind is read, or its problem is that of the kind', () => {
  const kind = size({ min: 1, max: 4096 });
  const parse = (text: string) =>
    readValue(text, (reader, node) => reader.parsed(node, 'key', kind));
  assert.equal(parse('2KiB').found, 2048);
  const { found, isWhole, problems } = parse('8MiB');
  assert.deepEqual([found, isWhole, problems.length], [undefined, false, 1]);
  assert.match(String(problems[0]), /^f\.yaml line 1, column 6: "key" '8MiB' /);
});

test('a list has each of its values, and one value is a list of it', () => {
  const read = (text: string, shown?: () => string) =>
    readValue(text, (reader, node) =>
      reader.list(
        node,
        'key',
        (item) => (item.length < 6 ? { value: item.toUpperCase() } : 'is too long'),
        shown,
      ),
    );
  assert.deepEqual(read('[a, "b"]').found, ['A', 'B']);
  assert.deepEqual(read('a').found, ['A']);
  assert.deepEqual(read('[]').problems, [
    'f.yaml line 1, column 6: "key" must have 1 to 1000 values',
  ]);
  assert.deepEqual(read('[a, secret, [b]]').problems, [
    `f.yaml line 1, column 10: "key" 'secret' is too long`,
    'f.yaml line 1, column 18: "key" must be a list of values',
  ]);
  const hidden = read('[secret]', () => '');
  assert.deepEqual(hidden.problems, ['f.yaml line 1, column 7: "key" is too long']);
  assert.equal(hidden.isWhole, false);
});

test('what is no YAML has no value, and the place of the fault', () => {
  const { found, isWhole, problems } = readValue('"', () => 'read');
  assert.deepEqual([found, isWhole, problems.length], [undefined, false, 1]);
  assert.match(String(problems[0]), /^f\.yaml line \d, column \d/);
});
