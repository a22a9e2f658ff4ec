// Tells when a connection could not be made for want of a descriptor: whoever asked for it hears
// that an upstream cannot be reached, and nobody would look for the reason here.
//
// Invariant: one line a code in a while, however many connections fail. Must not know: what is
// dialled, or for whom.

import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { Told } from './told.ts';

/** Of the process, and of the whole system. */
const CODES: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE']);

export class DescriptorWatch {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #told = new Told();

  constructor(clock: Clock, log: Logger) {
    this.#clock = clock;
    this.#log = log;
  }

  /** Of every socket that dials. One function for all. */
  readonly onError = ({ code = '' }: NodeJS.ErrnoException): void => {
    if (!CODES.has(code) || !this.#told.isNews(code, this.#clock.nowMs())) return;
    const hint = 'raise the limit of open files';
    this.#log.error({ code, hint }, 'no descriptor is left to connect with');
  };
}
