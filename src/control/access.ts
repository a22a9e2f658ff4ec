// Who may come in, and what they may do: tokens, their file, and who guesses.
//
//   login --gate--> a principal --credential--> registry: what it may serve (`scopes`)
//         \--nobody's--> refused, and throttled when it goes on
//   file --changed, SIGHUP, time--> gate --> clients whose token is over are ended
//
// Invariant: a file that cannot be read leaves the tokens as they are, and says why; a token that
// was removed or has ended ends its clients within SWEEP_MS of the moment it is known. Must not
// know: links, shards, or how a request came.

import type { Clock, Timer } from '../base/clock.ts';
import { readIfThere } from '../base/durable-file.ts';
import { ConfigError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { Masked } from '../base/masked.ts';
import type { Access as Login } from '../bridge/messages.ts';
import type { TokenEntry } from '../config/config.ts';
import { Problems } from '../config/problems.ts';
import { readTokensFile } from '../config/tokens-file.ts';
import { FileWatch } from './file-watch.ts';
import { LoginThrottle } from './login-throttle.ts';
import type { Client, Scopes } from './registry.ts';
import { mayServe } from './token-scope.ts';
import { type Principal, TokenGate } from './tokens.ts';

/** How often ends of validity are looked at (promise: five seconds). */
const SWEEP_MS = 1000;

export interface AccessOptions {
  readonly token: Masked | undefined;
  /** Path; undefined: there is the shared token alone. */
  readonly tokensFile: string | undefined;
  /** Ends every client that it is true for. */
  readonly endClients: (isOver: (client: Client) => boolean) => number;
  readonly onRefusal: (reason: 'missing' | 'wrong' | 'throttled') => void;
  /** Counts files that were read again, by result. */
  readonly reloads: Map<string, number>;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface Attempt {
  readonly authorization: string | undefined;
  /** With the port behind the last colon. */
  readonly remoteAddress: string;
}

export class AccessControl implements Scopes {
  readonly #options: AccessOptions;
  readonly #gate: TokenGate;
  readonly #throttle: LoginThrottle;
  #watch: FileWatch | undefined;
  #sweep: Timer | undefined;

  constructor(options: AccessOptions) {
    this.#options = options;
    this.#gate = new TokenGate(options.token, options.clock);
    this.#throttle = new LoginThrottle(options.clock);
  }

  /** Reads the file; a ConfigError when it cannot be used. */
  async load(): Promise<void> {
    const { tokensFile } = this.#options;
    if (tokensFile !== undefined) this.#gate.replace(await readEntries(tokensFile));
  }

  /** Follows the file and the time, until `close`. */
  async watch(): Promise<void> {
    const { tokensFile, clock } = this.#options;
    if (tokensFile === undefined) return;
    const onChange = (): void => void this.reload();
    this.#watch = new FileWatch({ paths: [tokensFile], clock, onChange });
    await this.#watch.start();
    this.#sweepLater();
  }

  close(): void {
    this.#watch?.close();
    this.#sweep?.cancel();
  }

  async reload(): Promise<void> {
    const { tokensFile, log, reloads } = this.#options;
    if (tokensFile === undefined) return;
    const count = (result: string): void => {
      reloads.set(result, (reloads.get(result) ?? 0) + 1);
    };
    try {
      const entries = await readEntries(tokensFile);
      this.#gate.replace(entries);
      count('ok');
      log.info({ tokens: entries.length }, 'tokens were read again');
      this.#endOver();
    } catch (error) {
      count('failed');
      const problems = error instanceof ConfigError ? error.problems : [String(error)];
      log.error({ problems }, 'the tokens file cannot be used, the tokens stay as they were');
    }
  }

  /** Who comes with this header; the reason why nobody does, otherwise. */
  identify({ authorization, remoteAddress }: Attempt): Principal | Exclude<Login, 'allowed'> {
    const address = remoteAddress.slice(0, remoteAddress.lastIndexOf(':'));
    const principal = this.#gate.identify(authorization, address);
    if (principal !== undefined) return principal;
    const { onRefusal } = this.#options;
    if (authorization === undefined) {
      // Nothing was guessed: health checks and browsers come without.
      onRefusal('missing');
      return 'refused';
    }
    const isThrottled = this.#throttle.refuse(address) > 0;
    onRefusal(isThrottled ? 'throttled' : 'wrong');
    return isThrottled ? 'throttled' : 'refused';
  }

  // --- Scopes ------------------------------------------------------------------------------

  mayServe(credential: string, tunnel: string): boolean {
    const entry = this.#gate.entryOf(credential);
    return entry !== undefined && mayServe(entry, tunnel);
  }

  limitsOf(credential: string): { clientsMax: number; linksMax: number } | undefined {
    const entry = this.#gate.entryOf(credential);
    if (entry === undefined) return undefined;
    const { clientsMax = Number.POSITIVE_INFINITY, linksMax = Number.POSITIVE_INFINITY } = entry;
    return { clientsMax, linksMax };
  }

  ownerOf(credential: string): string {
    return credential.split('#', 1)[0] ?? '';
  }

  // --- inside ------------------------------------------------------------------------------

  #endOver(): void {
    const ended = this.#options.endClients((client) => this.#isOver(client));
    if (ended > 0) this.#options.log.info({ clients: ended }, 'clients ended, their token is over');
  }

  /** Also one that serves what its token no longer names: it comes again with the rest. */
  #isOver({ credential, tunnels }: Client): boolean {
    if (credential === '') return false;
    const entry = this.#gate.entryOf(credential);
    return entry === undefined || [...tunnels.keys()].some((name) => !mayServe(entry, name));
  }

  #sweepLater(): void {
    this.#sweep = this.#options.clock.after(SWEEP_MS, () => {
      this.#endOver();
      this.#sweepLater();
    });
  }
}

async function readEntries(path: string): Promise<readonly TokenEntry[]> {
  const text = await readIfThere(path);
  if (text === undefined) throw new ConfigError([`--tokens-file: ${path} does not exist`]);
  const problems = new Problems();
  const entries = readTokensFile({ path, text }, problems);
  problems.throwIfAny();
  return entries;
}
