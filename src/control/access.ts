// Who may come in, and what they may do: tokens, their file, and who guesses.
//
//   login --gate--> a principal --credential--> registry: what it may serve (`scopes`)
//         \--nobody's--> refused, and throttled when it goes on
//   file --changed, SIGHUP, time--> gate --> links whose token is over are ended
//   another shared token, by reload --> gate --> likewise
//
// Invariant: a file that cannot be read leaves the tokens as they are, and says why; a token that
// was removed or has ended ends its links within five seconds of the file's last change, on every
// file system; what was cut changes nothing. Must not know: links, shards, or how a request came.

import type { Clock, Timer } from '../base/clock.ts';
import { readIfThere } from '../base/durable-file.ts';
import { ConfigError, type ErrorCode } from '../base/errors.ts';
import { withoutPort } from '../base/ip.ts';
import type { Logger } from '../base/log.ts';
import { loggable } from '../base/loggable.ts';
import { LoginThrottle } from '../base/login-throttle.ts';
import type { Masked } from '../base/masked.ts';
import type { ClientGrant, Access as Login } from '../bridge/exit-messages.ts';
import type { OidcConfig, TokenEntry } from '../config/config.ts';
import { type FileEnd, fileEndOf, refuseCut } from '../config/file-end.ts';
import { Problems } from '../config/problems.ts';
import { checkRules, readTokensFile } from '../config/tokens-file.ts';
import type { ClientLimits, Holder, Scopes } from './clients.ts';
import { FileWatch } from './file-watch.ts';
import type { HeldLink } from './held-link.ts';
import { jwtOf, OidcIssuer } from './oidc-issuer.ts';
import { mayServe } from './token-scope.ts';
import { TokenShares, type TokenSharesOptions } from './token-shares.ts';
import { TokenUsage, usageFileOf } from './token-usage.ts';
import { entryNameOf, ownerOf, type Principal, TokenGate } from './tokens.ts';

/** How often ends of validity are looked at. */
const SWEEP_MS = 1000;
/** How often the file is, where the system tells of no change (promise: five seconds in all). */
const POLL_MS = 3000;

export interface AccessOptions extends Pick<TokenSharesOptions, 'accepting' | 'bridges'> {
  readonly token: Masked | undefined;
  /** Path; undefined: there is the shared token alone. */
  readonly tokensFile: string | undefined;
  /** Path; undefined: beside the tokens file. */
  readonly tokensUsageFile: string | undefined;
  /** Whose JWTs are looked at, by the rules of the tokens file. */
  readonly oidc: OidcConfig | undefined;
  /** Ends every link that it is true for; gives how many. */
  readonly endLinks: (isOver: (link: HeldLink) => boolean, code: ErrorCode) => number;
  /** Tokens have changed: what clients were granted may have too. */
  readonly onGrants: () => void;
  readonly onRefusal: (reason: 'missing' | 'wrong' | 'throttled' | 'unavailable') => void;
  /** Counts files that were read again, by result. */
  readonly reloads: Map<string, number>;
  readonly clock: Clock;
  readonly log: Logger;
}

type Refusal = Exclude<Login, 'allowed' | 'unavailable'>;
/** Who may look at the server, or why not; `forbidden`: a good token, but not for this. */
export type Judgement = Principal | Refusal | 'forbidden';

export interface Attempt {
  readonly authorization: string | undefined;
  /** With the port behind the last colon. */
  readonly remoteAddress: string;
}

export class AccessControl implements Scopes {
  readonly #options: AccessOptions;
  readonly #gate: TokenGate;
  readonly #throttle: LoginThrottle;
  readonly #issuer: OidcIssuer | undefined;
  readonly #usage: TokenUsage | undefined;
  /** Of the limits that hold for traffic. */
  readonly shares: TokenShares;
  #watch: FileWatch | undefined;
  /** Of the tokens that are in use. */
  #file: FileEnd | undefined;
  #sweep: Timer | undefined;
  /** Reloads come one after the other, so that the newest file counts. */
  #reloading: Promise<void> = Promise.resolve();

  constructor(options: AccessOptions) {
    this.#options = options;
    this.#gate = new TokenGate(options.token, options.clock);
    this.#throttle = new LoginThrottle(options.clock);
    const { tokensFile, tokensUsageFile, clock, log, accepting, bridges } = options;
    const { oidc } = options;
    this.#issuer = oidc === undefined ? undefined : new OidcIssuer({ ...oidc, clock, log });
    const path = tokensUsageFile ?? (tokensFile && usageFileOf(tokensFile));
    this.#usage = path === undefined ? undefined : new TokenUsage({ path, clock, log });
    this.shares = new TokenShares({ accepting, bridges, usage: this.#usage, clock, log });
  }

  /** Reads the file; a ConfigError when it cannot be used. */
  async load(): Promise<void> {
    const { tokensFile, clock } = this.#options;
    if (tokensFile === undefined) return;
    this.#watch = new FileWatch({ paths: [tokensFile], pollMs: POLL_MS, clock });
    await this.#watch.mark();
    const { entries, file } = await this.#read(tokensFile);
    await this.#usage?.load();
    this.#file = file;
    this.#gate.replace(entries);
    this.shares.replace(entries);
    if (this.shares.countsMonths) await this.#usage?.check();
  }

  /** Follows the file, as it was when it was loaded, and the time, until `close`. */
  async watch(): Promise<void> {
    if (this.#watch === undefined) return;
    await this.#watch.start(() => void this.reload());
    this.#sweepLater();
  }

  close(): void {
    this.#watch?.close();
    this.#sweep?.cancel();
  }

  /** Reads the file again; a file that cannot be used changes nothing. */
  reload(): Promise<void> {
    this.#reloading = this.#reloading.then(() => this.#reload());
    return this.#reloading;
  }

  /** The shared token is this one from now on; links that came with another are ended. */
  share(token: Masked | undefined): void {
    this.#gate.share(token);
    this.#endOver();
  }

  /** Who comes with this header; the reason why nobody does, otherwise. */
  identify({ authorization, remoteAddress }: Attempt): Principal | Refusal {
    const address = withoutPort(remoteAddress);
    return this.#gate.identify(authorization, address) ?? this.#refuse(authorization, address);
  }

  /** The same for somebody who wants to look at all that there is. */
  judge(attempt: Attempt): Judgement {
    const found = this.identify(attempt);
    if (typeof found === 'string') return found;
    return found.entry === undefined || found.entry.isAdmin ? found : 'forbidden';
  }

  /** May the bearer of a credential that was found good still look? */
  mayLook(holder: Holder): boolean {
    const { credential } = holder;
    return this.#gate.isShared(credential) || this.#entryOf(holder)?.isAdmin === true;
  }

  /** The same for a link, which a JWT of the issuer may have too. */
  async login(attempt: Attempt): Promise<Principal | Refusal | 'unavailable'> {
    const { authorization, remoteAddress } = attempt;
    const jwt = this.#issuer === undefined ? undefined : jwtOf(authorization);
    const address = withoutPort(remoteAddress);
    if (this.#issuer === undefined || jwt === undefined) return this.identify(attempt);
    // A secret may look like one.
    const known = this.#gate.identify(authorization, address);
    if (known !== undefined) return known;
    const claims = await this.#issuer.verify(jwt);
    if (claims === 'unavailable') {
      this.#options.onRefusal('unavailable');
      return 'unavailable';
    }
    if (claims === 'refused') return this.#refuse(authorization, address);
    const principal = this.#gate.identifyClaims(claims, address);
    const fields = { rule: principal?.entry?.name, subject: loggable(String(claims.sub)) };
    this.#options.log.info(fields, principal === undefined ? 'no rule fits' : 'login by JWT');
    return principal ?? this.#refuse(authorization, address);
  }

  #refuse(authorization: string | undefined, address: string): Refusal {
    const { onRefusal } = this.#options;
    if (authorization === undefined) {
      // Nothing was guessed: health checks and browsers come without.
      onRefusal('missing');
      return 'refused';
    }
    const mayFail = this.#throttle.refuse(address);
    onRefusal(mayFail ? 'wrong' : 'throttled');
    return mayFail ? 'refused' : 'throttled';
  }

  // --- Scopes ------------------------------------------------------------------------------

  mayServe(holder: Holder, tunnel: string): boolean {
    if (this.#gate.isShared(holder.credential)) return true;
    const entry = this.#entryOf(holder);
    return entry !== undefined && mayServe(entry, tunnel);
  }

  limitsOf(holder: Holder): ClientLimits | undefined {
    return this.#gate.isShared(holder.credential) ? {} : this.#entryOf(holder);
  }

  /** What the holder may do beside serving tunnels. */
  grantOf(holder: Holder): ClientGrant {
    const { credential } = holder;
    if (credential === '' || this.#gate.isShared(credential)) return {};
    const forwards = this.#entryOf(holder)?.forwards ?? [];
    return { token: entryNameOf(credential), forwards };
  }

  ownerOf(credential: string): string {
    return ownerOf(credential);
  }

  entryNameOf(credential: string): string {
    return entryNameOf(credential);
  }

  // --- inside ------------------------------------------------------------------------------

  async #reload(): Promise<void> {
    const { tokensFile, log } = this.#options;
    if (tokensFile === undefined) return;
    try {
      const { entries, file } = await this.#read(tokensFile);
      refuseCut(this.#file, file);
      this.#file = file;
      this.#gate.replace(entries);
      this.shares.replace(entries);
      this.#count('ok');
      log.info({ tokens: entries.length }, 'tokens were read again');
      this.#endOver();
      this.#options.onGrants();
    } catch (error) {
      this.#count('failed');
      const problems = error instanceof ConfigError ? error.problems : [String(error)];
      log.error({ problems }, 'the tokens file cannot be used, the tokens stay as they were');
    }
  }

  #count(result: 'ok' | 'failed'): void {
    const { reloads } = this.#options;
    reloads.set(result, (reloads.get(result) ?? 0) + 1);
  }

  #entryOf({ credential, remoteAddress }: Holder): TokenEntry | undefined {
    return this.#gate.entryOf(credential, withoutPort(remoteAddress));
  }

  #endOver(): void {
    const { endLinks, log } = this.#options;
    const scoped = ({ credential }: HeldLink): boolean => credential !== '';
    const lost = (link: HeldLink): boolean => scoped(link) && this.limitsOf(link) === undefined;
    const revoked = endLinks(
      (link) => lost(link) && !this.#gate.isReplaced(link.credential),
      'SLW_LINK_REVOKED',
    );
    // A steady link has the secret of its dial, and its client may have the next for long. Who has
    // none is refused as it comes again.
    const replaced = endLinks(lost, 'SLW_LINK_ENDED');
    // These may come again, with what their token still names.
    const narrowed = endLinks(
      (link) => scoped(link) && [...link.tunnels.keys()].some((name) => !this.mayServe(link, name)),
      'SLW_LINK_ENDED',
    );
    const over = endLinks(
      ({ credential }) => this.#gate.isSessionOver(credential),
      'SLW_LINK_ENDED',
    );
    const sum = { revoked, replaced, narrowed, over };
    if (revoked + replaced + narrowed + over > 0) log.info(sum, 'links ended by their tokens');
  }

  #sweepLater(): void {
    this.#sweep = this.#options.clock.after(SWEEP_MS, () => {
      this.#endOver();
      this.#sweepLater();
    });
  }

  async #read(
    path: string,
  ): Promise<{ readonly entries: readonly TokenEntry[]; readonly file: FileEnd }> {
    const text = await readIfThere(path);
    if (text === undefined) throw new ConfigError([`--tokens-file: ${path} does not exist`]);
    const problems = new Problems();
    const entries = readTokensFile({ path, text }, problems);
    checkRules({ path, entries, hasIssuer: this.#issuer !== undefined }, problems);
    problems.throwIfAny();
    return { entries, file: fileEndOf({ path, text }) };
  }
}
