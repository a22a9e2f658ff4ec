// Where this bench lies, in a checkout or compiled into a package, and where the program is that it
// measures when nothing else is said.
//
//   checkout   native-free-bench/harness/place.ts   src/cli/main.ts     package.json
//   package    dist/bench/harness/place.js          dist/cli/main.js    package.json
//
// Invariant: nothing else works with paths of the bench. Must not know: who asks.

import { readFileSync } from 'node:fs';
import path from 'node:path';

const isCompiled = import.meta.filename.endsWith('.js');
const BENCH = path.dirname(import.meta.dirname);

/** The checkout, or the installed package. */
export const ROOT = path.resolve(BENCH, isCompiled ? '../..' : '..');
/** What is run when nothing else is said: in a checkout the sources, which Node strips of types. */
export const ENTRY = path.join(ROOT, isCompiled ? 'dist/cli/main.js' : 'src/cli/main.ts');
/** What `npm run build` makes. */
export const BUILT_ENTRY = path.join(ROOT, 'dist/cli/main.js');

/** A file of the bench by its name in the sources, such as `harness/origin.ts`. */
export function benchFile(name: string): string {
  return path.join(BENCH, isCompiled ? name.replace(/\.ts$/u, '.js') : name);
}

export function packageVersion(): string {
  const text = readFileSync(path.join(ROOT, 'package.json'), 'utf8');
  return String((JSON.parse(text) as { readonly version?: unknown }).version);
}
