// What a suite is: a set of scenarios that share their processes, with tables of its own.
//
// Owns the start of the sides that suites share. Must not know: what is measured.

import { PEERS } from '../peers/list.ts';
import { startPeer } from '../peers/peer.ts';
import type { Children } from './children.ts';
import type { Side, SideOptions } from './side.ts';
import { startTunnel, type TunnelOptions } from './tunnel.ts';

/** `--only` names nothing of a suite. */
export class NothingChosen extends Error {}

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
  /** Of the peers only these; all when left out. */
  readonly peerNames?: readonly string[];
  /** The tunnel only. */
  readonly isAlone: boolean;
  readonly isSmoke: boolean;
  /** No core goes to sleep while it measures. */
  readonly isAwake: boolean;
  /** Connections of the scenarios that hold many, fewest first. */
  readonly connections: readonly number[];
  readonly peersFolder: string;
  /** Of the suite `check`: the share of a stored ratio that must be there; store new ones. */
  readonly factor: number;
  readonly doesStore: boolean;
  /** Tables as Markdown, where a suite has them. */
  readonly isMarkdown: boolean;
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
  /** Something that was asked for did not hold. */
  readonly hasMissed?: boolean;
}

export type Suite = (options: SuiteOptions) => Promise<SuiteResult>;

/** What a suite found, before it is made into tables. */
export interface Sampled<Sample> {
  readonly samples: readonly Sample[];
  readonly sides: readonly Side[];
  readonly left: readonly string[];
}

export interface Sides {
  readonly tunnel: Side;
  readonly peers: readonly Side[];
  readonly left: readonly string[];
}

/** Our tunnel, and with `--peers` every peer there is. */
export async function startSides(
  options: SuiteOptions,
  site: SideOptions,
  args: Pick<TunnelOptions, 'serverArgs' | 'clientArgs'> = {},
): Promise<Sides> {
  const { children, shards, entry, hasPeers, peersFolder, peerNames } = options;
  const tunnel = await startTunnel(children, { ...site, ...args, shards, entry });
  const peers: Side[] = [];
  const left: string[] = [];
  const wanted = PEERS.filter(({ name }) => peerNames?.includes(name) ?? true);
  for (const peer of hasPeers ? wanted : []) {
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
