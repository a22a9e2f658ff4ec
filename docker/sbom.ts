// What is shipped, as a bill of materials in CycloneDX: `npm run sbom > sbom.json`.
//
// npm's own, asked about a copy of the manifest and the lock file without what is for development
// and without what is optional: with `--omit dev` npm 11 leaves out what a shipped package shares
// with one for development, such as all that axios brings. Must not know: what the packages are.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

interface Entry {
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly devOptional?: boolean;
  readonly devDependencies?: unknown;
  readonly optionalDependencies?: unknown;
}

const ROOT = new URL('../', import.meta.url);
const folder = mkdtempSync(path.join(tmpdir(), 'sluiceway-sbom-'));
try {
  const { devDependencies: _, ...manifest } = read('package.json');
  const lock = read('package-lock.json');
  const packages = Object.entries(lock.packages as Readonly<Record<string, Entry>>)
    .filter(([, { dev, optional, devOptional }]) => !(dev || optional || devOptional))
    .map(([at, { devDependencies: _, optionalDependencies: __, ...entry }]) => [at, entry]);
  write('package.json', manifest);
  write('package-lock.json', { ...lock, packages: Object.fromEntries(packages) });
  const args = ['sbom', '--package-lock-only', '--sbom-format', 'cyclonedx'];
  execFileSync('npm', args, { cwd: folder, stdio: ['ignore', 'inherit', 'inherit'] });
} finally {
  rmSync(folder, { recursive: true });
}

function read(name: string): Readonly<Record<string, unknown>> {
  return JSON.parse(readFileSync(new URL(name, ROOT), 'utf8'));
}

function write(name: string, value: unknown): void {
  writeFileSync(path.join(folder, name), JSON.stringify(value));
}
