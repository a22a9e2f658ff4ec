// Access tokens of OAuth 2 that are had for a secret or a key, and end.
//
// Invariant: one is asked for once and used until a minute before its end; two requests at a time
// share it. Must not know: whose token it is, or what is shown for it.

import { z } from 'zod';
import { systemClock } from '../base/clock.ts';
import { Rest, type RestOptions, wordsAt } from './rest.ts';

const EARLY_SECONDS = 60;

export interface TokenSource extends Pick<RestOptions, 'provider' | 'origin' | 'sleep'> {
  readonly path: string;
  /** What is sent for a token, at this time. */
  readonly form: (nowSeconds: number) => Readonly<Record<string, string>>;
}

const answer = z.object({ access_token: z.string(), expires_in: z.number() });

/** Signs by such a token. */
export function withAccessToken(source: TokenSource): RestOptions['sign'] {
  const { provider, origin, sleep, path, form } = source;
  const words = wordsAt('error_description');
  const rest = new Rest({ provider, origin, sleep, sign: (request) => request, words });
  const renew = async (nowSeconds: number): Promise<string> => {
    const got = await rest.ask('POST', path, {
      text: new URLSearchParams(form(nowSeconds)).toString(),
      contentType: 'application/x-www-form-urlencoded',
      answer,
    });
    endSeconds = nowSeconds + got.expires_in - EARLY_SECONDS;
    return got.access_token;
  };
  let token: Promise<string> | undefined;
  let endSeconds = Number.POSITIVE_INFINITY;
  return async (request) => {
    const nowSeconds = Math.floor(systemClock.wallMs() / 1000);
    if (token === undefined || nowSeconds >= endSeconds) {
      endSeconds = Number.POSITIVE_INFINITY;
      token = renew(nowSeconds);
      token.catch(() => {
        // Whoever waits for it is told; the next one asks again.
        token = undefined;
      });
    }
    const authorization = `Bearer ${await token}`;
    return { ...request, headers: { ...request.headers, authorization } };
  };
}
