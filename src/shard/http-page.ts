// What a visitor reads when no upstream answered: one constant answer for each status, ours or the
// operator's.
//
// Invariant: nothing of the request is in it, and the connection is closed after it. A HEAD
// request gets the same head without the body. Must not know: why a request failed.

import { ERRORS, type ErrorCode } from '../base/errors.ts';
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

const SPECIAL: readonly (readonly [ErrorCode, status: number, fields: string])[] = [
  ['SLW_STREAM_TOKEN_SPENT', 429, SPENT_FIELDS],
  ['SLW_HTTP_LOGIN', 401, BASIC_FIELDS],
  ['SLW_HTTP_LOGIN_BEARER', 401, BEARER_FIELDS],
];

interface Page {
  readonly head: Buffer;
  readonly whole: Buffer;
}

/** Bodies of the operator's own, by status. */
export type OwnPages = readonly (readonly [number, string])[];

function createPage(
  status: string,
  reason: string,
  own: string | undefined,
  fields = EXTRA_FIELDS[Number(status)] ?? '',
): Page {
  const title = `${status} ${reason}`;
  const body = Buffer.from(own ?? `<!doctype html><title>${title}</title><h1>${title}</h1>\n`);
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
  /** Whose fields are not those of its status alone. */
  readonly #byCode: ReadonlyMap<ErrorCode, Page>;

  constructor(own: OwnPages = []) {
    const bodies = new Map(own);
    const create = ([status, reason]: [string, string]): [number, Page] => [
      Number(status),
      createPage(status, reason, bodies.get(Number(status))),
    ];
    this.#pages = new Map(Object.entries(REASONS).map(create));
    const special = ([code, status, fields]: (typeof SPECIAL)[number]): [ErrorCode, Page] => [
      code,
      createPage(String(status), REASONS[status] ?? '', bodies.get(status), fields),
    ];
    this.#byCode = new Map(SPECIAL.map(special));
  }

  /** The answer for `code` to a request with `method`; shared, so never to be written into. */
  pageFor(code: ErrorCode, method: string): Buffer {
    const { status } = ERRORS[code];
    const page = this.#byCode.get(code) ?? this.#pages.get(status) ?? this.#pages.get(FALLBACK);
    if (page === undefined) return Buffer.alloc(0);
    return method === 'HEAD' ? page.head : page.whole;
  }

  /** Bytes of the body in that answer. */
  bodyBytes(status: number, method: string): number {
    if (method === 'HEAD') return 0;
    const page = this.#pages.get(status) ?? this.#pages.get(FALLBACK);
    return page === undefined ? 0 : page.whole.length - page.head.length;
  }
}
