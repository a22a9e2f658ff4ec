// What is made in several requests: undone when one fails, and waited for where it takes its time.
//
// Invariant: what was made and could not be removed is named; where the last request went unheard
// nothing is undone, as what it made goes with the rest; no wait is without an end. Must not know:
// what is made, or by whom.

import { type ErrorCode, SluicewayError } from '../base/errors.ts';
import { CloudRefusal, isUnheard, type ProviderOptions, textOf } from './provider.ts';

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

type Step = { readonly what: string; readonly undo: () => Promise<void> };

/** Runs `make`, and when that fails undoes what it registered, last first. */
export async function orUndone<T>(
  make: (register: (what: string, undo: () => Promise<void>) => void) => Promise<T>,
): Promise<T> {
  const steps: Step[] = [];
  try {
    return await make((what, undo) => steps.push({ what, undo }));
  } catch (cause) {
    // What may be there is found by what was made before it, and removed with it.
    if (isUnheard(cause)) throw cause;
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
