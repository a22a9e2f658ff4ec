// Requests to a provider's API, and what comes of them: an answer of the form that was asked for,
// or the provider's own words.
//
// Invariant: time and size are bounded and nobody is followed elsewhere; only what changes nothing
// is asked again; no credential is part of an error. Must not know: which provider.

import { z } from 'zod';
import { SluicewayError } from '../base/errors.ts';
import { CloudRefusal, type ProviderOptions, textOf, Unheard } from './provider.ts';

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

export interface Outgoing {
  readonly method: Method;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Empty for none. */
  readonly body: string;
}

export interface RestOptions {
  readonly provider: string;
  /** Without a slash at its end. */
  readonly origin: string;
  readonly sleep: ProviderOptions['sleep'];
  /** Adds what proves who asks. */
  readonly sign: (request: Outgoing) => Outgoing | Promise<Outgoing>;
  /** The provider's words in the body of a refusal. */
  readonly words: (body: string) => string | undefined;
  /** Was it refused for asking too often? Nothing was done then, whatever was asked. */
  readonly isThrottled?: (status: number, body: string) => boolean;
}

export interface Question<T> {
  readonly json?: unknown;
  readonly text?: string;
  readonly contentType?: string;
  /** Left out: what is answered does not matter. */
  readonly answer?: z.ZodType<T>;
  /** May be asked again, whatever came of it; a GET when left out. */
  readonly changesNothing?: boolean;
}

const TIMEOUT_MS = 30_000;
/** A list of a thousand machines takes less. Guess. */
const ANSWER_BYTES_MAX = 16 * 1024 * 1024;
const TRIES_MAX = 4;
const AGAIN_AFTER_MS = 1000;
const TOO_MANY_REQUESTS = 429;

export class Rest {
  readonly #options: RestOptions;

  constructor(options: RestOptions) {
    this.#options = options;
  }

  /** Rejects with a CloudRefusal, or SLW_CLOUD_UNREACHABLE. */
  async ask<T = undefined>(method: Method, path: string, question: Question<T> = {}): Promise<T> {
    const text = await this.askText(method, path, question);
    if (question.answer === undefined) return undefined as T;
    const { provider } = this.#options;
    let json: unknown;
    try {
      json = JSON.parse(text);
    } catch {
      throw new CloudRefusal(provider, 0, `its answer to ${method} ${path} is no JSON`);
    }
    const read = question.answer.safeParse(json);
    if (read.success) return read.data;
    const [issue] = read.error.issues;
    const where = issue?.path.join('.') ?? '';
    throw new CloudRefusal(provider, 0, `its answer to ${method} ${path} lacks ${where}`);
  }

  /** The body of an answer as it came. */
  async askText(method: Method, path: string, question: Question<unknown> = {}): Promise<string> {
    const { json, text, contentType = 'application/json' } = question;
    const body = text ?? (json === undefined ? '' : JSON.stringify(json));
    const url = `${this.#options.origin}${path}`;
    const headers = body === '' ? {} : { 'content-type': contentType };
    const { changesNothing = method === 'GET' } = question;
    for (let tries = 1; ; tries += 1) {
      const signed = await this.#options.sign({ method, url, headers, body });
      const isLast = tries >= TRIES_MAX;
      const done = await this.#send(signed, { changesNothing, isLast });
      if (done !== undefined) return done;
      await this.#options.sleep(AGAIN_AFTER_MS * 2 ** tries);
    }
  }

  /** Undefined: to be asked again. */
  async #send(
    request: Outgoing,
    { changesNothing, isLast }: { readonly changesNothing: boolean; readonly isLast: boolean },
  ): Promise<string | undefined> {
    const { provider, words, isThrottled } = this.#options;
    let status: number;
    let body: string;
    try {
      const answer = await fetch(request.url, {
        method: request.method,
        headers: request.headers,
        ...(request.body === '' ? {} : { body: request.body }),
        redirect: 'error',
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      status = answer.status;
      body = await readBounded(answer);
    } catch (error) {
      if (changesNothing && !isLast) return undefined;
      throw unreachable(provider, request.url, error);
    }
    if (status >= 200 && status < 300) return body;
    const isTooOften = status === TOO_MANY_REQUESTS || isThrottled?.(status, body) === true;
    if ((isTooOften || (status >= 500 && changesNothing)) && !isLast) return undefined;
    const answered = isTooOften ? TOO_MANY_REQUESTS : status;
    throw new CloudRefusal(provider, answered, saidWords(words, body) ?? `status ${status}`);
  }
}

/** For a provider's API, or the endpoint that stands in for it. */
export function restOf(
  { endpoint, sleep }: ProviderOptions,
  own: Omit<RestOptions, 'sleep'>,
): Rest {
  return new Rest({ ...own, sleep, origin: endpoint ?? own.origin });
}

function saidWords(words: RestOptions['words'], body: string): string | undefined {
  try {
    const said = words(body);
    return said === '' ? undefined : said;
  } catch {
    // Not in its own form, such as the page of a proxy: the status says it all.
    return undefined;
  }
}

function unreachable(provider: string, url: string, error: unknown): SluicewayError {
  const { host } = new URL(url);
  // What fetch says is in its cause.
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  return new SluicewayError('SLW_CLOUD_UNREACHABLE', `${provider}: ${host}: ${textOf(cause)}`, {
    cause: error,
  });
}

async function readBounded(answer: Response): Promise<string> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of answer.body ?? []) {
    bytes += piece.length;
    if (bytes > ANSWER_BYTES_MAX) throw new Error('the answer is too large');
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
}

/** The text at a path of keys in a JSON body. */
export function wordsAt(...path: readonly (string | number)[]): (body: string) => string {
  return (body) => {
    let value: unknown = JSON.parse(body);
    for (const key of path) value = (value as Record<string | number, unknown>)[key];
    return z.string().parse(value);
  };
}

/** Signs by a token in a field. */
export function withToken(field: string, value: string): RestOptions['sign'] {
  return (request) => ({ ...request, headers: { ...request.headers, [field]: value } });
}

/**
 * For what makes a machine, or what it goes with: no answer, one that cannot be read, and a fault
 * of the provider's own or of a proxy before it leave open whether it was made.
 */
export async function orUnheard<T>(making: Promise<T>): Promise<T> {
  try {
    return await making;
  } catch (error) {
    throw error instanceof CloudRefusal && isRefused(error.answered) ? error : new Unheard(error);
  }
}

function isRefused(status: number): boolean {
  return status >= 400 && status < 500;
}

/** 404 is what was wished for. */
export async function unlessGone(doing: Promise<unknown>): Promise<void> {
  await orUndefined(doing);
}

/** What there is, and undefined for a 404. */
export async function orUndefined<T>(asking: Promise<T>): Promise<T | undefined> {
  try {
    return await asking;
  } catch (error) {
    if (error instanceof CloudRefusal && error.answered === 404) return undefined;
    throw error;
  }
}
