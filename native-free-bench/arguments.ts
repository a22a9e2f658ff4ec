// The options of `npm run bench`.
//
// Invariant: what is not understood is told, with what there is, and nothing runs. Must not know:
// suites.

import { existsSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { BUILT_ENTRY, ENTRY, ROOT } from './harness/place.ts';
import { PEERS_FOLDER } from './peers/peer.ts';

const SMOKE = { rounds: 1, ms: 250, connections: [20] };

export interface BenchArguments {
  readonly suite: string;
  readonly rounds: number;
  readonly ms: number;
  readonly connections: readonly number[];
  readonly shards: number;
  readonly entry: string;
  readonly only: string;
  readonly isWide: boolean;
  readonly hasPeers: boolean;
  readonly isAlone: boolean;
  readonly isSmoke: boolean;
  /** No core goes to sleep while it measures. */
  readonly isAwake: boolean;
  /** Of TCP, in a network namespace of its own where the machine has another. */
  readonly congestion?: string;
  readonly peersFolder: string;
  /** Of the suite `check`: the share of a stored ratio that must be there. */
  readonly factor: number;
  readonly doesStore: boolean;
  readonly isMarkdown: boolean;
}

/** Rejects what cannot be with an Error whose message says what to do. */
export function readArguments(args: readonly string[]): BenchArguments {
  const { values } = parseArgs({
    args: [...args],
    options: {
      suite: { type: 'string', default: 'rates' },
      goals: { type: 'boolean', default: false },
      smoke: { type: 'boolean', default: false },
      rounds: { type: 'string', default: '3' },
      ms: { type: 'string', default: '3000' },
      shards: { type: 'string', default: '1' },
      only: { type: 'string', default: '' },
      wide: { type: 'boolean', default: false },
      connections: { type: 'string', default: '1000,10000' },
      peers: { type: 'boolean', default: false },
      entry: { type: 'string' },
      'peers-dir': { type: 'string', default: PEERS_FOLDER },
      alone: { type: 'boolean', default: false },
      awake: { type: 'boolean', default: false },
      congestion: { type: 'string' },
      check: { type: 'boolean', default: false },
      store: { type: 'boolean', default: false },
      factor: { type: 'string', default: '0.85' },
      markdown: { type: 'boolean', default: false },
    },
  });
  const checks = values.check || values.store;
  const suite = values.goals ? 'goals' : checks ? 'check' : values.suite;
  if (values.store && values.only !== '') {
    throw new Error('--store: a baseline is of one run and has every ratio: leave --only out');
  }
  if (values.store && values.smoke) {
    throw new Error('--store: a look of --smoke is no baseline: leave --smoke out');
  }
  const entry = values.entry ?? (suite === 'goals' ? BUILT_ENTRY : ENTRY);
  if (path.resolve(entry) === BUILT_ENTRY) checkBuilt();
  return {
    suite,
    rounds: count('rounds', values.rounds),
    ms: count('ms', values.ms),
    connections: values.connections.split(',').map((text) => count('connections', text)),
    ...(values.smoke ? SMOKE : {}),
    shards: count('shards', values.shards),
    entry,
    only: values.only,
    isWide: values.wide,
    hasPeers: values.peers,
    isAlone: values.alone,
    isSmoke: values.smoke,
    isAwake: values.awake,
    ...(values.congestion === undefined ? {} : { congestion: values.congestion }),
    peersFolder: values['peers-dir'],
    factor: share('factor', values.factor),
    doesStore: values.store,
    isMarkdown: values.markdown,
  };
}

function count(option: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  throw new Error(`--${option}: '${text}' is no whole number above 0`);
}

function share(option: string, text: string): number {
  const value = Number(text);
  if (value > 0 && value <= 1) return value;
  throw new Error(`--${option}: '${text}' is no number above 0 and at most 1`);
}

/** What is promised of memory and CPU time is promised of what is shipped, as it is now. */
function checkBuilt(): void {
  if (!existsSync(BUILT_ENTRY)) throw new Error('there is no dist/cli/main.js: npm run build');
  const newer = sourceNewerThan(BUILT_ENTRY, path.join(ROOT, 'src'));
  if (newer === undefined) return;
  const way = 'npm run build, or give another --entry';
  throw new Error(`src/${newer} is newer than dist/cli/main.js: ${way}`);
}

/** A source that changed after `built` was made. */
export function sourceNewerThan(built: string, folder: string): string | undefined {
  const builtMs = statSync(built).mtimeMs;
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).find(
    (file) => file.endsWith('.ts') && statSync(path.join(folder, file)).mtimeMs > builtMs,
  );
}
