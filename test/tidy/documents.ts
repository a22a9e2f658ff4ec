// Checks that documents and code agree: titles, tables, links, errors, the protocol's hash.
//
// Each function takes texts and gives one line a problem, so that it can be tested on bad input.
// Invariant: a message says what to write. Must not know: where files lie.

import { createHash } from 'node:crypto';
import { dirname, join } from 'node:path/posix';
import type { ErrorRow } from '../../src/base/errors.ts';
import { scanCode } from './scanner.ts';
import type { SourceFile } from './tree.ts';

/** A markdown file has exactly one title, outside of code blocks. */
export function titleProblems(file: SourceFile): string[] {
  let inCode = false;
  let titles = 0;
  for (const line of file.text.split('\n')) {
    if (/^\s*(?:```|~~~)/u.test(line)) inCode = !inCode;
    else if (!inCode && /^# /u.test(line)) titles += 1;
  }
  return titles === 1 ? [] : [`${file.path}: ${titles} lines begin with '# ', wanted one title`];
}

/** Links, and raw figures of the bench, lead to what is there; `isThere` says of a path whether. */
export function linkProblems(file: SourceFile, isThere: (path: string) => boolean): string[] {
  const links = [...file.text.matchAll(/\]\(([^\s()#:]+)(?:#[^\s()]*)?\)/gu)];
  const targets = links.map((link) => join(dirname(file.path), link[1] ?? ''));
  const figures = [...file.text.matchAll(/\b[a-z]+-20\d\d-[\dTZ-]+\.json\b/gu)];
  const results = figures.map((figure) => `native-free-bench/results/${figure[0]}`);
  const lost = [...targets, ...results].filter((path) => !isThere(path));
  return lost.map((path) => `${file.path}: there is no ${path}`);
}

/** Rows of a table follow its head: behind a line of text they are text themselves. */
export function rowProblems(file: SourceFile): string[] {
  const lines = file.text.split('\n');
  let inCode = false;
  return lines.flatMap((line, index) => {
    if (/^\s*(?:```|~~~)/u.test(line)) inCode = !inCode;
    const isFirst = line.startsWith('|') && !(lines[index - 1] ?? '').startsWith('|');
    if (inCode || !isFirst || /^\|[-:| ]+\|$/u.test(lines[index + 1] ?? '')) return [];
    return [`${file.path}:${index + 1}: a row without a head: put it into its table`];
  });
}

/** A document that is named in backticks is there, from where the name stands or from the root.
 * Decisions are not edited, and are left out. */
export function referenceProblems(file: SourceFile, paths: ReadonlySet<string>): string[] {
  if (file.path.startsWith('docs/decisions/')) return [];
  const named = [...file.text.matchAll(/`([\w./-]+\.md)`/gu)].map((match) => match[1] ?? '');
  return named
    .filter((name) => !name.includes('NNNN'))
    .filter((name) => !paths.has(name) && !paths.has(join(dirname(file.path), name)))
    .map((name) => `${file.path}: no document is called '${name}' from there`);
}

/** The row that docs/errors.md must hold for an error. */
export function errorLine(code: string, row: ErrorRow): string {
  const wire = row.wire < 0 ? '–' : String(row.wire);
  const status = row.status === 0 ? '–' : String(row.status);
  const retry = row.retryable ? 'yes' : 'no';
  return `| \`${code}\` | ${wire} | ${status} | ${row.source} | ${retry} | ${row.text} |`;
}

/** Compares the rows of docs/errors.md with the table, in both directions. */
export function errorTableProblems(
  markdown: string,
  table: Readonly<Record<string, ErrorRow>>,
): string[] {
  const documented = markdown.split('\n').filter((line) => line.startsWith('| `SLW_'));
  const expected = Object.entries(table).map(([code, row]) => errorLine(code, row));
  const missing = expected.filter((line) => !documented.includes(line));
  const surplus = documented.filter((line) => !expected.includes(line));
  return [
    ...missing.map((line) => `docs/errors.md: add ${line}`),
    ...surplus.map((line) => `docs/errors.md: remove ${line}`),
  ];
}

/** docs/protocol.md names the hash of the frame code: one is not changed without the other. */
export function protocolProblems(markdown: string, frameSource: string): string[] {
  const hash = createHash('sha256').update(frameSource).digest('hex').slice(0, 16);
  const line = `<!-- src/wire/frame.ts sha256:${hash} -->`;
  if (markdown.split('\n').includes(line)) return [];
  return [`docs/protocol.md: read it against src/wire/frame.ts, correct it, then put in: ${line}`];
}

/** The table of messages in docs/internals.md names each method of `src/bridge`, and no other. */
export function messageTableProblems(markdown: string, sources: readonly string[]): string[] {
  const blocks = sources.flatMap(
    (text) => text.match(/^export type \w+Methods = .*?^\};$/gmsu) ?? [],
  );
  const methods = blocks.flatMap((block) =>
    [...block.matchAll(/^ {2}(\w+): \{/gmu)].map((match) => match[1] ?? ''),
  );
  const rows = markdown.match(/^\| .* \| (?:control → shard|shard → control) \| .*$/gmu) ?? [];
  const listed = rows.flatMap((row) =>
    [...(row.split('|', 2)[1] ?? '').matchAll(/`(\w+)`/gu)].map((match) => match[1] ?? ''),
  );
  const missing = methods.filter((method) => !listed.includes(method));
  const surplus = listed.filter((name) => !methods.includes(name));
  return [
    ...missing.map((name) => `docs/internals.md: add the message '${name}' to its table`),
    ...surplus.map((name) => `docs/internals.md: no message is called '${name}'`),
  ];
}

/** docs/testing.md says of each end-to-end test what it shows, and of none that is gone. */
export function testTableProblems(markdown: string, paths: readonly string[]): string[] {
  const names = paths.flatMap((path) => /^test\/e2e\/([^/]+\.test\.ts)$/u.exec(path)?.[1] ?? []);
  const rows = markdown.matchAll(/^\| `([^`/]+\.test\.ts)` \|/gmu);
  const listed = [...rows].map((match) => match[1] ?? '');
  return [
    ...names.filter((name) => !listed.includes(name)).map((name) => `add a row for ${name}`),
    ...listed.filter((name) => !names.includes(name)).map((name) => `remove the row of ${name}`),
  ].map((problem) => `docs/testing.md: ${problem}`);
}

/** Put together here, so that this file does not hold what it looks for. */
const FOREIGN = [
  ['', 'work', ''],
  ['', 'root', ''],
  ['', 'tmp', 'brief'],
].map((parts) => parts.join('/'));
const FOREIGN_WORDS = [
  ['ass', 'istant'],
  ['chat', 'bot'],
  ['language', ' model'],
].map((parts) => parts.join(''));

/** The tree speaks of the project alone: no path of one machine, no word about its making. */
export function foreignProblems(file: SourceFile): string[] {
  return file.text.split('\n').flatMap((line, index) => {
    const low = line.toLowerCase();
    const found = [...FOREIGN, ...FOREIGN_WORDS].filter((word) => low.includes(word));
    return found.map((word) => `${file.path}:${index + 1}: '${word}' is not of this project`);
  });
}

/** A file that holds tests, but that the runner's glob `test/**\/*.test.ts` does not match. */
export function unmatchedTestProblems(file: SourceFile): string[] {
  if (!file.path.startsWith('test/') || file.path.endsWith('.test.ts')) return [];
  if (/\.(?:js|mjs|cjs)$/u.test(file.path)) {
    return [`${file.path}: any script below test/ runs as a test: make it a .ts fixture`];
  }
  const code = file.path.endsWith('.ts') ? scanCode(file.text) : [];
  const isTest = code.some(
    (token, index) =>
      ['test', 'it', 'describe', 'suite'].includes(token.text) &&
      code[index - 1]?.text !== '.' &&
      code[index - 1]?.text !== 'function' &&
      code[index + 1]?.text === '(' &&
      code[index + 2]?.kind === 'string',
  );
  return isTest ? [`${file.path}: never runs: name it *.test.ts`] : [];
}
