// Where and with what figures were taken: machine, system, Node, the state of the checkout.
//
// Invariant: what cannot be found out is left out, and never guessed. Must not know: figures.

import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { findProgram } from './children.ts';
import { ROOT } from './place.ts';

const CONGESTION_FILE = '/proc/sys/net/ipv4/tcp_congestion_control';

export interface Environment {
  readonly date: string;
  readonly node: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  /** How TCP sends over loopback, such as cubic. */
  readonly congestion?: string;
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
    ...congestionOf(),
    ...commitOf(ROOT),
  };
}

/** What to know of TCP before figures of loopback are read (decision 0051); mostly nothing. */
export function loopbackHint({ congestion }: Pick<Environment, 'congestion'>): string {
  if (congestion !== 'bbr') return '';
  return 'TCP is bbr here, which paces loopback too: with cubic bulk is up to twice as fast\n';
}

/** A route's own congestion control goes before that of its network (ip-route(8), congctl). */
function congestionOf(): { congestion?: string } {
  const own = / congctl (?:lock )?(\S+)/.exec(loopbackRoute())?.[1];
  if (own !== undefined) return { congestion: own };
  try {
    return { congestion: readFileSync(CONGESTION_FILE, 'utf8').trim() };
  } catch {
    // Not Linux, or no /proc.
    return {};
  }
}

function loopbackRoute(): string {
  const ip = findProgram('ip', '/usr/sbin');
  if (ip === undefined) return '';
  const { stdout } = spawnSync(ip, ['route', 'get', '127.0.0.1'], { encoding: 'utf8' });
  // Nothing where it could not be started, or is another program of that name.
  return stdout ?? '';
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
