// What a visitor reads when no upstream answered: one small constant answer for each status.
//
// Invariant: nothing of the request is in it, and the connection is closed after it. A HEAD
// request gets the same head without the body. Must not know: why a request failed.

import { METHODS } from '../http/method.ts';

const REASONS: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
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
/** For a status without a row. */
const FALLBACK = 502;

const RETRY = 'Retry-After: 5\r\n';
/** What some answers must or should say (RFC 9110 15.5.6; contract, "What a visitor gets"). */
const EXTRA_FIELDS: Readonly<Record<number, string>> = {
  405: `Allow: ${METHODS.join(', ')}\r\n`,
  429: RETRY,
  503: RETRY,
};

interface Page {
  readonly head: Buffer;
  readonly whole: Buffer;
}

const PAGES: ReadonlyMap<number, Page> = new Map(
  Object.entries(REASONS).map(([status, reason]) => [Number(status), createPage(status, reason)]),
);

function createPage(status: string, reason: string): Page {
  const title = `${status} ${reason}`;
  const body = `<!doctype html><title>${title}</title><h1>${title}</h1>\n`;
  const head = Buffer.from(
    `HTTP/1.1 ${title}\r\nContent-Type: text/html; charset=utf-8\r\n` +
      `Content-Length: ${body.length}\r\nCache-Control: no-store\r\n` +
      `${EXTRA_FIELDS[Number(status)] ?? ''}Connection: close\r\n\r\n`,
    'latin1',
  );
  return { head, whole: Buffer.concat([head, Buffer.from(body, 'latin1')]) };
}

/** The answer with `status` to a request with `method`; shared, so never to be written into. */
export function pageFor(status: number, method: string): Buffer {
  const page = PAGES.get(status) ?? PAGES.get(FALLBACK);
  if (page === undefined) return Buffer.alloc(0);
  return method === 'HEAD' ? page.head : page.whole;
}
