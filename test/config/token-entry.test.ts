// Goal: each key of a token gives its own part of the entry, and nothing where its value is wrong.
// Method: one value a key that is right, and one that is not; files are read in
// tokens-file.test.ts.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMap, type Node } from 'yaml';
import { ConfigError } from '../../src/base/errors.ts';
import { NodeReader } from '../../src/config/node-reader.ts';
import { Problems } from '../../src/config/problems.ts';
import { TOKEN_FIELDS, type TokenEntry } from '../../src/config/token-entry.ts';

const HASH = 'a'.repeat(64);

function read(key: string, value: string) {
  const problems = new Problems();
  const reader = new NodeReader({ path: 'f.yaml', text: `${key}: ${value}\n` }, problems);
  const root = reader.root()?.node;
  assert.ok(isMap(root));
  const part = TOKEN_FIELDS[key]?.(reader, root.items[0]?.value as Node);
  try {
    problems.throwIfAny();
    return { part, problems: [] };
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return { part, problems: error.problems };
  }
}

const CASES: Readonly<Record<string, readonly [string, Partial<TokenEntry>, wrong: string]>> = {
  name: ['ci', { name: 'ci' }, 'c/i'],
  hashes: [`[sha256:${HASH}]`, { digests: [HASH] }, '[md5:0]'],
  hosts: ['["*.a.test"]', { hosts: ['*.a.test'] }, '[a..test]'],
  ports: ['[1-2]', { ports: [{ first: 1, last: 2 }] }, '[2-1]'],
  'udp-ports': ['53', { udpPorts: [{ first: 53, last: 53 }] }, '0'],
  forwards: ['[db:5432]', { forwards: [{ host: 'db', first: 5432, last: 5432 }] }, '[":"]'],
  'allow-ips': ['10.0.0.0/8', { allowIps: [{ address: '10.0.0.0', prefixBits: 8 }] }, '10.0.0.1/8'],
  expires: ['1970-01-01T00:00:01Z', { expiresMs: 1000 }, 'tomorrow'],
  admin: ['true', { isAdmin: true }, 'yes'],
  'clients-max': ['2', { clientsMax: 2 }, '0'],
  'links-max': ['8', { linksMax: 8 }, '1000001'],
  'streams-max': ['100', { streamsMax: 100 }, '-1'],
  'requests-per-second-max': ['5', { requestsPerSecondMax: 5 }, '0.5'],
  'bytes-in-per-second-max': ['1MiB', { bytesInPerSecondMax: 1024 ** 2 }, '1'],
  'bytes-out-per-second-max': ['1KiB', { bytesOutPerSecondMax: 1024 }, 'fast'],
  'bytes-month-max': ['1GiB', { bytesMonthMax: 1024 ** 3 }, '2000000GiB'],
  claims: ['{sub: x}', { claims: [{ claim: 'sub', patterns: ['x'] }] }, '{sub: "*"}'],
  'session-max': ['1h', { sessionMaxMs: 3_600_000 }, '1s'],
};

test('every key gives its part of the entry, and what is wrong is one problem', () => {
  assert.deepEqual(Object.keys(TOKEN_FIELDS).toSorted(), Object.keys(CASES).toSorted());
  for (const [key, [right, part, wrong]] of Object.entries(CASES)) {
    assert.deepEqual(read(key, right), { part, problems: [] }, key);
    assert.equal(read(key, wrong).problems.length, 1, `${key}: ${wrong}`);
  }
});

test('more hashes than the old and the new are refused', () => {
  const three = ['a', 'b', 'c'].map((digit) => `sha256:${digit.repeat(64)}`);
  const { part, problems } = read('hashes', `[${three.join(', ')}]`);
  assert.equal(part, undefined);
  assert.match(String(problems[0]), /"hashes" has 3, at most 2/);
});

test('a token that was pasted in place of its hash is not shown', () => {
  assert.ok(!String(read('hashes', '[my-secret]').problems).includes('my-secret'));
  assert.ok(String(read('hosts', '["my..host"]').problems).includes('my..host'));
});
