// What a visitor reads when no upstream answered: one constant answer for each status, ours or the
// operator's.
//
// Invariant: nothing of the request is in it, and the connection is closed after it. A HEAD
// request gets the same head without the body. Must not know: why a request failed.

import { ERRORS, type ErrorCode } from '../base/errors.ts';
import { LOGIN_RETRY_SECONDS } from '../base/login-throttle.ts';
import { LOGOUT_PATH } from '../base/login-way.ts';
import { METHODS } from '../http/method.ts';

const REASONS: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  413: 'Content Too Large',
  414: 'URI Too Long',
  417: 'Expectation Failed',
  421: 'Misdirected Request',
  429: 'Too Many Requests',
  431: 'Request Header Fields Too Large',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
  505: 'HTTP Version Not Supported',
};
/** A month may have long to go: who asks again in an hour costs little. */
const SPENT_FIELDS = 'Retry-After: 3600\r\n';
/** RFC 7617 section 2 and RFC 6750 section 3. */
const BASIC_FIELDS = 'WWW-Authenticate: Basic realm="sluiceway", charset="UTF-8"\r\n';
const BEARER_FIELDS = 'WWW-Authenticate: Bearer realm="sluiceway"\r\n';
/** For a status without a row. */
const FALLBACK = 502;

/** What some answers must or should say (RFC 9110 15.5.6; contract, "What a visitor gets"). */
const EXTRA_FIELDS: Readonly<Record<number, string>> = {
  405: `Allow: ${METHODS.join(', ')}\r\n`,
  // A rate has room again within a second.
  429: 'Retry-After: 1\r\n',
  503: 'Retry-After: 5\r\n',
};

/** No scheme that a program could follow: a browser has to come (RFC 9110 15.5.2 wants one). */
const BROWSER_FIELDS = 'WWW-Authenticate: Cookie realm="sluiceway"\r\n';
const LOG_OUT = `<p><a href="${LOGOUT_PATH}">Log out</a>, to log in as somebody else.</p>`;

/** Whose fields are not those of its status, where they are given, or whose page says more. */
const SPECIAL: readonly (readonly [ErrorCode, fields: string | undefined, more?: string])[] = [
  ['SLW_STREAM_TOKEN_SPENT', SPENT_FIELDS],
  ['SLW_HTTP_LOGIN_LIMIT', `Retry-After: ${LOGIN_RETRY_SECONDS}\r\n`],
  ['SLW_HTTP_LOGIN', BASIC_FIELDS],
  ['SLW_HTTP_LOGIN_BEARER', BEARER_FIELDS],
  ['SLW_HTTP_LOGIN_BROWSER', BROWSER_FIELDS, '<p>Log in with a browser.</p>'],
  [
    'SLW_HTTP_LOGIN_FORBIDDEN',
    undefined,
    `<p>You have logged in, but this login may not visit this site.</p>${LOG_OUT}`,
  ],
  ['SLW_HTTP_LOGIN_REFUSED', undefined, `<p>The login was not granted.</p>${LOG_OUT}`],
  [
    'SLW_HTTP_LOGIN_LOST',
    undefined,
    '<p>This login has ended, was used already, or began in another browser.</p>' +
      '<p>Go back to the page that you wanted, and log in again.</p>',
  ],
  [
    'SLW_HTTP_LOGIN_UNAVAILABLE',
    undefined,
    '<p>Nobody can log in at the moment. Try again in a while.</p>',
  ],
];

interface Page {
  readonly head: Buffer;
  readonly whole: Buffer;
}

/** Bodies of the operator's own, by status. */
export type OwnPages = readonly (readonly [number, string])[];

interface PageText {
  readonly status: number;
  /** The operator's own body. */
  readonly own: string | undefined;
  readonly fields?: string | undefined;
  /** Said below the title of our own body. */
  readonly more?: string | undefined;
}

function createPage({
  status,
  own,
  fields = EXTRA_FIELDS[status] ?? '',
  more = '',
}: PageText): Page {
  const title = `${status} ${REASONS[status] ?? ''}`;
  const body = Buffer.from(
    own ?? `<!doctype html><title>${title}</title><h1>${title}</h1>${more}\n`,
  );
  const head = Buffer.from(
    `HTTP/1.1 ${title}\r\nContent-Type: text/html; charset=utf-8\r\n` +
      `Content-Length: ${body.length}\r\nCache-Control: no-store\r\n` +
      `${fields}Connection: close\r\n\r\n`,
    'latin1',
  );
  return { head, whole: Buffer.concat([head, body]) };
}

export class Pages {
  readonly #pages: ReadonlyMap<number, Page>;
  /** Those of SPECIAL. */
  readonly #byCode: ReadonlyMap<ErrorCode, Page>;

  constructor(own: OwnPages = []) {
    const bodies = new Map(own);
    const create = (status: number): [number, Page] => [
      status,
      createPage({ status, own: bodies.get(status) }),
    ];
    this.#pages = new Map(Object.keys(REASONS).map(Number).map(create));
    const special = ([code, fields, more]: (typeof SPECIAL)[number]): [ErrorCode, Page] => {
      const { status } = ERRORS[code];
      return [code, createPage({ status, own: bodies.get(status), fields, more })];
    };
    this.#byCode = new Map(SPECIAL.map(special));
  }

  /** The answer for `code` to a request with `method`; shared, so never to be written into. */
  pageFor(code: ErrorCode, method: string): Buffer {
    const page = this.#pageOf(code);
    if (page === undefined) return Buffer.alloc(0);
    return method === 'HEAD' ? page.head : page.whole;
  }

  /** Bytes of the body in that answer. */
  bodyBytes(code: ErrorCode, method: string): number {
    const page = method === 'HEAD' ? undefined : this.#pageOf(code);
    return page === undefined ? 0 : page.whole.length - page.head.length;
  }

  #pageOf(code: ErrorCode): Page | undefined {
    const { status } = ERRORS[code];
    return this.#byCode.get(code) ?? this.#pages.get(status) ?? this.#pages.get(FALLBACK);
  }
}
