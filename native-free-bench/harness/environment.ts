// Where and with what figures were taken: machine, system, Node, the state of the checkout.
//
// Invariant: what cannot be found out is left out, and never guessed. Must not know: figures.

import { execFileSync } from 'node:child_process';
import { cpus, release, totalmem } from 'node:os';
import { ROOT } from './place.ts';

export interface Environment {
  readonly date: string;
  readonly node: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  /** Of the checkout; with `+` when it differs from the commit. */
  readonly commit?: string;
}

export function describeEnvironment(): Environment {
  return {
    date: new Date().toISOString(),
    node: process.version,
    cpu: cpus()[0]?.model ?? '',
    cores: cpus().length,
    memoryBytes: totalmem(),
    kernel: release(),
    ...commitOf(ROOT),
  };
}

function commitOf(folder: string): { commit?: string } {
  const git = (...args: string[]): string =>
    execFileSync('git', ['-C', folder, ...args], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  try {
    // An installed package may lie inside the checkout of something else.
    if (git('rev-parse', '--show-toplevel') !== folder) return {};
    const isChanged = git('status', '--porcelain', '--', 'src') !== '';
    return { commit: git('rev-parse', '--short=12', 'HEAD') + (isChanged ? '+' : '') };
  } catch {
    // No git, or no repository: an installed package.
    return {};
  }
}
