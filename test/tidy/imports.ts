// Reads which modules a source file imports, from its tokens.
//
// Covers static imports, re-exports and `import()` of a literal. Invariant: comments and strings
// that only look like imports are not counted. Must not know: what may import what.

import path from 'node:path';
import { scanCode, type Token } from './scanner.ts';

export interface ImportSite {
  readonly specifier: string;
  readonly line: number;
  /** True when nothing of it is left at run time. */
  readonly typeOnly: boolean;
}

export function importsOf(source: string): ImportSite[] {
  const tokens = scanCode(source);
  const found: ImportSite[] = [];
  for (const [index, token] of tokens.entries()) {
    if (token.kind !== 'word' || (token.text !== 'import' && token.text !== 'export')) continue;
    if (tokens[index - 1]?.text === '.') continue;
    const specifier = specifierAfter(tokens, index);
    if (specifier === undefined) continue;
    found.push({
      specifier: specifier.text.slice(1, -1),
      line: token.line,
      typeOnly: isTypeOnly(tokens, index),
    });
  }
  return found;
}

function isTypeOnly(tokens: readonly Token[], keyword: number): boolean {
  const [first, second] = [tokens[keyword + 1]?.text, tokens[keyword + 2]?.text];
  if (first === 'type') return second !== 'from';
  if (first !== '{') return false;
  for (let index = keyword + 1; tokens[index]?.text !== '}'; index += 1) {
    const startsName = tokens[index]?.text === '{' || tokens[index]?.text === ',';
    const next = tokens[index + 1]?.text;
    if (index >= tokens.length || (startsName && next !== 'type' && next !== '}')) return false;
  }
  return true;
}

function specifierAfter(tokens: readonly Token[], keyword: number): Token | undefined {
  const next = tokens[keyword + 1];
  if (tokens[keyword]?.text === 'import') {
    if (next?.kind === 'string') return next;
    if (next?.text === '(')
      return tokens[keyword + 2]?.kind === 'string' ? tokens[keyword + 2] : undefined;
  }
  for (let index = keyword + 1; index < tokens.length; index += 1) {
    const token = tokens[index];
    if (token?.text === 'from' && tokens[index + 1]?.kind === 'string') return tokens[index + 1];
    const inClause = token?.kind === 'word' || /^[{},*]$/u.test(token?.text ?? '');
    if (!inClause) return undefined;
  }
  return undefined;
}

/** The path within the repository that a relative specifier names, as seen from `file`. */
export function resolveImport(file: string, specifier: string): string {
  return path.posix.normalize(path.posix.join(path.posix.dirname(file), specifier));
}

/** `@scope/name` or `name` of a package specifier with or without a path behind it. */
export function packageOf(specifier: string): string {
  const parts = specifier.split('/');
  return specifier.startsWith('@') ? parts.slice(0, 2).join('/') : (parts[0] ?? specifier);
}
