// Goal: a target means one way below the folder or none, however it is written. Method: a table of
// targets, ordinary and hostile.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readRequestPath, showFolder } from '../../src/files/request-path.ts';

const GOOD: readonly (readonly [string, readonly string[], boolean])[] = [
  ['/', [], true],
  ['/a.txt', ['a.txt'], false],
  ['/a/', ['a'], true],
  ['/a/b.txt?x=../..', ['a', 'b.txt'], false],
  ['/a%20b.txt', ['a b.txt'], false],
  ['/%C3%BC.txt', ['ü.txt'], false],
  ['/a+b', ['a+b'], false],
  ['/100%25', ['100%'], false],
  ['/%2525', ['%25'], false],
  ['//a///b', ['a', 'b'], false],
  ['/...', ['...'], false],
  ['/..a', ['..a'], false],
  ['/a..', ['a..'], false],
  ['/.well-known/x', ['.well-known', 'x'], false],
  ['http://example.com', [], true],
  ['http://example.com?x', [], true],
  ['HTTPS://example.com:1/a', ['a'], false],
  ['/C:/a', ['C:', 'a'], false],
  ['/%3Cscript%3E', ['<script>'], false],
];

for (const [target, names, isFolder] of GOOD) {
  test(`${target} is ${JSON.stringify(names)}`, () => {
    const read = readRequestPath(target);
    assert.ok(typeof read !== 'number', String(read));
    assert.deepEqual(read.names, names);
    assert.equal(read.isFolder, isFolder);
  });
}

const BAD: readonly (readonly [string, number])[] = [
  ['', 400],
  ['*', 400],
  ['a', 400],
  ['../a', 400],
  ['example.com:443', 400],
  ['ftp://example.com/', 400],
  ['http:///../a', 404],
  ['/a#b', 400],
  ['/%', 400],
  ['/%2', 400],
  ['/%zz', 400],
  ['/%c0%af', 400],
  ['/%c0%ae%c0%ae/', 400],
  ['/%e0%80%af', 400],
  ['/%ff', 400],
  ['/%ed%a0%80', 400],
  ['/..', 404],
  ['/../', 404],
  ['/../../etc/passwd', 404],
  ['/a/../../b', 404],
  ['/a/..', 404],
  ['/./a', 404],
  ['/%2e%2e/a', 404],
  ['/%2E%2e/a', 404],
  ['/.%2e/a', 404],
  ['/%2e', 404],
  ['/a%2fb', 404],
  ['/..%2f..%2fetc%2fpasswd', 404],
  ['/a%5cb', 404],
  ['/..%5c..%5ca', 404],
  ['/..\\..\\a', 404],
  ['/a\\b', 404],
  ['/a%00', 404],
  ['/a%00.txt', 404],
  ['/a%0d%0aX: y', 404],
  ['/a%1b', 404],
  ['/a%7f', 404],
  [`/${'a'.repeat(8192)}`, 414],
];

for (const [target, status] of BAD) {
  test(`${JSON.stringify(target.slice(0, 40))} is ${status}`, () => {
    assert.equal(readRequestPath(target), status);
  });
}

test('where a folder is sent to is a way on the same host, whatever was asked for', () => {
  const rows = [
    ['/a', '/a/'],
    ['//evil.example', '/evil.example/'],
    ['/%2525', '/%2525/'],
    ['/a%20b?c=d', '/a%20b/?c=d'],
    ['http://evil.example/a', '/a/'],
  ] as const;
  for (const [target, location] of rows) {
    const read = readRequestPath(target);
    assert.ok(typeof read !== 'number');
    assert.equal(showFolder(read), location);
  }
});
