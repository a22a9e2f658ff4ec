// The dashboard on the admin address: its pages, the login to them, and the feed of what they show.
//
//   /  /login  /logout  /assets/NAME  /api/events  /api/requests
//
// Invariant: from elsewhere than this machine nothing but the login page and the fixed files is
// shown without a session or a good token; pages run no script and load nothing but ours; nothing
// of a request is in an answer. Must not know: what is shown, or how tokens are judged.

import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { LOGIN_RETRY_SECONDS } from '../base/login-throttle.ts';
import { Assets } from '../dashboard/assets.ts';
import type { Attempt, Judgement } from './access.ts';
import type { Holder } from './clients.ts';
import { DashboardSessions } from './dashboard-sessions.ts';
import type { RequestInspector } from './inspector.ts';
import { LiveFeed } from './live-feed.ts';
import type { Reading } from './readings.ts';
import { Snapshots } from './snapshot.ts';

/** A login form: a token of the greatest length, each character as three. */
const FORM_BYTES_MAX = 32 * 1024;
const ASSETS_PATH = '/assets/';
const INSPECTOR_PATH = '/api/requests';
const UNAUTHORIZED = { status: 401, headers: { 'www-authenticate': 'Bearer' }, body: '' };
const POLICY = [
  ...["default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"],
  ...["img-src 'self' data:", "base-uri 'none'", "form-action 'self'", "frame-ancestors 'none'"],
].join('; ');
const FIELDS = {
  'content-security-policy': POLICY,
  'x-content-type-options': 'nosniff',
  // Not `no-referrer`: a browser would then send `Origin: null` with the login.
  'referrer-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
};
/** Where the login page says what went wrong. */
const MESSAGE_PLACE = '<!-- message -->';
const MESSAGES = {
  refused: 'This token is not known here, or is not for this address.',
  forbidden: 'This token may not look at the server: it needs “admin”.',
  throttled: 'Too many tries. Wait a few seconds, and try again.',
} as const;
const STATUSES = { refused: 401, forbidden: 403, throttled: 429 } as const;

export interface DashboardOptions {
  readonly judge: (attempt: Attempt) => Judgement;
  readonly mayLook: (holder: Holder) => boolean;
  readonly look: () => Promise<Reading>;
  readonly inspector: RequestInspector;
  readonly clock: Clock;
  readonly log: Logger;
}

/** A request that no foreign page has made; `isTrusted`: from this machine itself. */
export interface Visit {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly path: string;
  readonly isTrusted: boolean;
  readonly remoteAddress: string;
}

export class Dashboard {
  readonly #options: DashboardOptions;
  readonly #assets = new Assets();
  readonly #sessions: DashboardSessions;
  readonly #snapshots = new Snapshots();
  readonly #feed: LiveFeed;

  constructor(options: DashboardOptions) {
    this.#options = options;
    const { mayLook, clock, log, look } = options;
    this.#sessions = new DashboardSessions({ mayLook, clock });
    this.#feed = new LiveFeed({
      look: async () => {
        const reading = await look();
        const moment = { monotonicMs: clock.nowMs(), wallMs: clock.wallMs() };
        return JSON.stringify(this.#snapshots.take(reading, moment));
      },
      onFirst: () => this.#snapshots.reset(),
      ...{ clock, log },
    });
  }

  close(): void {
    this.#feed.close();
  }

  /** False: the path is not of the dashboard. */
  async visit(visit: Visit): Promise<boolean> {
    const { path, request } = visit;
    const isRead = request.method === 'GET' || request.method === 'HEAD';
    if (path.startsWith(ASSETS_PATH)) {
      await (isRead ? this.#sendFile(visit, path.slice(ASSETS_PATH.length)) : refuseMethod(visit));
    } else if (path === '/') await (isRead ? this.#sendPage(visit) : refuseMethod(visit));
    else if (path === '/login') {
      if (isRead) await this.#sendLogin(visit, 200, '');
      else if (request.method === 'POST') await this.#login(visit);
      else refuseMethod(visit);
    } else if (path === '/logout') {
      if (request.method === 'POST') this.#logout(visit);
      else refuseMethod(visit);
    } else if (path === '/api/events') {
      if (request.method === 'GET') this.#sendEvents(visit);
      else refuseMethod(visit);
    } else return this.#visitInspector(visit);
    return true;
  }

  async #visitInspector(visit: Visit): Promise<boolean> {
    const { request, response } = visit;
    const { method = 'GET', url = '/' } = request;
    if (!visit.path.startsWith(INSPECTOR_PATH)) return false;
    const answering = this.#isAllowed(visit)
      ? this.#options.inspector.answer(method, url)
      : Promise.resolve(UNAUTHORIZED);
    if (answering === undefined) return false;
    const { status, headers, body } = await answering;
    response.writeHead(status, { ...FIELDS, ...headers });
    response.end(method === 'HEAD' ? undefined : body);
    return true;
  }

  /** From this machine, in a session, or with a token that may. */
  #isAllowed({ isTrusted, request, remoteAddress }: Visit): boolean {
    const { authorization, cookie } = request.headers;
    if (isTrusted || this.#sessions.isOpen(cookie, remoteAddress)) return true;
    if (authorization === undefined) return false;
    return typeof this.#options.judge({ authorization, remoteAddress }) !== 'string';
  }

  async #sendPage(visit: Visit): Promise<void> {
    if (this.#isAllowed(visit)) await this.#sendFile(visit, 'index.html');
    else redirect(visit, '/login');
  }

  async #sendFile({ request, response }: Visit, name: string): Promise<void> {
    const asset = await this.#assets.find(name);
    if (asset === undefined) {
      response.writeHead(404, { ...FIELDS, 'content-type': 'text/plain' }).end('Not Found\n');
      return;
    }
    const { type, body, etag } = asset;
    const fields = { ...FIELDS, 'cache-control': 'no-cache', etag };
    if (request.headers['if-none-match'] === etag) {
      response.writeHead(304, fields).end();
      return;
    }
    response.writeHead(200, { ...fields, 'content-type': type, 'content-length': body.length });
    response.end(request.method === 'HEAD' ? undefined : body);
  }

  async #sendLogin({ request, response }: Visit, status: number, message: string): Promise<void> {
    const asset = await this.#assets.find('login.html');
    const note = message === '' ? '' : `<p class="wrong" role="alert">${message}</p>`;
    const body = (asset?.body.toString() ?? '').replace(MESSAGE_PLACE, note);
    response.writeHead(status, {
      ...FIELDS,
      'content-type': asset?.type,
      'cache-control': 'no-store',
      ...(status === 429 ? { 'retry-after': String(LOGIN_RETRY_SECONDS) } : {}),
    });
    response.end(request.method === 'HEAD' ? undefined : body);
  }

  async #login(visit: Visit): Promise<void> {
    const { request, remoteAddress, response } = visit;
    const form = await readForm(request);
    if (form === undefined) {
      response.writeHead(413, { ...FIELDS, connection: 'close' }).end();
      return;
    }
    const authorization = `Bearer ${form.get('token') ?? ''}`;
    const found = this.#options.judge({ authorization, remoteAddress });
    if (typeof found === 'string') {
      await this.#sendLogin(visit, STATUSES[found], MESSAGES[found]);
      return;
    }
    const { credential } = found;
    this.#options.log.info({ remoteAddress }, 'login to the dashboard');
    const { host: authority = '', origin = '' } = request.headers;
    // Of a browser, and compared with the host already.
    const scheme = origin.startsWith('https:') ? 'https' : 'http';
    const cookie = this.#sessions.open(credential, { authority, scheme });
    redirect(visit, '/', { 'set-cookie': cookie });
  }

  #logout(visit: Visit): void {
    const { cookie, host: authority = '' } = visit.request.headers;
    redirect(visit, '/login', { 'set-cookie': this.#sessions.close(cookie, { authority }) });
  }

  /** Is there a session to log out of? */
  #greet({ request, remoteAddress }: Visit): string {
    const hasSession = this.#sessions.isOpen(request.headers.cookie, remoteAddress);
    return JSON.stringify({ hasSession });
  }

  #sendEvents(visit: Visit): void {
    const { response } = visit;
    if (!this.#isAllowed(visit)) {
      response.writeHead(401, { ...FIELDS, 'www-authenticate': 'Bearer' }).end();
    } else if (!this.#feed.join(response, this.#greet(visit), () => this.#isAllowed(visit))) {
      response.writeHead(503, { ...FIELDS, 'retry-after': '10' }).end();
    }
  }
}

function redirect({ response }: Visit, location: string, fields: OutgoingHttpHeaders = {}) {
  response.writeHead(303, { ...FIELDS, 'cache-control': 'no-store', ...fields, location }).end();
}

function refuseMethod({ response }: Visit): void {
  response.writeHead(405, { ...FIELDS, 'content-type': 'text/plain' }).end('Method Not Allowed\n');
}

/** Undefined: it is too long, or was not sent whole. */
function readForm(request: IncomingMessage): Promise<URLSearchParams | undefined> {
  return new Promise((resolve) => {
    const pieces: Buffer[] = [];
    let bytes = 0;
    request.on('data', (piece: Buffer) => {
      bytes += piece.length;
      if (bytes > FORM_BYTES_MAX) resolve(undefined);
      else pieces.push(piece);
    });
    request.on('end', () => resolve(new URLSearchParams(Buffer.concat(pieces).toString('utf8'))));
    request.on('close', () => resolve(undefined));
  });
}
