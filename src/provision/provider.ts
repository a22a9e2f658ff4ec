// What a cloud does for us: makes a machine, finds it, ends it; nine of them behind one interface.
//
// Invariant: a machine is found by its id alone, and by the tag that all of ours carry; `create`
// that rejects has removed what it made, or names it in a LeftBehind; to delete what is gone is no
// error. Must not know: what runs on a machine.

import { type ErrorCode, SluicewayError } from '../base/errors.ts';
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
  /** Undefined when there is none, or none any more. */
  readonly get: (id: string) => Promise<Machine | undefined>;
  /** Those with the tag. */
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

/** Something went wrong, and what was made could not be removed. */
export class LeftBehind extends SluicewayError {
  override name = 'LeftBehind';

  constructor(cause: unknown, what: string, why: unknown) {
    super(
      codeOf(cause),
      `${textOf(cause)}; ${what} was left behind and must be deleted: ${textOf(why)}`,
      { cause },
    );
  }
}

function codeOf(error: unknown): ErrorCode {
  return error instanceof SluicewayError ? error.code : 'SLW_CLOUD_REFUSED';
}

export function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

type Step = { readonly what: string; readonly undo: () => Promise<void> };

/** Runs `make`, and when that fails undoes what it registered, last first. */
export async function orUndone<T>(
  make: (register: (what: string, undo: () => Promise<void>) => void) => Promise<T>,
): Promise<T> {
  const steps: Step[] = [];
  try {
    return await make((what, undo) => steps.push({ what, undo }));
  } catch (cause) {
    for (const { what, undo } of steps.reverse()) {
      try {
        await undo();
      } catch (why) {
        throw new LeftBehind(cause, what, why);
      }
    }
    throw cause;
  }
}

/** Asks again until `ask` gives something; a CloudRefusal after `timesMax`. */
export async function untilThere<T>(
  ask: () => Promise<T | undefined>,
  wait: {
    readonly sleep: ProviderOptions['sleep'];
    readonly provider: string;
    readonly what: string;
    readonly timesMax?: number;
  },
): Promise<T> {
  for (let times = 0; times < (wait.timesMax ?? ASK_TIMES_MAX); times += 1) {
    const found = await ask();
    if (found !== undefined) return found;
    await wait.sleep(ASK_AGAIN_MS);
  }
  throw new CloudRefusal(wait.provider, 0, `${wait.what} took too long`);
}

const ASK_AGAIN_MS = 2000;
/** Five minutes, above what providers take for an address or a network. Guess. */
const ASK_TIMES_MAX = 150;
