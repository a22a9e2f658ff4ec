// Which version this is: the package's version and, from a checkout or a release, the commit.
//
// Invariant: the version comes from package.json alone, which lies two folders up both from src
// and from dist; the commit from the file `commit` that a release has beside it, or from git, and
// a missing one reads "unknown". Must not know: who asks.

import { readFileSync } from 'node:fs';
import { embeddedFile } from '../base/embedded-file.ts';

export interface BuildInfo {
  readonly version: string;
  /** Seven hex digits, or `unknown` outside a checkout. */
  readonly commit: string;
}

const ROOT = new URL('../../', import.meta.url);

export function readBuildInfo(): BuildInfo {
  const { version } = JSON.parse(readText('package.json') ?? '{}') as { version?: unknown };
  return {
    version: typeof version === 'string' ? version : 'unknown',
    commit: readCommit()?.slice(0, 7) ?? 'unknown',
  };
}

function readCommit(): string | undefined {
  const head = (readText('commit') ?? readText('.git/HEAD'))?.trim();
  if (head === undefined) return undefined;
  const ref = /^ref: (refs\/[\w./-]+)$/.exec(head)?.[1];
  const commit = ref === undefined ? head : (readText(`.git/${ref}`)?.trim() ?? readPacked(ref));
  return commit !== undefined && /^[0-9a-f]{40,64}$/.test(commit) ? commit : undefined;
}

function readPacked(ref: string): string | undefined {
  const lines = readText('.git/packed-refs')?.split('\n') ?? [];
  return lines.find((line) => line.endsWith(` ${ref}`))?.split(' ')[0];
}

function readText(path: string): string | undefined {
  try {
    return embeddedFile(path)?.toString() ?? readFileSync(new URL(path, ROOT), 'utf8');
  } catch {
    // Absent outside a checkout; the caller says "unknown".
    return undefined;
  }
}
