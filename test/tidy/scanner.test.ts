// The token cutter, on the places where simple ones go wrong: what looks like code inside strings,
// templates, comments and regular expressions, and what looks like those and is code.

import assert from 'node:assert/strict';
import test from 'node:test';
import { functionsOf } from './functions.ts';
import { importsOf, packageOf, resolveImport } from './imports.ts';
import { pairBrackets, scan, scanCode } from './scanner.ts';

function check(source: string, expected: readonly string[]): void {
  assert.deepEqual(
    scanCode(source).map((token) => token.text),
    expected,
  );
}

test('strings hide brackets, comments and quotes', () => {
  check(`a('{//', "it's")`, ['a', '(', `'{//'`, ',', `"it's"`, ')']);
  check(`'\\'' + b`, [`'\\''`, '+', 'b']);
});

test('templates hide text and show their holes', () => {
  // A hole's opening, put together so that it does not look like one here.
  const open = ['$', '{'].join('');
  check(`\`a ${open}b({ c: \`${open}d}\` })} }\` + e`, [
    ...[`\`a ${open}`, 'b', '(', '{', 'c', ':', `\`${open}`, 'd', '}`', '}', ')', '} }`'],
    ...['+', 'e'],
  ]);
});

test('a slash divides after a value and opens a regular expression elsewhere', () => {
  check('a / b / c', ['a', '/', 'b', '/', 'c']);
  check('x = /[/"]{2}/u.test(y)', ['x', '=', '/[/"]{2}/u', '.', 'test', '(', 'y', ')']);
  check('return /}/', ['return', '/}/']);
  check('(a) / 2', ['(', 'a', ')', '/', '2']);
});

test('comments are tokens with their lines', () => {
  const tokens = scan('// one\n/* two\n   three */ a');
  assert.deepEqual(
    tokens.map((token) => [token.kind, token.line, token.endLine]),
    [
      ['comment', 1, 1],
      ['comment', 2, 3],
      ['word', 3, 3],
    ],
  );
});

test('brackets pair across templates', () => {
  const tokens = scanCode(['f(`$', '{g(1)}`)'].join(''));
  const pairs = pairBrackets(tokens);
  assert.equal(pairs.get(1), tokens.length - 1);
});

function checkFunctions(source: string, expected: readonly [string, number, number][]): void {
  assert.deepEqual(
    functionsOf(source).map((shape) => [shape.name, shape.lines, shape.parameters]),
    expected,
  );
}

test('declarations, methods and arrows are found with lines and parameters', () => {
  checkFunctions('function f(a: number, b: Map<string, X>): void {\n}\n', [['f', 2, 2]]);
  checkFunctions('const f = async (a: A, b = { c: 1, d: 2 }): Promise<void> => {\n\n};', [
    ['f', 3, 2],
  ]);
  checkFunctions('class A {\n  constructor() {}\n  #go<T>(x: T): { a: T } | null {\n  }\n}', [
    ['constructor', 1, 0],
    ['#go', 2, 1],
  ]);
  checkFunctions('f((a, b) =>\n  a +\n  b, 1);', [['arrow', 3, 2]]);
});

test('control flow, calls and signatures are no functions', () => {
  checkFunctions('if (a) { b(c); } for (const x of y) { } switch (z) { }', []);
  checkFunctions('interface A { go(a: number): void; } declare function f(a: number): void;', []);
  checkFunctions('const a = b ? c(d) : { e: 1 };', []);
});

test('imports of every form are read, look-alikes are not', () => {
  const source = [
    `import a, { type B } from './b.ts';`,
    `import type { C } from 'c';`,
    `export * from '../d.ts';`,
    `import 'node:e';`,
    `const f = await import('@s/f/g');`,
    `import { type H, type I as J } from 'h';`,
    `import { type K, l } from 'k';`,
    `// import x from 'comment';`,
    `const s = "import y from 'text'";`,
    `export const g = 1; const u = import.meta.url;`,
  ].join('\n');
  assert.deepEqual(
    importsOf(source).map((site) => [site.specifier, site.line, site.typeOnly]),
    [
      ['./b.ts', 1, false],
      ['c', 2, true],
      ['../d.ts', 3, false],
      ['node:e', 4, false],
      ['@s/f/g', 5, false],
      ['h', 6, true],
      ['k', 7, false],
    ],
  );
  assert.equal(packageOf('@s/f/g'), '@s/f');
  assert.equal(packageOf('ws/lib'), 'ws');
  assert.equal(resolveImport('src/mux/a.ts', '../wire/b.ts'), 'src/wire/b.ts');
});
