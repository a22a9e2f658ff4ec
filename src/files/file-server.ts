// Serves a folder over HTTP: files, their ranges, and pages that list what is in a folder.
//
//   target --names--> folder --index.html, or listing--> page
//                     file --preconditions, ranges--> 200, 206, 304, 412, 416
//
// Invariant: only GET and HEAD, and only what `Folder` gives; every file that was opened is closed;
// a refusal says nothing of the disk, and nothing of the request. Who may ask is for others to
// decide. Must not know: tunnels, or where it listens.

import { randomBytes } from 'node:crypto';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { finished } from 'node:stream/promises';
import { httpTimeOf, systemClock } from '../base/clock.ts';
import { http } from '../base/http-modules.ts';
import type { Logger } from '../base/log.ts';
import { loggable } from '../base/loggable.ts';
import { contentTypeOf } from './content-type.ts';
import { Folder, type FoundFile, type FoundFolder } from './folder.ts';
import { LISTING_POLICY, renderListing } from './listing-page.ts';
import { isCurrent, judge } from './preconditions.ts';
import { type ByteRange, lengthOf, readRanges, showRange } from './ranges.ts';
import { type RequestPath, readRequestPath, showFolder } from './request-path.ts';
import { sendParts } from './transfer.ts';

export interface FileServerOptions {
  readonly folder: string;
  /** Folders without an index.html show what is in them. */
  readonly listing: boolean;
  /** Names that begin with a dot are served. */
  readonly hidden: boolean;
  /** A line a request. */
  readonly accessLog: boolean;
  readonly log: Logger;
}

const INDEX = 'index.html';
const HEAD_TIMEOUT_MS = 10_000;
/** Longer than an exit node keeps an idle connection (75 s), so that it is never closed under a
 * request. */
const KEEP_ALIVE_TIMEOUT_MS = 90_000;
/** Who takes nothing for so long has gone; what is left can be had by a range. Guess. */
const IDLE_TIMEOUT_MS = 5 * 60_000;
const CHECK_INTERVAL_MS = 2000;
/** So long is read what nobody wants, behind its answer. Guess: longer than an answer takes. */
const LINGER_MS = 2000;
/** Each may hold a file open. Guess: below the usual limit of open files. */
const CONNECTIONS_MAX = 4096;

const REASONS = {
  400: 'Bad Request',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  412: 'Precondition Failed',
  414: 'URI Too Long',
  416: 'Range Not Satisfiable',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
} as const;
type Refusal = keyof typeof REASONS;

const REFUSAL_FIELDS = {
  'content-type': 'text/plain; charset=utf-8',
  'cache-control': 'no-cache',
} as const;
const ONLY_READ = { allow: 'GET, HEAD', connection: 'close' } as const;

/** What the file system says when there is nothing under a name. */
const NOTHING: ReadonlySet<string> = new Set(['ENOENT', 'ENOTDIR', 'ENAMETOOLONG', 'ELOOP']);
const STATUS_OF: Readonly<Record<string, Refusal>> = {
  EACCES: 403,
  EPERM: 403,
  EBUSY: 503,
  EMFILE: 503,
  ENFILE: 503,
};

interface Visit {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly isHead: boolean;
}

/** A server that does not listen yet. */
export function createFileServer(options: FileServerOptions): Server {
  const server = http.createServer({
    headersTimeout: HEAD_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    connectionsCheckingInterval: CHECK_INTERVAL_MS,
    noDelay: true,
  });
  server.maxConnections = CONNECTIONS_MAX;
  server.setTimeout(IDLE_TIMEOUT_MS);
  const site = new Site(options);
  server.on('request', (request, response) => void site.serve(request, response));
  return server;
}

class Site {
  readonly #options: FileServerOptions;
  readonly #folder: Folder;

  constructor(options: FileServerOptions) {
    this.#options = options;
    this.#folder = new Folder(options.folder, options.hidden);
  }

  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    request.resume();
    response.on('error', () => {
      // The visitor has gone.
    });
    if (this.#options.accessLog) response.on('close', () => this.#tell(request, response));
    response.setHeader('x-content-type-options', 'nosniff');
    const visit = { request, response, isHead: request.method === 'HEAD' };
    try {
      await this.#answer(visit);
    } catch (error) {
      this.#fail(visit, error as NodeJS.ErrnoException);
    }
  }

  async #answer(visit: Visit): Promise<void> {
    const { method, url = '' } = visit.request;
    if (method !== 'GET' && method !== 'HEAD') {
      await refuseMethod(visit);
      return;
    }
    const wanted = readRequestPath(url);
    if (typeof wanted === 'number') {
      refuse(visit, wanted);
      return;
    }
    const found = await this.#folder.open(wanted.names);
    if (found === undefined) refuse(visit, 404);
    else if (found.kind === 'folder') await this.#answerFolder(visit, wanted, found);
    else await this.#answerFile(visit, wanted, found);
  }

  async #answerFile(visit: Visit, wanted: RequestPath, found: FoundFile): Promise<void> {
    try {
      // "a.txt/" is a folder, which it is not.
      if (wanted.isFolder) refuse(visit, 404);
      else await sendFile(visit, wanted.names.at(-1) ?? '', found);
    } finally {
      await found.handle.close();
    }
  }

  async #answerFolder(visit: Visit, wanted: RequestPath, found: FoundFolder): Promise<void> {
    if (!wanted.isFolder) {
      const location = showFolder(wanted);
      send(visit, { status: 301, fields: { location, 'cache-control': 'no-cache' }, body: '' });
      return;
    }
    const index = await this.#openIndex(wanted.names);
    if (index !== undefined) {
      try {
        await sendFile(visit, INDEX, index);
      } finally {
        await index.handle.close();
      }
      return;
    }
    const listing = this.#options.listing ? await this.#folder.list(found) : undefined;
    if (listing === undefined) {
      refuse(visit, 404);
      return;
    }
    const fields = {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': LISTING_POLICY,
      'referrer-policy': 'same-origin',
      'cache-control': 'no-cache',
    };
    send(visit, { status: 200, fields, body: renderListing(wanted.names, listing) });
  }

  async #openIndex(names: readonly string[]): Promise<FoundFile | undefined> {
    try {
      const found = await this.#folder.open([...names, INDEX]);
      return found?.kind === 'file' ? found : undefined;
    } catch (error) {
      if (NOTHING.has((error as NodeJS.ErrnoException).code ?? '')) return undefined;
      throw error;
    }
  }

  #fail(visit: Visit, error: NodeJS.ErrnoException): void {
    const { response, request } = visit;
    if (response.headersSent) {
      const isGone = response.destroyed || response.socket?.destroyed !== false;
      response.destroy();
      if (isGone) return;
    }
    const status = NOTHING.has(error.code ?? '') ? 404 : (STATUS_OF[error.code ?? ''] ?? 500);
    if (status !== 404) {
      const about = { target: loggable(request.url ?? ''), code: error.code };
      this.#options.log.warn({ ...about, reason: loggable(error.message) }, 'file not served');
    }
    if (!response.headersSent) refuse(visit, status);
  }

  #tell(request: IncomingMessage, response: ServerResponse): void {
    const { method, url = '' } = request;
    const { statusCode: status } = response;
    const isWhole = response.writableFinished;
    this.#options.log.info({ method, target: loggable(url), status, isWhole }, 'request');
  }
}

interface Answer {
  readonly status: number;
  readonly fields: Readonly<Record<string, string | number>>;
  readonly body: string;
}

function send({ response, isHead }: Visit, { status, fields, body }: Answer): void {
  response.writeHead(status, { ...fields, 'content-length': Buffer.byteLength(body) });
  response.end(isHead ? undefined : body);
}

function refuse(visit: Visit, status: Refusal, more: Answer['fields'] = {}): void {
  const body = `${status} ${REASONS[status]}\n`;
  send(visit, { status, fields: { ...REFUSAL_FIELDS, ...more }, body });
}

/**
 * Answers at once, and closes when the body has come or LINGER_MS are over: to close while bytes
 * come resets the connection, and the reset may overtake the answer (RFC 9112 section 9.6).
 */
async function refuseMethod({ request, response }: Visit): Promise<void> {
  const body = `405 ${REASONS[405]}\n`;
  response.writeHead(405, { ...REFUSAL_FIELDS, ...ONLY_READ, 'content-length': body.length });
  response.write(body);
  const late = new AbortController();
  const timer = systemClock.after(LINGER_MS, () => late.abort());
  await finished(request, { signal: late.signal }).catch(ignore);
  timer.cancel();
  response.end();
}

function ignore(): void {
  // The visitor has gone, or sends still: there is no more to wait for.
}

async function sendFile(visit: Visit, name: string, file: FoundFile): Promise<void> {
  const { request, response, isHead } = visit;
  const { size, modifiedMs, version } = file;
  const tag = `"${version}"`;
  const verdict = judge(request.headers, { tag, modifiedMs });
  if (verdict === 'failed') {
    refuse(visit, 412);
    return;
  }
  const known = {
    etag: tag,
    'last-modified': httpTimeOf(modifiedMs),
    // Asked for anew each time, which costs a 304.
    'cache-control': 'no-cache',
  };
  if (verdict === 'not-modified') {
    response.writeHead(304, known).end();
    return;
  }
  const isPartial = !isHead && isCurrent(request.headers, { tag, modifiedMs });
  const ranges = isPartial ? readRanges(request.headers.range, size) : 'whole';
  if (ranges === 'none') {
    refuse(visit, 416, { 'content-range': `bytes */${size}` });
    return;
  }
  const parts = { name, file, fields: { ...known, 'accept-ranges': 'bytes' } };
  if (ranges === 'whole') await sendWhole(visit, parts);
  else await sendRanges(visit, ranges, parts);
}

interface Parts {
  readonly name: string;
  readonly file: FoundFile;
  readonly fields: Answer['fields'];
}

async function sendWhole(
  { response, isHead }: Visit,
  { name, file, fields }: Parts,
): Promise<void> {
  const type = contentTypeOf(name);
  response.writeHead(200, { ...fields, 'content-type': type, 'content-length': file.size });
  const whole = { head: '', range: { first: 0, last: file.size - 1 } };
  if (!isHead) await sendParts(file.handle, [whole], response);
  response.end();
}

async function sendRanges(
  { response }: Visit,
  ranges: readonly ByteRange[],
  { name, file, fields }: Parts,
): Promise<void> {
  const type = contentTypeOf(name);
  const [first] = ranges;
  if (first !== undefined && ranges.length === 1) {
    const range = { 'content-range': showRange(first, file.size) };
    const length = { 'content-length': lengthOf(first) };
    response.writeHead(206, { ...fields, 'content-type': type, ...range, ...length });
    await sendParts(file.handle, [{ head: '', range: first }], response);
    response.end();
    return;
  }
  const boundary = randomBytes(16).toString('hex');
  const heads = ranges.map(
    (range) =>
      `\r\n--${boundary}\r\nContent-Type: ${type}\r\n` +
      `Content-Range: ${showRange(range, file.size)}\r\n\r\n`,
  );
  const end = `\r\n--${boundary}--\r\n`;
  const bytes = ranges.reduce((sum, range) => sum + lengthOf(range), 0);
  response.writeHead(206, {
    ...fields,
    'content-type': `multipart/byteranges; boundary=${boundary}`,
    'content-length': bytes + heads.join('').length + end.length,
  });
  const each = ranges.map((range, at) => ({ head: heads[at] ?? '', range }));
  await sendParts(file.handle, each, response);
  response.end(end);
}
