// The files of the repository, as the checks see them.
//
// Invariant: paths are relative to the root with forward slashes, sorted; what git ignores is left
// out. Must not know: what is checked.

import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

export const ROOT = path.resolve(import.meta.dirname, '../..');

/** Built, fetched or foreign; never looked into. */
const SKIPPED = new Set(['node_modules', '.git', 'dist', 'coverage', '.cache']);
const TEXT = /\.(?:ts|js|mjs|cjs|json|md|yml|yaml|sh|conf|toml)$|(?:^|\/)(?:Dockerfile|run)$/u;

export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

/** All text files of the repository. */
export function textFiles(): SourceFile[] {
  return walk('')
    .filter((file) => TEXT.test(file) && file !== 'package-lock.json')
    .map((file) => ({ path: file, text: readText(file) }));
}

export function readText(file: string): string {
  return readFileSync(path.join(ROOT, file), 'utf8');
}

function walk(folder: string): string[] {
  const found: string[] = [];
  for (const entry of readdirSync(path.join(ROOT, folder), { withFileTypes: true })) {
    const file = folder === '' ? entry.name : `${folder}/${entry.name}`;
    if (entry.isDirectory() && !SKIPPED.has(entry.name)) found.push(...walk(file));
    else if (entry.isFile()) found.push(file);
  }
  return found.sort();
}
