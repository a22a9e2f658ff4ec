// The repository tests itself: rooms and packages, sizes, headers, names, banned words, documents.
//
// Goal: the rules of docs/style.md hold because a test says so, each failure naming the way out.
// Method: the checks of test/tidy/ run over every file; exceptions stand here, each with a reason,
// and one that is no longer needed fails too. The checks themselves are tested in test/tidy/.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { ERRORS } from '../src/base/errors.ts';
import {
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
} from './tidy/documents.ts';
import { importProblems, PACKAGES, unreachableFiles } from './tidy/rooms.ts';
import { functionProblems, headerProblems, nameProblems, sizeProblems } from './tidy/shape.ts';
import { type LockFile, type Manifest, supplyProblems } from './tidy/supply.ts';
import { tokenProblems } from './tidy/tokens.ts';
import { ROOT, readText, type SourceFile, textFiles } from './tidy/tree.ts';

/** `file#function` that may be longer or take more parameters, and why. */
const FUNCTION_EXCEPTIONS: Readonly<Record<string, string>> = {
  'src/base/errors.ts#row': 'one row of the one table; its columns are named right below',
};
/** Files that may hold more lines, and why. */
const FILE_EXCEPTIONS: Readonly<Record<string, string>> = {};
/** `file#word` of the banned words that may stand all the same, and why. */
const WORD_EXCEPTIONS: Readonly<Record<string, string>> = {
  'src/shard/exit-link.ts#*find': 'once a link, over the few protocol versions there are',
  'src/shard/port-tls.ts#rejectUnauthorized':
    'a client may have a token in place of a certificate; `authorized` is looked at instead',
  'src/client/server-ca.ts#rejectUnauthorized':
    'asks for the CA that is to be trusted; the answer is verified before it counts',
  'src/control/private-ca.ts#Date': 'writes times that the clock gave; reads none',
  'src/control/status.ts#Date': 'writes a time that the clock gave; reads none',
};
/** In the root, beside dot files and folders. */
const ROOT_FILES: ReadonlySet<string> = new Set(
  'CHANGELOG.md README.md biome.json package.json tsconfig.json'
    .concat(' tsconfig.bench.json tsconfig.build.json tsconfig.page.json')
    .split(' '),
);
/** What starts on its own; the worker's entry is reached too, from those who start it. */
const ENTRIES = ['src/cli/main.ts', 'src/client/connect.ts'];
/** Source files that no entry point reaches, and why. */
const UNREACHED_EXCEPTIONS: Readonly<Record<string, string>> = {};
/** Packages of an installation without optional ones; 51 come with acme-client, 34 with
 * @kubernetes/client-node, most of the others with autocannon. */
const SHIPPED_PACKAGES_MAX = 161;

const FILES = textFiles();
const CODE = FILES.filter((file) => file.path.endsWith('.ts'));
const SOURCES = CODE.filter((file) => file.path.startsWith('src/'));

function assertNone(problems: readonly string[]): void {
  assert.equal(problems.length, 0, `\n  ${problems.join('\n  ')}\n`);
}

function assertOnlyExcepted(
  problems: readonly { readonly key: string; readonly text: string }[],
  exceptions: Readonly<Record<string, string>>,
): void {
  const keys = new Set(problems.map((problem) => problem.key));
  assertNone([
    ...problems
      .filter((problem) => exceptions[problem.key] === undefined)
      .map((problem) => problem.text),
    ...Object.keys(exceptions)
      .filter((key) => !keys.has(key))
      .map((key) => `${key}: no longer needed: drop the exception`),
  ]);
}

function each(files: readonly SourceFile[], check: (file: SourceFile) => string[]): string[] {
  return files.flatMap((file) => check(file));
}

test('rooms import only the rooms, packages and modules of the table', () => {
  assertNone(each(SOURCES, importProblems));
});

test('every source file is reached from an entry point', () => {
  const unreached = unreachableFiles(SOURCES, ENTRIES);
  const excepted = Object.keys(UNREACHED_EXCEPTIONS);
  assertNone([
    ...unreached
      .filter((path) => !excepted.includes(path))
      .map((path) => `${path}: imported from nowhere: use it or delete it`),
    ...excepted
      .filter((path) => !unreached.includes(path))
      .map((path) => `${path}: is reached now, or gone: drop the exception`),
  ]);
});

test('files and lines stay within their limits', () => {
  const problems = each(
    CODE.filter((file) => FILE_EXCEPTIONS[file.path] === undefined),
    sizeProblems,
  );
  const stale = Object.keys(FILE_EXCEPTIONS).filter((path) => {
    const file = CODE.find((one) => one.path === path);
    return file === undefined || sizeProblems(file).length === 0;
  });
  assertNone([...problems, ...stale.map((path) => `${path}: fits now: drop the exception`)]);
});

test('functions stay within 70 lines and 4 positional parameters', () => {
  const checked = CODE.filter((file) => !file.path.endsWith('.test.ts'));
  assertOnlyExcepted(checked.flatMap(functionProblems), FUNCTION_EXCEPTIONS);
});

test('source files open with what they own, keep and must not know', () => {
  assertNone(each(SOURCES, headerProblems));
});

test('files are named after one noun, in kebab-case', () => {
  assertNone(each(CODE, nameProblems));
});

test('banned words stay in their rooms', () => {
  assertOnlyExcepted(CODE.flatMap(tokenProblems), WORD_EXCEPTIONS);
});

test('nothing lies in the root that has no place there', () => {
  const strays = FILES.filter(
    ({ path }) => !path.includes('/') && !path.startsWith('.') && !ROOT_FILES.has(path),
  );
  assertNone(strays.map(({ path }) => `${path}: belongs to a folder, or is left over`));
});

test('every test file is matched by the glob of the runner', () => {
  assertNone(each(FILES, unmatchedTestProblems));
});

test('the tree speaks of the project alone', () => {
  assertNone(each(FILES, foreignProblems));
});

test('every markdown file has one title, and links to what is there', () => {
  const markdown = FILES.filter((file) => file.path.endsWith('.md'));
  assertNone(each(markdown, titleProblems));
  const isThere = (path: string): boolean => existsSync(join(ROOT, path));
  assertNone(each(markdown, (file) => linkProblems(file, isThere)));
});

test('rows of markdown stand in tables, and documents that it names are there', () => {
  const markdown = FILES.filter((file) => file.path.endsWith('.md'));
  const paths = new Set(markdown.map(({ path }) => path));
  assertNone(each(markdown, rowProblems));
  assertNone(each(markdown, (file) => referenceProblems(file, paths)));
});

test('docs/errors.md lists exactly the error table', () => {
  assertNone(errorTableProblems(readText('docs/errors.md'), ERRORS));
});

test('docs/internals.md lists exactly the messages between threads', () => {
  const bridge = SOURCES.filter(({ path }) => path.startsWith('src/bridge/'));
  const sources = bridge.map(({ text }) => text);
  assertNone(messageTableProblems(readText('docs/internals.md'), sources));
});

test('docs/testing.md lists exactly the end-to-end tests', () => {
  const paths = CODE.map(({ path }) => path);
  assertNone(testTableProblems(readText('docs/testing.md'), paths));
});

test('docs/protocol.md was read against src/wire/frame.ts as it is now', () => {
  assert.ok(existsSync(`${ROOT}/docs/protocol.md`), 'docs/protocol.md is missing');
  assertNone(protocolProblems(readText('docs/protocol.md'), readText('src/wire/frame.ts')));
});

test('the package ships only listed packages, and none with an install script', () => {
  const manifest = JSON.parse(readText('package.json')) as Manifest;
  const lock = JSON.parse(readText('package-lock.json')) as LockFile;
  const packages = Object.keys(PACKAGES);
  assertNone(supplyProblems(manifest, lock, { packages, countMax: SHIPPED_PACKAGES_MAX }));
});
