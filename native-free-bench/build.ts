// The last step of `npm run build`: puts the compiled bench where the package has it.
//
//   tsconfig.bench.json   dist/.bench/native-free-bench/harness/load.js   '../../src/base/x.js'
//   this                  dist/bench/harness/load.js                      '../../base/x.js'
//
// Invariant: every import of `src` is found in `dist`, or the build fails. Must not know: what the
// files do.

import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const DIST = path.join(path.dirname(import.meta.dirname), 'dist');
const RAW = path.join(DIST, '.bench');
const BENCH = path.join(DIST, 'bench');
const FROM_SRC = /(?<=from ')((?:\.\.\/)+)src\/([^']+)(?=')/gu;

renameSync(path.join(RAW, 'native-free-bench'), BENCH);
rmSync(RAW, { recursive: true });
for (const name of readdirSync(BENCH, { recursive: true, encoding: 'utf8' })) {
  if (!name.endsWith('.js')) continue;
  const file = path.join(BENCH, name);
  const text = readFileSync(file, 'utf8').replace(FROM_SRC, (_, up: string, rest: string) => {
    const target = path.resolve(path.dirname(file), up, rest);
    if (!existsSync(target)) throw new Error(`${name} imports ${rest}, which dist has not`);
    return `${up}${rest}`;
  });
  writeFileSync(file, text);
}
