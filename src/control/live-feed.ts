// Sends what is seen of the exit node once a second to all who look, as server-sent events.
//
//   idle --join()--> waiting --a second--> looking --seen, sent--> waiting
//    ^                 |                      |
//    '--the last leaves'----------------------'
//
// Invariant: so many viewers and no more; nothing is queued for one who does not read, who is cut
// instead; looks never overlap; one whose right has ended is ended too. Must not know: what is
// seen, or who may look.

import type { ServerResponse } from 'node:http';
import type { Clock, Timer } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';

const INTERVAL_MS = 1000;
/** Guess: a team and its screens; each costs some KB a second. */
export const VIEWERS_MAX = 32;
/** Unsent bytes of a viewer: a few snapshots; then it is not reading. */
const UNSENT_BYTES_MAX = 1024 * 1024;
const HEADERS = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  // Of nginx in front: it would hold events back.
  'x-accel-buffering': 'no',
};
/** A browser asks again after so long. */
const RETRY = 'retry: 2000\n\n';

export interface LiveFeedOptions {
  /** What to send: one line of JSON. */
  readonly look: () => Promise<string>;
  /** Nobody has looked for a while: what is seen next has nothing before it. */
  readonly onFirst: () => void;
  readonly clock: Clock;
  readonly log: Logger;
}

export class LiveFeed {
  readonly #options: LiveFeedOptions;
  readonly #viewers = new Map<ServerResponse, () => boolean>();
  #state: 'idle' | 'waiting' | 'looking' = 'idle';
  #timer: Timer | undefined;

  constructor(options: LiveFeedOptions) {
    this.#options = options;
  }

  get viewersCount(): number {
    return this.#viewers.size;
  }

  /** False: there are too many. `mayStay` is asked each second; `hello` is JSON for this one. */
  join(response: ServerResponse, hello: string, mayStay: () => boolean): boolean {
    if (this.#viewers.size >= VIEWERS_MAX) return false;
    response.writeHead(200, HEADERS);
    response.write(`${RETRY}event: hello\ndata: ${hello}\n\n`);
    response.once('close', () => this.#leave(response));
    this.#viewers.set(response, mayStay);
    if (this.#state === 'idle') {
      this.#options.onFirst();
      this.#wait(0);
    }
    return true;
  }

  close(): void {
    const viewers = [...this.#viewers.keys()];
    this.#viewers.clear();
    this.#timer?.cancel();
    for (const response of viewers) response.destroy();
  }

  #leave(response: ServerResponse): void {
    this.#viewers.delete(response);
    // A look that is under way finds out by itself.
    if (this.#viewers.size > 0 || this.#state === 'looking') return;
    this.#timer?.cancel();
    this.#state = 'idle';
  }

  #wait(delayMs: number): void {
    this.#state = 'waiting';
    this.#timer = this.#options.clock.after(delayMs, () => void this.#turn());
  }

  async #turn(): Promise<void> {
    const { clock, look, log } = this.#options;
    this.#state = 'looking';
    const startMs = clock.nowMs();
    try {
      this.#send(await look());
    } catch (error) {
      log.error({ err: error }, 'a look for the dashboard failed');
    }
    if (this.#viewers.size === 0) this.#state = 'idle';
    else this.#wait(Math.max(0, INTERVAL_MS - (clock.nowMs() - startMs)));
  }

  #send(json: string): void {
    const event = `data: ${json}\n\n`;
    for (const [response, mayStay] of this.#viewers) {
      if (!mayStay()) {
        // Told once; one who does not read would keep its place for ever.
        this.#viewers.delete(response);
        if (response.writableLength > 0) response.destroy();
        else response.end('event: over\ndata: \n\n');
      } else if (response.writableLength > UNSENT_BYTES_MAX) response.destroy();
      else response.write(event);
    }
  }
}
