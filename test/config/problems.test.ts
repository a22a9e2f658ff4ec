import assert from 'node:assert/strict';
import { test } from 'node:test';
import { editDistance, nearestName, Problems, quote } from '../../src/config/problems.ts';
import { problemsOf } from './input.ts';

test('the distance counts inserts, deletes, replacements and swaps', () => {
  assert.equal(editDistance('', ''), 0);
  assert.equal(editDistance('abc', ''), 3);
  assert.equal(editDistance('abc', 'abc'), 0);
  assert.equal(editDistance('abc', 'abd'), 1);
  assert.equal(editDistance('abc', 'acb'), 1);
  assert.equal(editDistance('url', 'urls'), 1);
  assert.equal(editDistance('kitten', 'sitting'), 3);
});

test('only a near name is suggested', () => {
  const known = ['url', 'upstream', 'control-addr', 'tcp'];
  assert.equal(nearestName('upstraem', known), 'upstream');
  assert.equal(nearestName('control_addr', known), 'control-addr');
  assert.equal(nearestName('urls', known), 'url');
  assert.equal(nearestName('completely-different', known), undefined);
  assert.equal(nearestName('x'.repeat(100_000), known), undefined);
});

test('lines above the bound are counted', () => {
  const problems = new Problems();
  problems.throwIfAny();
  for (let line = 0; line < 60; line += 1) problems.add(`line ${line}`);
  const lines = problemsOf(() => problems.throwIfAny());
  assert.equal(lines.length, 51);
  assert.equal(lines.at(-1), 'and 10 more');
});

test('a quoted value is cut, escaped and without credentials', () => {
  assert.equal(quote('a\nb\u202e'), "'a?b?'");
  assert.equal(quote('wss://user:pw@host'), "'wss://[masked]@host'");
  assert.equal(quote('x'.repeat(100)).length, 83);
});

test('no part of a login is quoted, whatever it holds and however long it is', () => {
  const rows = [
    [`wss://:${'k'.repeat(75)}@a.example:8123`, "'wss://[masked]@a.example:8123'"],
    [`wss://:${'k'.repeat(300)}@a.example:8123`, "'wss://[masked]@a.example:8123'"],
    ['wss://user:p/ss@a.example:8123', "'wss://[masked]@a.example:8123'"],
    ['wss://user:p@ss@a.example', "'wss://[masked]@a.example'"],
    ['wss://user:p//s\ns@a.example', "'wss://[masked]@a.example'"],
    ['//user:pass@a.example', "'//[masked]@a.example'"],
    ['wss:/user:pass@a.example', "'wss:[masked]@a.example'"],
    ['user:p//ss@a.example', "'user:[masked]@a.example'"],
    ['a.example=http://user:p@ss@b', "'a.example=http://[masked]@b'"],
    ['someone@a.example', "'someone@a.example'"],
    ['@/etc/list', "'@/etc/list'"],
  ] as const;
  for (const [text, quoted] of rows) assert.equal(quote(text), quoted);
});
