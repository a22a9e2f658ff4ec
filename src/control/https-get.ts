// One GET of a small document, from a server that is to be trusted with it.
//
// Invariant: a certificate is verified whatever the environment says; nobody is followed elsewhere;
// time and size are bounded, and a connection is not kept. Must not know: what is asked for.

import type { IncomingMessage } from 'node:http';
import { http, https } from '../base/http-modules.ts';

export interface GetLimits {
  readonly timeoutMs: number;
  readonly bytesMax: number;
}

export interface Got {
  readonly status: number;
  readonly body: Buffer;
}

/** Rejects when there is no whole answer within the limits. */
export function getDocument(url: string, { timeoutMs, bytesMax }: GetLimits): Promise<Got> {
  return new Promise((resolve, reject) => {
    const options = {
      agent: false,
      signal: AbortSignal.timeout(timeoutMs),
      headers: { accept: 'application/json', connection: 'close' },
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
        resolve({ status: answer.statusCode ?? 0, body: Buffer.concat(pieces) });
      });
    };
    const request =
      new URL(url).protocol === 'https:'
        ? https.get(url, { ...options, rejectUnauthorized: true }, onAnswer)
        : http.get(url, options, onAnswer);
    request.on('error', reject);
  });
}
