// The token for a dial: as its file says now, as those of a job in a pipeline live for minutes.
//
// Invariant: a file that cannot be used any more leaves the last token that could; nothing of a
// token is logged. Must not know: who asks for it, or how the first one was found.

import { readFile, stat } from 'node:fs/promises';
import type { Logger } from '../base/log.ts';
import { Masked } from '../base/masked.ts';
import type { ClientConfig } from '../config/config.ts';
import { checkToken } from '../config/token.ts';

export class DialToken {
  readonly #path: string | undefined;
  readonly #log: Logger;
  #last: Masked | undefined;

  constructor({ token, tokenFile }: Pick<ClientConfig, 'token' | 'tokenFile'>, log: Logger) {
    this.#last = token;
    this.#path = tokenFile;
    this.#log = log;
  }

  /** Empty where a certificate stands in for it. */
  async read(): Promise<string> {
    if (this.#path !== undefined) await this.#readAgain(this.#path);
    return this.#last?.reveal() ?? '';
  }

  async #readAgain(path: string): Promise<void> {
    try {
      // A pipe has said what it had to say when the client started, and would be waited for.
      if (!(await stat(path)).isFile()) return;
      const found = checkToken(await readFile(path, 'utf8'));
      if (found instanceof Masked) this.#last = found;
      else this.#log.warn({ path, reason: found.wrong }, 'the token stays as it was');
    } catch (error) {
      this.#log.warn({ path, reason: String(error) }, 'the token stays as it was');
    }
  }
}
