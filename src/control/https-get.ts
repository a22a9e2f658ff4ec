// One request for a small document, to a server that is to be trusted with it.
//
// Invariant: a certificate is verified whatever the environment says; nobody is followed elsewhere;
// time and size are bounded, and a connection is not kept. Must not know: what is asked for.

import type { IncomingMessage } from 'node:http';
import { attemptsWithin } from '../base/dial-attempts.ts';
import { http, https } from '../base/http-modules.ts';

export interface GetLimits {
  readonly timeoutMs: number;
  readonly bytesMax: number;
}

export interface Got {
  readonly status: number;
  /** '' when it is not said. */
  readonly contentType: string;
  readonly body: Buffer;
}

/** What else than a GET of JSON. */
export interface Asked {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** Rejects when there is no whole answer within the limits. */
export function getDocument(
  url: string,
  { timeoutMs, bytesMax }: GetLimits,
  { method = 'GET', headers = {}, body = '' }: Asked = {},
): Promise<Got> {
  return new Promise((resolve, reject) => {
    const options = {
      ...{ agent: false, method, signal: AbortSignal.timeout(timeoutMs) },
      ...attemptsWithin(timeoutMs),
      headers: { accept: 'application/json', ...headers, connection: 'close' },
    };
    const onAnswer = (answer: IncomingMessage): void => {
      const pieces: Buffer[] = [];
      let bytes = 0;
      answer.on('error', reject);
      answer.on('data', (piece: Buffer) => {
        bytes += piece.length;
        pieces.push(piece);
        if (bytes <= bytesMax) return;
        // First: with all of it read already, the end would be told all the same.
        reject(new Error(`more than ${bytesMax} bytes came`));
        request.destroy();
      });
      answer.on('end', () => {
        const contentType = answer.headers['content-type'] ?? '';
        resolve({ status: answer.statusCode ?? 0, contentType, body: Buffer.concat(pieces) });
      });
    };
    const request =
      new URL(url).protocol === 'https:'
        ? https.request(url, { ...options, rejectUnauthorized: true }, onAnswer)
        : http.request(url, options, onAnswer);
    request.on('error', reject);
    request.end(body);
  });
}
