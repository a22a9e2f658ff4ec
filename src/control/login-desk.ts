// Where visitors log in: the providers of --login-providers, who is on the way, and the keys that
// seal sessions.
//
//   beginLogin --known provider--> pending, by state --> the provider's address
//   endLogin --state, host, browser--> no longer pending --code--> who it is --> a sealed session
//   file --changed, SIGHUP, a new day--> providers and keys --> every shard
//
// Invariant: a state is good once, for the host and the browser that it was made for; the way back
// is to that host; a file that cannot be used leaves the providers as they are. Must not know: who
// may visit a tunnel, or how a request came.

import { randomBytes, timingSafeEqual } from 'node:crypto';
import type { Clock, Timer } from '../base/clock.ts';
import { readIfThere } from '../base/durable-file.ts';
import { ConfigError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { sealSession } from '../base/login-session.ts';
import { CALLBACK_PATH } from '../base/login-way.ts';
import type { Masked } from '../base/masked.ts';
import type { Bridge, Serve } from '../bridge/calls.ts';
import type { ExitControlMethods, ExitShardMethods } from '../bridge/exit-messages.ts';
import type {
  LoginBeginning,
  LoginControlMethods,
  LoginDone,
  LoginFailed,
  LoginReturn,
  LoginWay,
} from '../bridge/login-messages.ts';
import {
  type LoginProviders,
  readLoginProviders,
  readSecret,
  secretFilesOf,
} from '../config/login-providers.ts';
import { Problems } from '../config/problems.ts';
import { FileWatch } from './file-watch.ts';
import { LoginIssuer } from './login-issuer.ts';
import { type LoginKeys, loginKeys } from './login-keys.ts';
import { type PendingLogin, PendingLogins } from './pending-logins.ts';

/** Of a way back; a longer one leads to the site's first page. Guess: above what is in bars. */
const TARGET_LENGTH_MAX = 2048;
const QUERY_LENGTH_MAX = 8192;
const BROWSER_BYTES = 16;
const SECRET_BYTES = 32;
const LOST: LoginFailed = { code: 'SLW_HTTP_LOGIN_LOST' };
const UNAVAILABLE: LoginFailed = { code: 'SLW_HTTP_LOGIN_UNAVAILABLE' };

type ShardBridge = Bridge<ExitControlMethods, ExitShardMethods>;

export interface LoginDeskOptions {
  /** Path; undefined: there are no providers. */
  readonly file: string | undefined;
  readonly bridges: () => readonly (readonly [shard: number, bridge: ShardBridge])[];
  /** Counts files that were read again, by result. */
  readonly reloads: Map<string, number>;
  readonly clock: Clock;
  readonly log: Logger;
}

interface Reading {
  readonly issuers: ReadonlyMap<string, LoginIssuer>;
  readonly cookieSecret: string | undefined;
}

export class LoginDesk {
  readonly #options: LoginDeskOptions;
  readonly #pending = new PendingLogins();
  /** Without one of the operator's: sessions end with the process. */
  readonly #drawnSecret = randomBytes(SECRET_BYTES).toString('hex');
  #reading: Reading = { issuers: new Map(), cookieSecret: undefined };
  #keys: LoginKeys | undefined;
  #watch: FileWatch | undefined;
  #nextKey: Timer | undefined;
  #state: 'open' | 'closed' = 'open';
  /** Reloads come one after the other, so that the newest file counts. */
  #reloading: Promise<void> = Promise.resolve();

  constructor(options: LoginDeskOptions) {
    this.#options = options;
  }

  /** Reads the file; a ConfigError when it cannot be used. */
  async load(): Promise<void> {
    const { file } = this.#options;
    if (file === undefined) return;
    this.#reading = await this.#readMarked(file);
    this.#drawKeys();
  }

  /** Follows the file and its secrets, as they were when they were loaded, until `close`. */
  async watch(): Promise<void> {
    if (this.#state === 'open') await this.#watch?.start(() => void this.reload());
  }

  close(): void {
    this.#state = 'closed';
    this.#watch?.close();
    this.#nextKey?.cancel();
  }

  /** Reads the file again; one that cannot be used changes nothing. */
  reload(): Promise<void> {
    this.#reloading = this.#reloading.then(() => this.#reload());
    return this.#reloading;
  }

  hasProvider(name: string): boolean {
    return this.#reading.issuers.has(name);
  }

  /** A shard has started. */
  bringUp(bridge: ShardBridge): void {
    if (this.#keys === undefined) return;
    const providers = [...this.#reading.issuers].map(([name, { id }]) => [name, id] as const);
    bridge.tell('logins', { keys: this.#keys.all, providers });
  }

  serve(): Serve<LoginControlMethods> {
    return {
      beginLogin: (beginning) => this.#begin(beginning),
      endLogin: (arrival) => this.#end(arrival),
    };
  }

  async #begin(beginning: LoginBeginning): Promise<LoginWay | LoginFailed> {
    const { provider, tunnel, host, site, target, visitor, isAgain } = beginning;
    const issuer = this.#reading.issuers.get(provider);
    const begun = await issuer?.begin(`${site}${CALLBACK_PATH}`, isAgain);
    if (begun === undefined) return UNAVAILABLE;
    // One browser may begin in several windows.
    const browser = beginning.browser || randomBytes(BROWSER_BYTES).toString('base64url');
    const { location, state, nonce, verifier } = begun;
    const isWay = target.startsWith('/') && target.length <= TARGET_LENGTH_MAX;
    const login = { provider, tunnel, host, site, browser, nonce, verifier };
    const pending: PendingLogin = { ...login, target: isWay ? target : '/' };
    this.#pending.add(state, pending, visitor, this.#options.clock.nowMs());
    return { location, browser };
  }

  async #end({ host, site, query, browser }: LoginReturn): Promise<LoginDone | LoginFailed> {
    if (query.length > QUERY_LENGTH_MAX) return LOST;
    const states = new URLSearchParams(query).getAll('state');
    const [state = ''] = states;
    const pending = this.#pending.take(state, this.#options.clock.nowMs());
    if (pending === undefined || states.length > 1) return LOST;
    const isSame = pending.host === host && pending.site === site;
    if (!isSame || !isEqual(pending.browser, browser)) return LOST;
    const issuer = this.#reading.issuers.get(pending.provider);
    if (issuer === undefined) return UNAVAILABLE;
    const found = await issuer.end(`${site}${CALLBACK_PATH}${query}`, { ...pending, state });
    if (found === 'refused') return { code: 'SLW_HTTP_LOGIN_REFUSED' };
    if (found === 'lost') return LOST;
    if (found === 'unavailable' || this.#keys === undefined) return UNAVAILABLE;
    const { clock, log } = this.#options;
    const { tunnel, provider, target } = pending;
    const seconds = Math.floor(issuer.provider.sessionMaxMs / 1000);
    const endsS = Math.floor(clock.wallMs() / 1000) + seconds;
    const scope = { host, tunnel, provider: issuer.id, endsS };
    const session = sealSession({ ...found, ...scope }, this.#keys.own);
    if (session === undefined) return UNAVAILABLE;
    log.info({ provider, tunnel, user: found.user }, 'a visitor has logged in');
    return { location: `${site}${target}`, session, tunnel, provider, seconds };
  }

  async #reload(): Promise<void> {
    const { file, log } = this.#options;
    if (file === undefined || this.#state === 'closed') return;
    try {
      this.#reading = await this.#readMarked(file);
      this.#drawKeys();
      this.#count('ok');
      log.info({ providers: this.#reading.issuers.size }, 'login providers were read again');
    } catch (error) {
      this.#count('failed');
      const problems = error instanceof ConfigError ? error.problems : [String(error)];
      log.error({ problems }, 'the login providers cannot be used, they stay as they were');
    }
    await this.watch();
  }

  #count(result: 'ok' | 'failed'): void {
    const { reloads } = this.#options;
    reloads.set(result, (reloads.get(result) ?? 0) + 1);
  }

  /** For now, and again each day. */
  #drawKeys(): void {
    const { clock, bridges } = this.#options;
    const { issuers, cookieSecret = this.#drawnSecret } = this.#reading;
    const sessionMaxMs = Math.max(...[...issuers.values()].map((one) => one.provider.sessionMaxMs));
    this.#keys = loginKeys(cookieSecret, clock.wallMs(), sessionMaxMs);
    for (const [, bridge] of bridges()) this.bringUp(bridge);
    this.#nextKey?.cancel();
    if (this.#state === 'open') {
      this.#nextKey = clock.after(this.#keys.restMs, () => this.#drawKeys());
    }
  }

  /**
   * The file as it is with all that it names marked: it is read again when it names others. Secrets
   * are read behind that: one that is not there yet, or is not whole, is noticed when it is.
   */
  async #readMarked(file: string): Promise<Reading> {
    let found = await readFound(file);
    let paths = pathsOf(file, found);
    while (this.#watch?.isOf(paths) !== true) {
      this.#watch?.close();
      this.#watch = new FileWatch({ paths, clock: this.#options.clock });
      await this.#watch.mark();
      found = await readFound(file);
      paths = pathsOf(file, found);
    }
    return this.#readSecrets(found);
  }

  async #readSecrets(found: LoginProviders): Promise<Reading> {
    const { clock, log } = this.#options;
    const problems = new Problems();
    const secrets = new Map<string, Masked>();
    for (const { path, lengthMin } of secretFilesOf(found)) {
      const read = readSecret(await textOf(path), lengthMin);
      if (typeof read === 'string') problems.add(`--login-providers: ${path} ${read}`);
      else secrets.set(path, read);
    }
    problems.throwIfAny();
    const issuers = found.providers.map((provider) => {
      const secret = secrets.get(provider.clientSecretFile ?? '');
      return [provider.name, new LoginIssuer({ provider, secret, clock, log })] as const;
    });
    return {
      issuers: new Map(issuers),
      cookieSecret: secrets.get(found.cookieSecretFile ?? '')?.reveal(),
    };
  }
}

async function readFound(file: string): Promise<LoginProviders> {
  const problems = new Problems();
  const found = readLoginProviders({ path: file, text: await textOf(file) }, problems);
  problems.throwIfAny();
  return found;
}

/** What to read again when it changes. */
function pathsOf(file: string, found: LoginProviders): readonly string[] {
  return [file, ...secretFilesOf(found).map(({ path }) => path)];
}

async function textOf(path: string): Promise<string> {
  const text = await readIfThere(path);
  if (text === undefined) throw new ConfigError([`--login-providers: ${path} does not exist`]);
  return text;
}

function isEqual(known: string, shown: string): boolean {
  const [left, right] = [Buffer.from(known), Buffer.from(shown)];
  return left.length === right.length && timingSafeEqual(left, right);
}
