// Foreign programs that end-to-end tests drive: sshd, postgres, redis, nginx, haproxy, curl.
//
// Invariant: a missing program skips the test with a printed reason on a developer's machine, and
// fails it where CI=true, so that nothing is left out there unnoticed. Must not know: how each
// program is started.

import { accessSync, constants, globSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { undoAfter } from './cleanup.ts';

/** Where Debian puts servers, which are not on everyone's PATH. */
const MORE_FOLDERS = ['/usr/sbin', '/sbin', '/usr/lib/postgresql/*/bin'];

export function isCi(): boolean {
  return process.env.CI === 'true';
}

export function findProgram(name: string): string | undefined {
  const folders = (process.env.PATH ?? '').split(':').concat(MORE_FOLDERS.flatMap(expand));
  return folders.map((folder) => path.join(folder, name)).find(isExecutable);
}

/** Paths of all the programs; when one is missing, marks the test skipped and gives undefined. */
export function requirePrograms<Name extends string>(
  t: TestContext,
  names: readonly Name[],
): Record<Name, string> | undefined {
  const found = names.map((name) => [name, findProgram(name)] as const);
  const missing = found.filter(([, at]) => at === undefined).map(([name]) => name);
  if (missing.length === 0) return Object.fromEntries(found) as Record<Name, string>;
  skipOrFail(t, `not installed: ${missing.join(', ')}`);
  return undefined;
}

/** Skips with the reason; in CI, where everything is installed, fails with it. */
export function skipOrFail(t: TestContext, reason: string): void {
  if (isCi()) throw new Error(`${reason} (CI=true makes a skip an error)`);
  t.skip(reason);
}

/** An empty folder that goes with the test. */
export function scratchFolder(t: TestContext): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'sluiceway-test-'));
  undoAfter(t, () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function expand(pattern: string): string[] {
  return pattern.includes('*') ? globSync(pattern) : [pattern];
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    // Not there, or not ours to run: look further.
    return false;
  }
}
