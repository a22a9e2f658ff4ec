// What a cloud does for us: makes a machine, finds it, ends it; nine of them behind one interface.
//
// Invariant: a machine is found by its id alone, and by the tag that all of ours carry; `create`
// that rejects has removed what it made, or names it in a LeftBehind, or is Unheard, and what there
// is of it is found by its name; to delete what is gone is no error. Must not know: what runs on a
// machine.

import { SluicewayError } from '../base/errors.ts';
import { loggable } from '../base/loggable.ts';
import type { OpenPorts } from '../base/target.ts';

export type MachineState = 'starting' | 'running' | 'ending' | 'failed';

export interface Machine {
  /** All that the provider needs to find it, a region included where it does. */
  readonly id: string;
  readonly name: string;
  readonly state: MachineState;
  readonly region: string;
  /** Public and IPv4; absent until it has one. */
  readonly address?: string;
}

export interface MachineRequest {
  /** Lower-case letters, digits and -, a letter first, at most 31. */
  readonly name: string;
  /** Absent: the provider's own default. */
  readonly region?: string;
  readonly size?: string;
  readonly image?: string;
  /** For cloud-init; with the public address, where that is known before the machine is made. */
  readonly userData: (address?: string) => string;
  /** Let through where the provider lets nothing through by itself. */
  readonly ports: readonly OpenPorts[];
}

export interface Provider {
  /** A command for the machine that prints its public address, where it does not have it itself. */
  readonly addressCommand?: string;
  readonly create: (request: MachineRequest) => Promise<Machine>;
  /** Undefined when there is none, or none any more; may be without our tag. */
  readonly get: (id: string) => Promise<Machine | undefined>;
  /** Those with the tag; `ending` with what is left of one that was not made or removed whole. */
  readonly list: () => Promise<readonly Machine[]>;
  /** Resolves when nothing of it is paid for any more, or will be by itself. */
  readonly delete: (id: string) => Promise<void>;
}

/** What a provider is made of. */
export interface ProviderOptions {
  /** By the names of the environment's variables. */
  readonly credentials: Readonly<Record<string, string>>;
  /** Marks machines as ours. */
  readonly tag: string;
  /** Where regions are apart from each other; absent: the provider's default. */
  readonly region?: string;
  /** In place of the provider's own URLs. */
  readonly endpoint?: string;
  readonly sleep: (ms: number) => Promise<void>;
}

/** Letters of a provider's words that are repeated. Guess: a sentence or two. */
const WORDS_MAX = 300;

/** A provider said no, or cannot be understood; `answered` is HTTP's status, 0 without one. */
export class CloudRefusal extends SluicewayError {
  override name = 'CloudRefusal';
  readonly answered: number;

  constructor(provider: string, status: number, words: string) {
    const line = loggable(words.slice(0, WORDS_MAX).replace(/\s/g, ' ').trim());
    super('SLW_CLOUD_REFUSED', `${provider}: ${line === '' ? `status ${status}` : line}`);
    this.answered = status;
  }
}

/** What makes a machine was asked for, and nobody said what came of it: it may be there. */
export class Unheard extends SluicewayError {
  override name = 'Unheard';

  constructor(cause: unknown) {
    super('SLW_CLOUD_UNREACHABLE', textOf(cause), { cause });
  }
}

/** As a provider has it, its state in its own word: one that we do not know is a failure. */
export function machineAs(
  states: Readonly<Record<string, MachineState>>,
  found: Omit<Machine, 'state' | 'address'> & {
    readonly status: string;
    readonly address?: string | undefined;
  },
): Machine {
  const { status, address, ...rest } = found;
  return {
    ...rest,
    state: states[status] ?? 'failed',
    ...(address === undefined ? {} : { address }),
  };
}

/** What a machine is made of and where, in the provider's own words. */
export interface Choice {
  readonly region: string;
  readonly size: string;
  readonly image: string;
}

/** As it was asked for; or by the options of the provider, or its defaults. */
export function choose(
  request: Partial<Choice>,
  options: Pick<ProviderOptions, 'region'>,
  defaults: Choice,
): Choice {
  return {
    region: request.region ?? options.region ?? defaults.region,
    size: request.size ?? defaults.size,
    image: request.image ?? defaults.image,
  };
}

export function isUnheard(error: unknown): error is Unheard {
  return error instanceof Unheard;
}

export function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
