// What the control port and the admin address answer to plain requests.
//
// Invariant: without a token or a verified certificate only health, readiness, the private CA and
// (from loopback on the admin address) metrics answer 200; every other path gets a constant 404;
// nothing of a request is reflected. Must not know: which listener the request came
// from, beyond `isTrusted`.

import { LOGIN_RETRY_SECONDS } from '../base/login-throttle.ts';
import type { PlainAnswer, PlainRequest } from '../bridge/exit-messages.ts';
import type { Judgement } from './access.ts';

export interface StatusClient {
  readonly clientID: string;
  readonly remoteAddr: string;
  /** The name in its certificate, when that let it in. */
  readonly identity?: string;
  /** Name of the entry of the tokens file that let it in. */
  readonly token?: string;
  readonly since: string;
  readonly version: string;
  readonly links: number;
  readonly upstreams: readonly string[];
  /** What it serves: hosts, and ports as `tcp:2222`. */
  readonly tunnels: readonly string[];
  readonly streams: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Of its fastest link; 0 before the first answer to a ping. */
  readonly rttMs: number;
  /** How often this id came again, started anew or after all its links were lost. */
  readonly restarts: number;
}

export interface Status {
  readonly info: {
    readonly version: string;
    readonly mode: string;
    readonly hostname: string;
    readonly startTime: string;
    readonly shards: number;
  };
  readonly clients: readonly StatusClient[];
}

export interface AnswersOptions {
  /** `forbidden`: a token that is good, but not for this. */
  readonly judge: (request: PlainRequest) => Judgement;
  readonly isReady: () => boolean;
  readonly isServed: (tunnel: string) => boolean;
  readonly status: () => Promise<Status>;
  readonly metrics: () => Promise<{ readonly contentType: string; readonly text: string }>;
  /** The private CA, PEM; undefined when there is none. */
  readonly ca?: () => string | undefined;
  readonly onAnswer: (path: string, status: number) => void;
}

const TEXT = { 'content-type': 'text/plain; charset=utf-8' };
const CA_PATH = '/.well-known/ca.crt';
const PATHS = new Set(['/status', '/metrics', '/healthz', '/readyz', '/connect', CA_PATH]);
/** Closed: nobody stays on a link's path without becoming one. */
const UPGRADE = { upgrade: 'websocket', connection: 'upgrade, close' };

export class Answers {
  readonly #options: AnswersOptions;

  constructor(options: AnswersOptions) {
    this.#options = options;
  }

  /** `isTrusted`: on the admin address, from loopback. */
  async answer(request: PlainRequest, isTrusted: boolean): Promise<PlainAnswer> {
    const [path = '', query = ''] = request.target.split('?', 2);
    const answer = await this.#route(request, { path, query, isTrusted });
    this.#options.onAnswer(PATHS.has(path) ? path : '_other', answer.status);
    return answer;
  }

  async #route(
    request: PlainRequest,
    { path, query, isTrusted }: { path: string; query: string; isTrusted: boolean },
  ): Promise<PlainAnswer> {
    const isRead = request.method === 'GET' || request.method === 'HEAD';
    if (!PATHS.has(path)) return text(404, 'Not Found');
    if (!isRead) return text(405, 'Method Not Allowed', { allow: 'GET, HEAD' });
    switch (path) {
      case '/healthz':
        return text(200, 'ok');
      case '/readyz':
        return this.#answerReady(query);
      case '/connect':
        return text(426, 'Upgrade Required', UPGRADE);
      case CA_PATH:
        return this.#answerCa();
      default:
        break;
    }
    const isOpen = path === '/metrics' && isTrusted;
    const isKnown = request.identity !== undefined;
    const access = isOpen || isKnown ? undefined : this.#options.judge(request);
    if (access === 'refused') return text(401, 'Unauthorized', { 'www-authenticate': 'Bearer' });
    if (access === 'forbidden') return text(403, 'Forbidden');
    if (access === 'throttled') {
      return text(429, 'Too Many Requests', { 'retry-after': String(LOGIN_RETRY_SECONDS) });
    }
    return path === '/metrics' ? this.#answerMetrics() : this.#answerStatus();
  }

  #answerCa(): PlainAnswer {
    const body = this.#options.ca?.();
    if (body === undefined) return text(404, 'Not Found');
    return { status: 200, headers: { 'content-type': 'application/x-pem-file' }, body };
  }

  #answerReady(query: string): PlainAnswer {
    const tunnel = new URLSearchParams(query).get('tunnel');
    if (!this.#options.isReady()) return text(503, 'not ready');
    const isServed = tunnel === null || this.#options.isServed(tunnel);
    return isServed ? text(200, 'ok') : text(503, 'not served');
  }

  async #answerMetrics(): Promise<PlainAnswer> {
    const { contentType, text: body } = await this.#options.metrics();
    return { status: 200, headers: { 'content-type': contentType }, body };
  }

  async #answerStatus(): Promise<PlainAnswer> {
    const body = JSON.stringify(await this.#options.status());
    return { status: 200, headers: { 'content-type': 'application/json' }, body };
  }
}

function text(status: number, body: string, headers: Record<string, string> = {}): PlainAnswer {
  return { status, headers: { ...TEXT, ...headers }, body: `${body}\n` };
}
