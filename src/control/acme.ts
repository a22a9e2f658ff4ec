// Orders certificates from an ACME issuer (RFC 8555). The only file that knows acme-client.
//
// Of it only the client and `crypto`, which is Node's own, are used. Its HTTP part retries by
// itself, for as long as a Retry-After says; here it fails at once instead, and whoever orders
// decides when to try again.
//
// Invariant: an order ends within a bounded number of requests, each with a deadline; every
// challenge that was presented is taken back; a failure is an AcmeError that says which of three
// kinds it is, and for how long the issuer wants to be left alone. Must not know: where
// certificates are kept, or when to order.

import acme from 'acme-client';
import { wallMsOf } from '../base/clock.ts';
import { attemptsWithin } from '../base/dial-attempts.ts';
import { type ErrorCode, SluicewayError } from '../base/errors.ts';
import { https } from '../base/http-modules.ts';
import { trustIn } from '../base/own-authorities.ts';
import { type RenewalWindow, readWindow } from './renewal.ts';

export type ChallengeKind = 'http-01' | 'tls-alpn-01' | 'dns-01';

/** What must be shown for a host to be proven. */
export type ChallengeTask =
  | {
      readonly kind: 'http-01';
      readonly host: string;
      readonly token: string;
      readonly text: string;
    }
  | {
      readonly kind: 'tls-alpn-01';
      readonly host: string;
      readonly cert: string;
      readonly key: string;
    }
  | {
      readonly kind: 'dns-01';
      readonly host: string;
      readonly record: string;
      readonly value: string;
    };

export interface ChallengeSolver {
  present(task: ChallengeTask): Promise<void>;
  cleanup(task: ChallengeTask): Promise<void>;
}

export interface OrderRequest {
  /** A host, or a wildcard. */
  readonly name: string;
  readonly kind: ChallengeKind;
  readonly solver: ChallengeSolver;
  /** The certificate that this one renews, as ARI names it. */
  readonly replaces: string | undefined;
  /** The issuer can be reached: from here on the order counts there. */
  readonly onBegin: () => Promise<void>;
}

export interface RenewalAdvice {
  readonly window: RenewalWindow | undefined;
  /** When to ask again; 0 for no wish. */
  readonly retryAfterMs: number;
}

/** What orders need of an issuer. */
export interface Issuer {
  order(request: OrderRequest): Promise<{ readonly cert: string; readonly key: string }>;
  /** May be asked while an order is made. Undefined: the issuer gives no such advice. */
  advice(ariId: string): Promise<RenewalAdvice | undefined>;
}

export interface IssuerOptions {
  readonly directory: string;
  readonly accountKey: string;
  readonly email: string | undefined;
  /** PEM, of who signed the issuer's own certificate. */
  readonly ca: string | undefined;
  readonly agent: string;
  readonly wallMs: () => number;
}

export class AcmeError extends SluicewayError {
  override name = 'AcmeError';
  readonly retryAfterMs: number;

  constructor(code: ErrorCode, detail: string, retryAfterMs: number) {
    super(code, detail);
    this.retryAfterMs = retryAfterMs;
  }
}

/** No answer of an issuer takes as long. Guess. */
const REQUEST_MS = 30_000;
const ANSWER_BYTES_MAX = 1024 * 1024;
/** Boulder refuses one in a few thousand; Pebble half of them when told so. */
const NONCE_RETRIES_MAX = 20;
/** Looks at a challenge or an order: 1, 2, 4, and then every 5 s for two minutes in all. */
const POLL = { backoffAttempts: 26, backoffMin: 1000, backoffMax: 5000 } as const;
const DETAIL_LENGTH_MAX = 300;
const TOO_MANY_REQUESTS = 429;
const UNAVAILABLE = 503;

/** An answer of the issuer, as axios gives it. */
interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly data: unknown;
}

export async function createAccountKey(): Promise<string> {
  return (await acme.crypto.createPrivateEcdsaKey('P-256')).toString();
}

/** One order at a time: acme-client has one HTTP client for all. */
export class AcmeIssuer implements Issuer {
  readonly #options: IssuerOptions;
  #client: Promise<acme.Client> | undefined;
  /** For what is asked beside orders: knows nothing of #problem. */
  readonly #plainHttp: typeof acme.axios;
  /** The last answer to an order, while it is a failure. */
  #problem: Answer | undefined;

  constructor(options: IssuerOptions) {
    this.#options = options;
    this.#prepareHttp();
    this.#plainHttp = acme.axios.create({ validateStatus: () => true });
  }

  async order(request: OrderRequest): Promise<{ cert: string; key: string }> {
    this.#problem = undefined;
    try {
      return await this.#order(request);
    } catch (error) {
      // An issuer may have lost the account: the next order looks it up, or makes it, again.
      this.#client = undefined;
      throw this.#asAcmeError(error, this.#problem);
    }
  }

  async advice(ariId: string): Promise<RenewalAdvice | undefined> {
    try {
      const { data: directory } = await this.#get(this.#options.directory);
      const { renewalInfo } = (directory ?? {}) as { renewalInfo?: unknown };
      if (typeof renewalInfo !== 'string') return undefined;
      const answer = await this.#get(`${renewalInfo.replace(/\/$/, '')}/${ariId}`);
      return { window: readWindow(answer.data), retryAfterMs: this.#retryAfterMs(answer) };
    } catch (error) {
      throw this.#asAcmeError(error, undefined);
    }
  }

  async #order({ name, kind, solver, replaces, onBegin }: OrderRequest) {
    this.#client ??= this.#openAccount();
    const client = await this.#client;
    await onBegin();
    const order = await this.#newOrder(client, name, replaces);
    for (const authorization of await client.getAuthorizations(order)) {
      // Nothing is shown for a host that was not asked for.
      if (authorization.identifier.value !== name.replace(/^\*\./, '')) {
        throw new AcmeError('SLW_ACME_REFUSED', 'the issuer asks about another host', 0);
      }
      if (authorization.status !== 'valid') await prove(client, authorization, kind, solver);
    }
    const ready = await client.waitForValidStatus(order);
    const key = await acme.crypto.createPrivateEcdsaKey('P-256');
    const [, request] = await acme.crypto.createCsr({ altNames: [name] }, key);
    const final = await client.finalizeOrder({ ...ready, url: order.url }, request);
    const cert = await client.getCertificate(final);
    return { cert: String(cert), key: key.toString() };
  }

  async #openAccount(): Promise<acme.Client> {
    const { directory, accountKey, email } = this.#options;
    const client = new acme.Client({ directoryUrl: directory, accountKey, ...POLL });
    // Its type leaves `http` out.
    const { http } = client as unknown as { http: { maxBadNonceRetries: number } };
    http.maxBadNonceRetries = NONCE_RETRIES_MAX;
    const contact = email === undefined ? {} : { contact: [`mailto:${email}`] };
    await client.createAccount({ termsOfServiceAgreed: true, ...contact });
    return client;
  }

  async #newOrder(
    client: acme.Client,
    name: string,
    replaces: string | undefined,
  ): Promise<acme.Order> {
    const data = { identifiers: [{ type: 'dns', value: name }] };
    if (replaces === undefined) return client.createOrder(data);
    try {
      return await client.createOrder({ ...data, replaces } as typeof data);
    } catch (error) {
      const status = this.#problem?.status ?? 0;
      // It was replaced before (409, RFC 9773 5), or the issuer does not know it (404 at Let's
      // Encrypt), or has it from another account (403). To name it is not worth a certificate.
      if (status < 400 || status >= 500 || status === TOO_MANY_REQUESTS) throw error;
      return client.createOrder(data);
    }
  }

  #prepareHttp(): void {
    const { ca, agent } = this.#options;
    const { defaults, interceptors } = acme.axios;
    defaults.timeout = REQUEST_MS;
    // Else variables of the environment would choose one.
    defaults.proxy = false;
    defaults.maxContentLength = ANSWER_BYTES_MAX;
    defaults.headers.common['User-Agent'] = agent;
    // Without keep-alive: orders are rare, and an idle connection may be gone unnoticed.
    defaults.httpsAgent = new https.Agent({
      keepAlive: false,
      ...attemptsWithin(REQUEST_MS),
      ...trustIn(ca),
    });
    // Every answer comes as an error: acme-client wants to see it first, and to retry.
    interceptors.response.clear();
    interceptors.response.use(
      (answer) => answer,
      (error: { readonly response?: Answer; readonly message?: string }) => {
        const { response } = error;
        if (response === undefined) throw this.#unreachable(error.message ?? String(error));
        this.#problem = response.status >= 400 ? response : undefined;
        return response;
      },
    );
  }

  async #get(url: string): Promise<Answer> {
    const answer: Answer = await this.#plainHttp.get(url).catch((error: unknown) => {
      throw this.#unreachable(messageOf(error));
    });
    const { status } = answer;
    if (status >= 400) throw this.#asAcmeError(new Error(`answered ${status}`), answer);
    return answer;
  }

  #unreachable(message: string): AcmeError {
    const { host } = new URL(this.#options.directory);
    return new AcmeError('SLW_ACME_UNREACHABLE', `${host}: ${oneLine(message)}`, 0);
  }

  #asAcmeError(error: unknown, answer: Answer | undefined): SluicewayError {
    // Also what `onBegin` raised.
    if (error instanceof SluicewayError) return error;
    const message = messageOf(error);
    if (answer === undefined) return new AcmeError('SLW_ACME_REFUSED', oneLine(message), 0);
    const retryAfterMs = this.#retryAfterMs(answer);
    const { type } = (answer.data ?? {}) as { type?: unknown };
    const kind = typeof type === 'string' ? `, ${type.slice(type.lastIndexOf(':') + 1)}` : '';
    const detail = `${oneLine(message)} (${answer.status}${kind})`;
    const { status } = answer;
    if (status === TOO_MANY_REQUESTS || (status === UNAVAILABLE && retryAfterMs > 0)) {
      return new AcmeError('SLW_ACME_LIMITED', detail, retryAfterMs);
    }
    const code = status >= 500 ? 'SLW_ACME_UNREACHABLE' : 'SLW_ACME_REFUSED';
    return new AcmeError(code, detail, retryAfterMs);
  }

  /** Seconds, or a date (RFC 9110 10.2.3). */
  #retryAfterMs({ headers }: Answer): number {
    const text = String(headers['retry-after'] ?? '');
    if (/^\d{1,9}$/.test(text)) return Number(text) * 1000;
    const atMs = wallMsOf(text);
    return Number.isNaN(atMs) ? 0 : Math.max(0, atMs - this.#options.wallMs());
  }
}

/** Shows what is asked for, has the issuer look, and takes it back. */
async function prove(
  client: acme.Client,
  authorization: acme.Authorization,
  kind: ChallengeKind,
  solver: ChallengeSolver,
): Promise<void> {
  const challenge = authorization.challenges.find(({ type }) => type === kind);
  const host = authorization.identifier.value;
  if (challenge === undefined) {
    throw new AcmeError('SLW_ACME_REFUSED', `${host}: the issuer offers no ${kind}`, 0);
  }
  const answer = await client.getChallengeKeyAuthorization(challenge);
  const task = await taskFor(kind, authorization, challenge.token, answer);
  try {
    await solver.present(task);
    await client.completeChallenge(challenge);
    await client.waitForValidStatus(challenge);
  } finally {
    await solver.cleanup(task);
  }
}

async function taskFor(
  kind: ChallengeKind,
  authorization: acme.Authorization,
  token: string,
  answer: string,
): Promise<ChallengeTask> {
  const host = authorization.identifier.value;
  if (kind === 'http-01') return { kind, host, token, text: answer };
  if (kind === 'dns-01') return { kind, host, record: `_acme-challenge.${host}`, value: answer };
  const own = await acme.crypto.createPrivateEcdsaKey('P-256');
  const [key, cert] = await acme.crypto.createAlpnCertificate(authorization, answer, own);
  return { kind, host, cert: cert.toString(), key: key.toString() };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** An issuer's words, for a log line. */
function oneLine(text: string): string {
  const start = text.slice(0, DETAIL_LENGTH_MAX).replace(/[^\x20-\x7e]/g, ' ');
  return start.trim() === '' ? 'no reason given' : start.trim();
}
