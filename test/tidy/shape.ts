// Sizes, names and headers of files and functions.
//
// The limits are those of docs/style.md: what is aimed at is smaller, these are the hard stops.
// Invariant: exceptions are listed with a reason, and one that is no longer needed fails.
// Must not know: imports, tokens' meaning.

import path from 'node:path';
import { functionsOf } from './functions.ts';
import type { SourceFile } from './tree.ts';

export const FILE_LINES_MAX = 500;
export const FUNCTION_LINES_MAX = 70;
export const LINE_COLUMNS_MAX = 100;
export const PARAMETERS_MAX = 4;
export const HEADER_LINES = { least: 3, most: 12 } as const;

const VAGUE = new Set('util utils helper helpers common types misc shared lib'.split(' '));
const DOERS = /(?:^|-)(?:manager|handler|processor|service)s?(?:-|\.|$)/u;
const KEBAB = /^[a-z0-9]+(?:-[a-z0-9]+)*(?:\.fuzz)?(?:\.test)?\.ts$/u;

export function sizeProblems(file: SourceFile): string[] {
  const lines = file.text.split('\n');
  const count = lines.at(-1) === '' ? lines.length - 1 : lines.length;
  const problems: string[] = [];
  if (count > FILE_LINES_MAX) {
    problems.push(`${file.path}: ${count} lines, at most ${FILE_LINES_MAX}: split it by noun`);
  }
  for (const [index, line] of lines.entries()) {
    if ([...line].length <= LINE_COLUMNS_MAX || mayBeLong(file.path, line)) continue;
    problems.push(`${file.path}:${index + 1}: more than ${LINE_COLUMNS_MAX} columns: wrap it`);
  }
  return problems;
}

/** URLs; and in tests what the formatter lets through: long literals and titles, not comments. */
function mayBeLong(path: string, line: string): boolean {
  const isComment = /^\s*(?:\/\/|\/?\*)/u.test(line);
  return line.includes('://') || (path.startsWith('test/') && !isComment);
}

/** Problems of one file's functions, each with the key that an exception would name. */
export function functionProblems(file: SourceFile): { key: string; text: string }[] {
  return functionsOf(file.text).flatMap((shape) => {
    const key = `${file.path}#${shape.name}`;
    const at = `${file.path}:${shape.line}: ${shape.name}`;
    const problems: { key: string; text: string }[] = [];
    if (shape.lines > FUNCTION_LINES_MAX) {
      const text = `${at} has ${shape.lines} lines, at most ${FUNCTION_LINES_MAX}: extract a step`;
      problems.push({ key, text });
    }
    if (shape.parameters > PARAMETERS_MAX) {
      const text = `${at} has ${shape.parameters} positional parameters: take an options object`;
      problems.push({ key, text });
    }
    return problems;
  });
}

export function headerProblems(file: SourceFile): string[] {
  const lines = file.text.split('\n');
  const start = lines[0]?.startsWith('#!') ? 1 : 0;
  let count = 0;
  while (lines[start + count]?.startsWith('//')) count += 1;
  const { least, most } = HEADER_LINES;
  if (count >= least && count <= most) return [];
  return [
    `${file.path}: opens with ${count} comment lines, wanted ${least} to ${most}: ` +
      'what it owns, the invariant it keeps, what it must not know',
  ];
}

export function nameProblems(file: SourceFile): string[] {
  const name = path.posix.basename(file.path);
  const stem = name.replace(/(?:\.test)?\.ts$/u, '');
  if (!KEBAB.test(name)) return [`${file.path}: file names are kebab-case.ts`];
  if (VAGUE.has(stem)) return [`${file.path}: '${stem}' says nothing: name it after its one noun`];
  if (DOERS.test(name))
    return [`${file.path}: name it after what it holds, not after doing things`];
  return [];
}
