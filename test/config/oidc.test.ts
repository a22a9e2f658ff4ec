// Goal: a rule lets in whom it describes and nobody else, and a rule that describes everybody, or
// cannot be used, is refused. Method: patterns against a naive matcher, files by hand.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { matchesClaims, matchesPattern } from '../../src/config/oidc.ts';
import { Problems } from '../../src/config/problems.ts';
import type { TokenEntry } from '../../src/config/token-entry.ts';
import { readTokensFile } from '../../src/config/tokens-file.ts';

function naive(pattern: string, text: string): boolean {
  if (pattern === '') return text === '';
  const [head = '', rest] = [pattern[0], pattern.slice(1)];
  if (head !== '*') return text[0] === head && naive(rest, text.slice(1));
  return Array.from({ length: text.length + 1 }, (_none, from) => text.slice(from)).some((tail) =>
    naive(rest, tail),
  );
}

test('patterns match as the naive matcher says', () => {
  const letters = fc.string({ unit: fc.constantFrom('a', 'b', '*'), maxLength: 7 });
  const texts = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 8 });
  fc.assert(
    fc.property(letters, texts, (pattern, text) => {
      assert.equal(matchesPattern(pattern, text), naive(pattern, text), `${pattern} ${text}`);
    }),
    { numRuns: 2000 },
  );
});

test('no pattern is slow', () => {
  assert.equal(matchesPattern(`${'a*'.repeat(500)}b`, 'a'.repeat(100_000)), false);
});

test('all claims of a rule must fit, one value of a list is enough', () => {
  const rules = [
    { claim: 'sub', patterns: ['repo:acme/app:*'] },
    { claim: 'ref', patterns: ['refs/heads/main', 'refs/tags/v*'] },
    { claim: 'groups', patterns: ['ops'] },
  ];
  const right = { sub: 'repo:acme/app:x', ref: 'refs/tags/v1', groups: ['dev', 'ops'] };
  assert.equal(matchesClaims(rules, right), true);
  for (const wrong of [
    { sub: 'repo:acme/app2:x' },
    { sub: 'xrepo:acme/app:x' },
    { sub: undefined },
    { sub: { toString: () => 'repo:acme/app:x' } },
    { ref: 'refs/heads/main2' },
    { groups: [] },
    { groups: [['ops']] },
    { groups: 'dev' },
  ]) {
    assert.equal(matchesClaims(rules, { ...right, ...wrong }), false, JSON.stringify(wrong));
  }
  assert.equal(matchesClaims([{ claim: 'toString', patterns: ['*x'] }], {}), false);
  assert.equal(matchesClaims([{ claim: 'count', patterns: ['7'] }], { count: 7 }), true);
});

function read(text: string): { entries: readonly TokenEntry[]; problem: string } {
  const problems = new Problems();
  const entries = readTokensFile({ path: 'tokens.yaml', text }, problems);
  try {
    problems.throwIfAny();
    return { entries, problem: '' };
  } catch (error) {
    return { entries, problem: String(error) };
  }
}

test('a rule has claims in place of hashes, and else what a token has', () => {
  const { entries, problem } = read(
    'tokens: []\noidc:\n  - name: preview\n    hosts: ["*.p.test"]\n    streams-max: 5\n' +
      '    session-max: 6h\n    claims:\n      sub: repo:acme/app:*\n      ref: [a, "b*"]\n',
  );
  assert.equal(problem, '');
  assert.deepEqual(entries, [
    {
      ...{ digests: [], hosts: ['*.p.test'], ports: [], udpPorts: [], isAdmin: false },
      name: 'preview',
      ...{ streamsMax: 5, sessionMaxMs: 6 * 3_600_000 },
      claims: [
        { claim: 'sub', patterns: ['repo:acme/app:*'] },
        { claim: 'ref', patterns: ['a', 'b*'] },
      ],
    },
  ]);
  assert.equal(read('oidc:\n  - name: x\n    claims: {sub: y}\n').entries.length, 1);
});

test('what could let in too many, or cannot be used, is a problem with its place', () => {
  const hash = `hashes: [sha256:${'a'.repeat(64)}]`;
  const rule = (rest: string): string => `oidc:\n  - name: x\n${rest}`;
  for (const [text, wanted] of [
    [rule('    claims: {sub: "*"}\n'), /line 3.*lets everybody of the issuer in/],
    [rule('    claims: {sub: ["a", "**"]}\n'), /lets everybody/],
    [rule('    claims: {}\n'), /must be a map of claims/],
    [rule('    claims: {aud: x}\n'), /'aud' tells nobody apart/],
    [rule('    claims: {sub: ""}\n'), /is no pattern/],
    [rule('    claims: {sub: a, sub: b}\n'), /line 3/],
    [rule('    claims: sub\n'), /must be a map of claims/],
    [rule(`    ${hash}\n    claims: {sub: a}\n`), /'hashes' is unknown/],
    [rule('    admin: true\n    claims: {sub: a}\n'), /'admin' is unknown/],
    [rule('    hosts: [a.test]\n'), /has no 'claims'/],
    [rule('    session-max: 1s\n    claims: {sub: a}\n'), /"session-max" '1s' is too small/],
    [`tokens:\n  - name: x\n    ${hash}\n    claims: {sub: a}\n`, /'claims' is unknown/],
    [`tokens:\n  - name: x\n    ${hash}\n${rule('    claims: {sub: a}\n')}`, /x/],
    ['oidc: {}\n', /must be "tokens:" and a list/],
    ['rules: []\n', /must be "tokens:" and a list/],
  ] as const) {
    const { entries, problem } = read(text);
    assert.match(problem, wanted, text);
    assert.deepEqual(entries, []);
  }
});
