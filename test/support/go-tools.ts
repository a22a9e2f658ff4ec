// Programs that test/fixtures/go-tools.sh builds: helm and actionlint.
//
// Invariant: the versions are those of the script, so that none is built by a test unawares. Must
// not know: what they are asked.

import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { skipOrFail } from './programs.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
const SCRIPT = 'test/fixtures/go-tools.sh';

/** Undefined, with a skip, when it was not built. */
export function requireGoTool(t: TestContext, name: 'helm' | 'actionlint'): string | undefined {
  const script = readFileSync(path.join(ROOT, SCRIPT), 'utf8');
  const version = new RegExp(`^build ${name} \\S+ (\\S+)$`, 'mu').exec(script)?.[1];
  const program = path.join(ROOT, '.cache/go-tools', `${name}-${version}`);
  if (existsSync(program)) return program;
  skipOrFail(t, `${name} is not built: run ${SCRIPT}, which takes two minutes`);
  return undefined;
}
