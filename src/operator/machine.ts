// What the operator needs of a cloud: one machine for a tag, made, found and removed.
//
// Invariant: whatever was made under a tag is found and removed by it, so that nothing is left when
// an answer was lost on the way. Must not know: any cloud; who has one puts it in from outside.

import type { Masked } from '../base/masked.ts';
import type { Provision } from './objects.ts';

export interface Machine {
  readonly id: string;
  /** `stopped`: it ends, was switched off, or is a part of one that was left behind. */
  readonly state: 'starting' | 'running' | 'stopped';
  /** Where visitors and clients reach it, once known. */
  readonly address?: string;
  /** How many others live under its tag; absent: none, or not known, as it is not listed itself. */
  readonly twins?: number;
}

/**
 * What is known of one: `unknown` when its provider did not say, `making` and `ending` while an
 * order of this operator is under way.
 */
export type Found = Machine | 'none' | 'unknown' | 'making' | 'ending';

export interface MachineOrder {
  /** Unique in all clouds, at most 63 characters of a-z, 0-9 and `-`; a name for it, too. */
  readonly tag: string;
  readonly provision: Provision;
  /** Of its exit node. */
  readonly token: Masked;
  /** Of its exit node, for links. */
  readonly controlPort: number;
  /** Of its exit node, for TCP tunnels, such as `1024-65535`. */
  readonly tcpPorts: readonly string[];
  /** The same for UDP tunnels. */
  readonly udpPorts: readonly string[];
}

/** Errors that it raises say in one line what the provider said; the operator tries again. */
export interface MachineProvider {
  /** By the tag, and by `id` where that is known. */
  find(tag: string, id: string | undefined): Promise<Machine | undefined>;
  /** Orders it and does not wait until it runs; gives one that is there already. */
  create(order: MachineOrder): Promise<Machine>;
  /** All that have the tag, and that with the id; done when the provider took the order. */
  remove(tag: string, id: string | undefined): Promise<void>;
  /** All with the tag but that with the id; none where that is not listed as one that lives. */
  removeTwins(tag: string, id: string): Promise<void>;
}

/** Undefined for a provider that is not known. `credentials` are all keys of the secret. */
export type OpenProvider = (
  provision: Provision,
  credentials: ReadonlyMap<string, Masked>,
) => Promise<MachineProvider | undefined>;
