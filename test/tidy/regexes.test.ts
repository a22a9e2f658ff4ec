// No regular expression that meets bytes from the network takes more than linear time.
//
// Goal: nobody can stall a shard with a long word. Method: the shape of every literal in the rooms
// that such bytes reach; those of the operator's own configuration may be slow. The rule itself is
// tried on expressions that are known to be slow.

import assert from 'node:assert/strict';
import test from 'node:test';
import { regexProblem } from './regexes.ts';
import { scanCode } from './scanner.ts';
import { textFiles } from './tree.ts';

/** Rooms that read what the operator wrote, and nothing else. */
const OPERATOR = /^src\/(?:cli|config)\//u;
const SOURCES = textFiles().filter(
  ({ path }) => /^src\/.*\.ts$/u.test(path) && !OPERATOR.test(path),
);

const SLOW = [
  ...['/(a+)+$/', '/(a|a)*b/', '/^(\\d+)*$/', '/a+a+$/', '/^.*foo.*$/', '/[\\r\\n]+$/', '/\\s+$/'],
  ...['/^(a+|b)*c/', '/(x)\\1+/', '/(?<a>x)\\k<a>/', '/(?=a*b)a/', '/^\\w+[a-z]+$/', '/x*y/'],
  ...['/^(\\d+){2,9}$/', '/^a+(b?)a$/', '/^[^:]*:?[^/]*$/', '/^(a|b+)b$/', '/ *,/', '/^a*?a/'],
];
const FAST = [
  '/^[a|b]+$/',
  ...['/[_.]/g', '/^bearer +/i', '/^(localhost|127\\.\\d+\\.\\d+|\\[::1\\])(:\\d+)?$/i'],
  ...['/^Max open files +(\\d+)/m', '/^[A-Za-z0-9._-]{1,64}$/', '/^(?!-)[a-z0-9_-]{1,63}(?<!-)$/'],
  ...['/^(\\[[0-9a-f:.]+\\])(:\\d+)?$/i', '/^ref: (refs\\/[\\w./-]+)$/', '/^"[^"]*"$/'],
];

test('expressions that network input meets are linear by their shape', () => {
  const literals = SOURCES.flatMap(({ path, text }) =>
    scanCode(text)
      .filter(({ kind }) => kind === 'regex')
      .map((token) => ({ at: `${path}:${token.line}`, text: token.text })),
  );
  assert.ok(literals.length > 0, 'no literal was found');
  const problems = literals
    .map(({ at, text }) => ({ at, text, problem: regexProblem(text) }))
    .filter(({ problem }) => problem !== '')
    .map(({ at, text, problem }) => `${at}: ${text}: ${problem}`);
  assert.deepEqual(problems, []);
});

test('no expression is put together from text', () => {
  const made = SOURCES.filter(({ text }) =>
    scanCode(text).some((token) => token.text === 'RegExp'),
  );
  assert.deepEqual(
    made.map(({ path }) => path),
    [],
    'a literal can be looked at, a text cannot',
  );
});

test('the rule notices slow expressions, and lets fast ones through', () => {
  for (const literal of SLOW) assert.notEqual(regexProblem(literal), '', literal);
  for (const literal of FAST) assert.equal(regexProblem(literal), '', literal);
});
