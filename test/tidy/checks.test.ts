// Each check of the repository fails on a bad snippet and passes on a good one: a checker that
// cannot fail checks nothing. Bad words stand inside strings, where the checks do not look.

import assert from 'node:assert/strict';
import test from 'node:test';
import {
  errorLine,
  errorTableProblems,
  foreignProblems,
  linkProblems,
  messageTableProblems,
  protocolProblems,
  referenceProblems,
  rowProblems,
  testTableProblems,
  titleProblems,
  unmatchedTestProblems,
} from './documents.ts';
import { importProblems, unreachableFiles } from './rooms.ts';
import { functionProblems, headerProblems, nameProblems, sizeProblems } from './shape.ts';
import { supplyProblems } from './supply.ts';
import { tokenProblems } from './tokens.ts';
import type { SourceFile } from './tree.ts';

type Check = (file: SourceFile) => readonly unknown[];

function checkBad(check: Check, path: string, text: string): void {
  assert.equal(check({ path, text }).length, 1, `not noticed in ${path}: ${text}`);
}

function checkGood(check: Check, path: string, text: string): void {
  assert.deepEqual(check({ path, text }), []);
}

test('imports against the table of rooms are noticed', () => {
  checkBad(importProblems, 'src/wire/a.ts', `import { x } from '../mux/b.ts';`);
  checkBad(importProblems, 'src/mux/a.ts', `import { x } from '../link/ws-link.ts';`);
  checkBad(importProblems, 'src/control/a.ts', `import { type X } from '../shard/relay.ts';`);
  checkBad(importProblems, 'src/base/a.ts', `export * from '../../test/x.ts';`);
  checkBad(importProblems, 'src/elsewhere/a.ts', '');
  checkGood(importProblems, 'src/mux/a.ts', `import { x } from '../link/link.ts';`);
  checkGood(importProblems, 'src/control/a.ts', `import { x } from '../shard/entry.ts';`);
  checkGood(importProblems, 'src/http/a.ts', `import { x } from '../base/errors.ts';`);
});

test('packages and built-in modules outside their rooms are noticed', () => {
  checkBad(importProblems, 'src/shard/a.ts', `import { WebSocket } from 'ws';`);
  checkBad(importProblems, 'src/control/a.ts', `import x from 'left-pad';`);
  checkBad(importProblems, 'src/http/a.ts', `import net from 'node:net';`);
  checkBad(
    importProblems,
    'src/mux/a.ts',
    `import { type MessagePort } from 'node:worker_threads';`,
  );
  checkBad(importProblems, 'src/control/a.ts', `import process from 'node:process';`);
  checkGood(importProblems, 'src/link/ws-link.ts', `import { WebSocket } from 'ws';`);
  checkGood(importProblems, 'src/shard/a.ts', `import net from 'node:net';`);
  checkGood(importProblems, 'src/shard/a.ts', `import type { X } from 'node:worker_threads';`);
});

test('a source file that nothing imports is noticed', () => {
  const files = [
    { path: 'src/cli/main.ts', text: `await import('./a.ts');` },
    { path: 'src/cli/a.ts', text: '' },
    { path: 'src/cli/b.ts', text: `import './a.ts';` },
  ];
  assert.deepEqual(unreachableFiles(files, ['src/cli/main.ts']), ['src/cli/b.ts']);
});

test('sizes over the limit are noticed', () => {
  checkBad(sizeProblems, 'src/base/a.ts', '\n'.repeat(501));
  checkGood(sizeProblems, 'src/base/a.ts', '\n'.repeat(500));
  checkBad(sizeProblems, 'src/base/a.ts', `const a = '${'x'.repeat(100)}';`);
  checkBad(sizeProblems, 'test/base/a.test.ts', `// ${'x'.repeat(100)}`);
  checkGood(sizeProblems, 'test/base/a.test.ts', `const a = '${'x'.repeat(100)}';`);
  checkGood(sizeProblems, 'src/base/a.ts', `// https://${'x'.repeat(100)}`);
  checkBad(functionProblems, 'src/base/a.ts', `function f() {${'\n'.repeat(70)}}`);
  checkGood(functionProblems, 'src/base/a.ts', `function f() {${'\n'.repeat(69)}}`);
  checkBad(functionProblems, 'src/base/a.ts', 'function f(a: A, b: B, c: C, d: D, e: E) {}');
  checkGood(functionProblems, 'src/base/a.ts', 'function f(a: A, b: B, c: C, d: D) {}');
});

test('missing headers and vague names are noticed', () => {
  checkBad(headerProblems, 'src/base/a.ts', '// One line.\n// Two.\n\nexport {};');
  checkBad(headerProblems, 'src/base/a.ts', '// x\n'.repeat(13));
  checkGood(headerProblems, 'src/cli/a.ts', '#!/usr/bin/env node\n// a\n// b\n// c\n');
  checkBad(nameProblems, 'src/base/utils.ts', '');
  checkBad(nameProblems, 'test/support/helpers.ts', '');
  checkBad(nameProblems, 'src/mux/stream-manager.ts', '');
  checkBad(nameProblems, 'src/mux/streamState.ts', '');
  checkGood(nameProblems, 'test/mux/stream-state.test.ts', '');
});

test('banned words are noticed in code and ignored elsewhere', () => {
  const bad: readonly [string, string][] = [
    ['src/mux/a.ts', 'let a: any;'],
    ['src/mux/a.ts', 'const a = x as Map<string, any>;'],
    ['src/mux/a.ts', 'enum A { B }'],
    ['src/mux/a.ts', 'namespace A { }'],
    ['test/a.test.ts', 'debugger;'],
    ['src/shard/a.ts', 'console.log(1);'],
    ['src/control/a.ts', 'process.exit(1);'],
    ['src/config/a.ts', 'process.env.HOME;'],
    ['src/mux/a.ts', 'Date.now();'],
    ['src/shard/a.ts', 'performance.now();'],
    ['src/mux/a.ts', 'Math.random();'],
    ['src/shard/a.ts', 'setInterval(f, 1);'],
    ['src/mux/a.ts', 'setTimeout(f, 1);'],
    ['src/shard/a.ts', 'Buffer.allocUnsafe(1);'],
    ['src/mux/a.ts', 'streams.find(f);'],
    ['test/a.test.ts', 'createServer({ insecureHTTPParser: true });'],
    ['test/a.test.ts', 'connect({ rejectUnauthorized: false });'],
    ['src/mux/a.ts', `// ${'TO'}${'DO'}: later`],
    ['src/mux/a.ts', 'export class StreamManager {}'],
  ];
  for (const [path, text] of bad) checkBad(tokenProblems, path, text);
  const good: readonly [string, string][] = [
    ['src/mux/a.ts', `const a = 'process.exit any'; // any console.log`],
    ['src/config/a.ts', 'z.enum(list); await Promise.any(list);'],
    ['src/cli/a.ts', 'console.log(process.env.HOME); process.exit(1);'],
    ['src/base/clock.ts', 'Date.now();'],
    ['src/wire/a.ts', 'Buffer.allocUnsafe(1);'],
    ['src/control/a.ts', 'const b = list.find(f); const n = { namespace: 1 };'],
    ['src/link/a.ts', 'connect({ rejectUnauthorized: true });'],
  ];
  for (const [path, text] of good) checkGood(tokenProblems, path, text);
});

test('tests that the runner would miss are noticed', () => {
  checkBad(unmatchedTestProblems, 'test/mux/session.ts', `test('works', () => {});`);
  checkBad(unmatchedTestProblems, 'test/fixtures/worker.mjs', '');
  checkGood(unmatchedTestProblems, 'test/mux/session.test.ts', `test('works', () => {});`);
  checkGood(unmatchedTestProblems, 'test/support/pair.ts', `/a/u.test('b');`);
});

test('links that lead nowhere are noticed', () => {
  const paths = new Set(['docs/b.md', 'native-free-bench/results/goals-2026-01-02T03-04-05Z.json']);
  const inTree = (file: SourceFile): string[] => linkProblems(file, (path) => paths.has(path));
  checkGood(
    inTree,
    'docs/a.md',
    '[b](b.md) [b](../docs/b.md#part) [c](https://c.test/c.md) [d](#d)',
  );
  checkGood(inTree, 'docs/a.md', 'raw: `goals-2026-01-02T03-04-05Z.json`');
  checkBad(inTree, 'docs/a.md', '[b](docs/b.md)');
  checkBad(inTree, 'docs/a.md', 'raw: goals-2026-01-02T03-04-06Z.json');
});

test('documents that disagree with the code are noticed', () => {
  checkBad(titleProblems, 'docs/a.md', '# One\n\n# Two\n');
  checkBad(titleProblems, 'docs/a.md', 'no title');
  checkGood(titleProblems, 'docs/a.md', '# One\n\n```sh\n# a comment\n```\n');
  checkBad(rowProblems, 'docs/a.md', '| a | b |\n|---|---|\n| 1 | 2 |\n\ntext\n| 3 | 4 |\n');
  checkGood(rowProblems, 'docs/a.md', '| a |\n|---|\n| 1 |\n\n```\n| no row |\n```\n');
  const paths = new Set(['docs/b.md']);
  const refer = (file: SourceFile): string[] => referenceProblems(file, paths);
  checkBad(refer, 'docs/operating/a.md', 'see `b.md`');
  checkGood(refer, 'docs/operating/a.md', 'see `../b.md` and `docs/b.md`');
  const row = { wire: 1, status: 0, source: 'peer', retryable: false, text: 'bad' } as const;
  const line = errorLine('SLW_A', row);
  assert.equal(line, '| `SLW_A` | 1 | – | peer | no | bad |');
  assert.deepEqual(errorTableProblems(`x\n${line}\n`, { SLW_A: row }), []);
  assert.equal(errorTableProblems('', { SLW_A: row }).length, 1);
  assert.equal(errorTableProblems(line.replace('| 1 |', '| 2 |'), { SLW_A: row }).length, 2);
  const hashed = '<!-- src/wire/frame.ts sha256:e3b0c44298fc1c14 -->';
  assert.deepEqual(protocolProblems(`a\n${hashed}\nb`, ''), []);
  assert.equal(protocolProblems(`a\n${hashed}\nb`, 'changed').length, 1);
});

test('a message that is not in the table, and one that is there alone, are noticed', () => {
  const source =
    'export type AMethods = B & {\n  one: {\n    takes: C;\n  };\n  two: { takes: D };\n};\n';
  const rows = ['| `one` | control → shard | call | x |', '| `two` | shard → control | call | x |'];
  assert.deepEqual(messageTableProblems(rows.join('\n'), [source]), []);
  assert.equal(messageTableProblems(rows[0] ?? '', [source]).length, 1);
  assert.equal(messageTableProblems(rows.join('\n'), []).length, 2);
});

test('an end-to-end test without a row, and a row without one, are noticed', () => {
  const row = '| `ssh.test.ts` | sshd |';
  assert.deepEqual(testTableProblems(row, ['test/e2e/ssh.test.ts', 'test/wire/a.test.ts']), []);
  assert.equal(testTableProblems(row, []).length, 1);
  assert.equal(testTableProblems('', ['test/e2e/ssh.test.ts']).length, 1);
});

test('paths of one machine are noticed', () => {
  checkBad(foreignProblems, 'docs/a.md', `see ${['', 'root', 'x'].join('/')}`);
  checkGood(foreignProblems, 'docs/a.md', 'see /var/lib/sluiceway');
});

test('a new package, an install script and a missing integrity are noticed', () => {
  const allowed = { packages: ['a'], countMax: 1 };
  const a = { integrity: 'sha512-x' };
  const fine = { packages: { '': {}, 'node_modules/a': a, 'node_modules/b': { ...a, dev: true } } };
  assert.deepEqual(supplyProblems({ dependencies: { a: '1' } }, fine, allowed), []);
  assert.equal(supplyProblems({ dependencies: { b: '1' } }, fine, allowed).length, 1);
  const scripted = { packages: { 'node_modules/a': { ...a, hasInstallScript: true } } };
  assert.equal(supplyProblems({}, scripted, allowed).length, 1);
  assert.equal(supplyProblems({}, { packages: { 'node_modules/a': {} } }, allowed).length, 1);
  const two = { packages: { 'node_modules/a': a, 'node_modules/c': a } };
  assert.equal(supplyProblems({}, two, allowed).length, 1);
});
