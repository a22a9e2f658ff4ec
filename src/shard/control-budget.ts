// What a peer's control messages may cost between two ticks: each one, and each tunnel named in it.
//
// Invariant: a client with all the tunnels that it may serve never meets the limit, however it
// packs them, and also when it withdraws them and offers them again at once; who repeats itself
// does. Must not know: what the messages are.

import { WireError } from '../base/errors.ts';
import { CLIENT_TUNNELS_MAX } from '../wire/limits.ts';

/** Of a message, when that of one tunnel in it is 1: it goes to control and is answered. Guess. */
const MESSAGE_COST = 10;
/** All tunnels of a client, each in a message of its own, withdrawn and offered again. */
export const CONTROL_COST_MAX = 2 * CLIENT_TUNNELS_MAX * (MESSAGE_COST + 1);

export class ControlBudget {
  #spent = 0;

  /** About once a second. */
  tick(): void {
    this.#spent = 0;
  }

  /** A message came. Raises WireError when it is one too many, before it is read. */
  spendMessage(): void {
    this.#spend(MESSAGE_COST);
  }

  /** It names so many tunnels. */
  spendTunnels(count: number): void {
    this.#spend(count);
  }

  #spend(cost: number): void {
    this.#spent += cost;
    if (this.#spent > CONTROL_COST_MAX) throw new WireError('SLW_WIRE_FLOOD');
  }
}
