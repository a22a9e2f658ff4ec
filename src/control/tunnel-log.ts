// What the log says of tunnels that clients offer: up, or refused and why.
//
// Invariant: a refusal of a client's tunnel is told once until its code is another or the tunnel is
// up, however often and on however many links it is offered; so many refusals are remembered of a
// client, beyond that all are forgotten, so that one is told again too early rather than never.
// Must not know: shards, or who decides.

import type { Logger } from '../base/log.ts';
import type { TunnelAnswer } from '../bridge/exit-messages.ts';
import type { Client } from './clients.ts';

/** Of one client. Guess: as many as it may have tunnels. */
const REFUSALS_MAX = 1000;

export class TunnelLog {
  readonly #log: Logger;
  /** Codes by tunnel. */
  readonly #refusals = new WeakMap<Client, Map<string, string>>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Tells of an answer on `link`; without a client that has gone meanwhile. */
  tell(link: string, client: Client | undefined, answer: TunnelAnswer): void {
    const { name: tunnel, code, reason } = answer;
    const about = { client: client?.id, link, tunnel };
    if (code === '') {
      if (client !== undefined) this.#refusals.get(client)?.delete(tunnel);
      this.#log.info(about, 'tunnel up');
    }
    // Nobody was refused: the client left while its port was being opened.
    else if (code === 'SLW_LINK_LOST') this.#log.info({ link, tunnel }, 'link left');
    else if (client === undefined || this.#isNews(client, tunnel, code)) {
      this.#log.warn({ ...about, code, reason }, 'tunnel refused');
    }
  }

  /** Counts as told if so. */
  #isNews(client: Client, tunnel: string, code: string): boolean {
    const refusals = this.#refusals.get(client) ?? new Map<string, string>();
    if (refusals.get(tunnel) === code) return false;
    if (refusals.size >= REFUSALS_MAX) refusals.clear();
    this.#refusals.set(client, refusals.set(tunnel, code));
    return true;
  }
}
