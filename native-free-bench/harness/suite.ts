// What a suite is: a set of scenarios that share their processes, with tables of its own.
//
// Owns the start of the sides that suites share. Must not know: what is measured.

import { PEERS } from '../peers/list.ts';
import { startPeer } from '../peers/peer.ts';
import type { Children } from './children.ts';
import type { Side, SideOptions } from './side.ts';
import { startTunnel } from './tunnel.ts';

export interface SuiteOptions {
  readonly rounds: number;
  readonly ms: number;
  readonly shards: number;
  /** Our program: the sources, or what `npm run build` made of them. */
  readonly entry: string;
  /** Scenarios whose name contains this. */
  readonly only: string;
  /** More connection counts than the short set. */
  readonly isWide: boolean;
  readonly hasPeers: boolean;
  /** The tunnel only. */
  readonly isAlone: boolean;
  readonly isSmoke: boolean;
  /** Connections of the scenarios that hold many. */
  readonly connections: number;
  readonly peersFolder: string;
  readonly children: Children;
  readonly tell: (progress: string) => void;
}

export interface SuiteResult {
  /** Tables, for a person. */
  readonly text: string;
  /** Every raw figure. */
  readonly samples: unknown;
  /** Versions of what took part, by name. */
  readonly versions: Readonly<Record<string, string>>;
  /** What was left out, and why. */
  readonly left: readonly string[];
}

export type Suite = (options: SuiteOptions) => Promise<SuiteResult>;

export interface Sides {
  readonly tunnel: Side;
  readonly peers: readonly Side[];
  readonly left: readonly string[];
}

/** Our tunnel, and with `--peers` every peer there is. */
export async function startSides(options: SuiteOptions, site: SideOptions): Promise<Sides> {
  const { children, shards, entry, hasPeers, peersFolder } = options;
  const tunnel = await startTunnel(children, { ...site, shards, entry });
  const peers: Side[] = [];
  const left: string[] = [];
  for (const peer of hasPeers ? PEERS : []) {
    options.tell(`starting ${peer.name}`);
    const side = await startPeer(peer, children, { ...site, peersFolder });
    if (typeof side === 'string') left.push(`${peer.name}: ${side}`);
    else peers.push(side);
  }
  return { tunnel, peers, left };
}

export function versionsOf(sides: readonly Side[]): Record<string, string> {
  return Object.fromEntries(sides.map(({ name, version }) => [name, version]));
}
