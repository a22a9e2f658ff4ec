// Goal: a tokens file means what it says or nothing: every fault is named with its place, and no
// entry of a faulty file is used. Method: tables of files.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ConfigError } from '../../src/base/errors.ts';
import { Problems } from '../../src/config/problems.ts';
import type { TokenEntry } from '../../src/config/token-entry.ts';
import { addToken, listTokens, removeToken, rotateToken } from '../../src/config/tokens-edit.ts';
import { readTokensFile } from '../../src/config/tokens-file.ts';

const A = 'a'.repeat(64);
const B = 'b'.repeat(64);
const C = 'c'.repeat(64);
const PATH = 'tokens.yaml';

function read(text: string): { entries: readonly TokenEntry[]; problems: readonly string[] } {
  const problems = new Problems();
  const entries = readTokensFile({ path: PATH, text }, problems);
  try {
    problems.throwIfAny();
    return { entries, problems: [] };
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return { entries, problems: error.problems };
  }
}

const token = (lines: string): string =>
  `tokens:\n  - name: ci\n    hashes: [sha256:${A}]\n${lines}`;

describe('a tokens file', () => {
  test('gives what each token may do', () => {
    const text = token(
      '    hosts: ["*.example.com", b.test]\n    ports: [2222, 8000-8100]\n    udp-ports: 5353\n' +
        '    allow-ips: [10.0.0.0/8, "2001:db8::/32"]\n    expires: 2027-01-31T12:00:00Z\n' +
        '    admin: true\n    clients-max: 2\n    links-max: 8\n',
    );
    assert.deepEqual(read(text), {
      problems: [],
      entries: [
        {
          name: 'ci',
          digests: [A],
          hosts: ['*.example.com', 'b.test'],
          ports: [
            { first: 2222, last: 2222 },
            { first: 8000, last: 8100 },
          ],
          udpPorts: [{ first: 5353, last: 5353 }],
          allowIps: [
            { address: '10.0.0.0', prefixBits: 8 },
            { address: '2001:db8::', prefixBits: 32 },
          ],
          expiresMs: Date.UTC(2027, 0, 31, 12),
          isAdmin: true,
          clientsMax: 2,
          linksMax: 8,
        },
      ],
    });
  });

  test('allows nothing that it does not name', () => {
    const [entry] = read(token('')).entries;
    assert.deepEqual([entry?.hosts, entry?.ports, entry?.isAdmin], [[], [], false]);
  });

  test('may be empty, and then nobody has a token', () => {
    assert.deepEqual(read('tokens: []\n'), { entries: [], problems: [] });
  });

  const faults: readonly (readonly [string, string, RegExp])[] = [
    [
      'an unknown key',
      token('    host: [a.test]\n'),
      /line 4, column 5: 'host' is unknown; did you mean hosts\?/,
    ],
    [
      'a key twice',
      token('    admin: true\n    admin: false\n'),
      /line 5, .*'admin' is given twice/,
    ],
    ['an empty list', token('    allow-ips: []\n'), /line 4, .*"allow-ips" must have 1 to/],
    ['no value', token('    hosts:\n'), /line 4, .*"hosts" must be a list of values/],
    ['a host that is none', token('    hosts: ["a b"]\n'), /line 4, .*"hosts" 'a b' is no host/],
    ['a port that is none', token('    ports: [70000]\n'), /line 4, .*"ports" '70000' is no port/],
    ['a UDP port that is none', token('    udp-ports: [a]\n'), /"udp-ports" 'a' is no port/],
    ['a network that is none', token('    allow-ips: [10.0.0.1/8]\n'), /line 4, .*bits set behind/],
    ['a day that is none', token('    expires: 2027-13-31\n'), /line 4, .*"expires" .* is no time/],
    ['a word for a truth', token('    admin: yes\n'), /line 4, .*"admin" 'yes' is neither true/],
    [
      'a number that is none',
      token('    links-max: 0\n'),
      /line 4, .*"links-max" '0' is no number/,
    ],
    ['no name', `tokens:\n  - hashes: [sha256:${A}]\n`, /line 2, .*the token has no 'name'/],
    ['no hash', 'tokens:\n  - name: ci\n', /line 2, .*the token has no 'hashes'/],
    [
      'a secret for a hash',
      'tokens:\n  - name: ci\n    hashes: [hunter2]\n',
      /line 3, .*is no hash/,
    ],
    [
      'three hashes',
      `tokens:\n  - name: ci\n    hashes: [sha256:${A}, sha256:${B}, sha256:${C}]\n`,
      /has 3, at most 2/,
    ],
    [
      'a name twice',
      `${token('')}  - name: ci\n    hashes: [sha256:${B}]\n`,
      /'ci' is given twice/,
    ],
    [
      'a hash twice',
      `${token('')}  - name: cd\n    hashes: [sha256:${A}]\n`,
      /hash of 'cd' is given twice/,
    ],
    ['a list at the top', '- name: ci\n', /line 1, .*must be "tokens:" and a list/],
    ['nothing', '', /must be "tokens:" and a list/],
    ['something beside the tokens', 'tokens: []\nmore: 1\n', /must be "tokens:" and a list/],
    ['no YAML', 'tokens: [\n', /line \d+, column \d+/],
    [
      'an alias',
      `tokens:\n  - &a\n    name: ci\n    hashes: [sha256:${A}]\n  - *a\n`,
      /must be a map/,
    ],
  ];
  test('a secret in place of its hash is in no problem', () => {
    for (const hashes of [
      '[hunter2]',
      'hunter2',
      `[sha256:${A}, "hunter2"]`,
      '\n      - hunter2',
    ]) {
      const { entries, problems } = read(`tokens:\n  - name: ci\n    hashes: ${hashes}\n`);
      assert.deepEqual(entries, []);
      assert.match(problems.join('\n'), /line \d, column \d+: "hashes" is no hash; /, hashes);
      assert.doesNotMatch(problems.join('\n'), /hunter2/);
    }
  });

  for (const [what, text, wanted] of faults) {
    test(`with ${what} gives no token, and says where`, () => {
      const { entries, problems } = read(text);
      assert.deepEqual(entries, []);
      assert.match(problems.join('\n'), wanted);
      assert.match(problems[0] ?? '', /^tokens\.yaml line \d+, column \d+: /);
    });
  }
});

describe('a change of the file', () => {
  const bare = {
    hosts: [],
    ports: [],
    forwards: [],
    allowIps: [],
    expires: undefined,
    isAdmin: false,
  };
  const file = (text: string): { path: string; text: string } => ({ path: PATH, text });

  test('adds, rotates and removes, and keeps comments', () => {
    const first = addToken(file(''), { ...bare, name: 'ci', hash: `sha256:${A}`, ports: ['22'] });
    const noted = first.replace('  - name', '  # for the builds\n  - name');
    const both = addToken(file(noted), {
      ...bare,
      name: 'ops',
      hash: `sha256:${B}`,
      isAdmin: true,
    });
    assert.match(both, /# for the builds/);
    const rotated = rotateToken(file(both), 'ci', `sha256:${C}`);
    const again = rotateToken(file(rotated), 'ci', `sha256:${'d'.repeat(64)}`);
    const digests = (text: string): unknown => listTokens(file(text)).map((entry) => entry.digests);
    assert.deepEqual(digests(rotated), [[A, C], [B]]);
    assert.deepEqual(digests(again), [[C, 'd'.repeat(64)], [B]]);
    const without = removeToken(file(again), 'ci');
    assert.deepEqual(digests(without), [[B]]);
    assert.deepEqual(digests(removeToken(file(without), 'ops')), []);
  });

  test('finds a name that YAML reads as a number or a boolean, and leaves others as they are', () => {
    const names = ['2026', '0x7E9', '010', '1e3', '1.50', '.5', 'TRUE', '"77"', "'ci'"];
    const entries = names.map((name, at) => {
      const hash = `sha256:${String(at).repeat(64)}`;
      return `  - name: ${name}\n    hashes:\n      - ${hash}\n    ports:\n      - 0022 # few\n`;
    });
    const all = file(['tokens:\n', ...entries].join(''));
    for (const [at, written] of names.entries()) {
      const name = written.replaceAll(/["']/g, '');
      const others = ['tokens:\n', ...entries.toSpliced(at, 1)].join('');
      assert.equal(removeToken(all, name), others);
      const digests = listTokens(file(rotateToken(all, name, `sha256:${A}`))).map(
        (entry) => entry.digests,
      );
      assert.deepEqual(digests[at], [String(at).repeat(64), A]);
      const add = { ...bare, name, hash: `sha256:${A}` };
      assert.throws(() => addToken(all, add), /there is a token '/);
      const text = addToken(file(others), add);
      assert.ok(text.startsWith(others), text);
      assert.equal(listTokens(file(text)).at(-1)?.name, name);
    }
  });

  test('is refused for a taken name, an unknown one, a wrong value and a broken file', () => {
    const one = addToken(file(''), { ...bare, name: 'ci', hash: `sha256:${A}` });
    const add = { ...bare, name: 'ci', hash: `sha256:${B}` };
    assert.throws(() => addToken(file(one), add), /there is a token 'ci' already/);
    assert.throws(() => addToken(file(one), { ...add, name: 'a b' }), /is no name/);
    assert.throws(() => addToken(file(one), { ...add, name: 'x', hosts: ['/'] }), /is no host/);
    assert.throws(() => removeToken(file(one), 'cd'), /there is no token 'cd'/);
    assert.throws(() => rotateToken(file(one), 'cd', `sha256:${B}`), /there is no token 'cd'/);
    assert.throws(() => addToken(file('tokens: {'), add), /tokens\.yaml line/);
  });
});
