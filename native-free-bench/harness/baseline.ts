// The stored ratios that a later run is held against.
//
// Invariant: the file says on which machine it was made, for ratios depend on it, if less than
// rates do. Must not know: how ratios are measured.

import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describeEnvironment, type Environment } from './environment.ts';

const FILE = path.join(path.dirname(import.meta.dirname), 'baseline.json');

export interface Baseline {
  readonly environment: Environment;
  readonly ratios: Readonly<Record<string, number>>;
}

export function readBaseline(): Baseline {
  return JSON.parse(readFileSync(FILE, 'utf8')) as Baseline;
}

/** The path, to be told. */
export function storeBaseline(ratios: Readonly<Record<string, number>>): string {
  const rounded = Object.entries(ratios).map(([name, value]) => [name, Number(value.toFixed(3))]);
  const baseline = { environment: describeEnvironment(), ratios: Object.fromEntries(rounded) };
  writeFileSync(FILE, `${JSON.stringify(baseline, undefined, 2)}\n`);
  return FILE;
}

/** What makes a comparison with it a weak one; nothing on a machine of the same kind. */
export function differences({ environment: stored }: Baseline): string[] {
  const now = describeEnvironment();
  const major = (version: string): string => version.split('.')[0] ?? '';
  return [
    ...(stored.cpu === now.cpu ? [] : [`CPU: stored on ${stored.cpu}, now ${now.cpu}`]),
    ...(stored.cores === now.cores ? [] : [`cores: stored on ${stored.cores}, now ${now.cores}`]),
    ...(stored.congestion === now.congestion
      ? []
      : [`TCP: stored with ${stored.congestion ?? 'none named'}, now ${now.congestion}`]),
    ...(major(stored.node) === major(now.node)
      ? []
      : [`Node: stored with ${stored.node}, now ${now.node}`]),
  ];
}
