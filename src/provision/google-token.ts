// Google's access tokens for a service account: a JWT of its key is exchanged for one (RFC 7523).
//
// Invariant: the key signs and is sent nowhere. Must not know: what a token is used for.

import { createPrivateKey, sign } from 'node:crypto';
import { z } from 'zod';
import { ConfigError } from '../base/errors.ts';
import { withAccessToken } from './access-token.ts';
import type { ProviderOptions } from './provider.ts';
import type { RestOptions } from './rest.ts';

const TOKEN_URL = 'https://oauth2.googleapis.com';
const TOKEN_PATH = '/token';
const SCOPE = 'https://www.googleapis.com/auth/compute';
const GRANT = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const LIFE_SECONDS = 3600;

const account = z.object({
  project_id: z.string(),
  client_email: z.string(),
  private_key: z.string(),
});
export type ServiceAccount = z.infer<typeof account>;

/** The text of a key file; a ConfigError for anything else. */
export function readServiceAccount(text: string): ServiceAccount {
  try {
    const read = account.parse(JSON.parse(text));
    createPrivateKey(read.private_key);
    return read;
  } catch {
    const right = 'give the JSON file of a key of a service account';
    throw new ConfigError([`GOOGLE_APPLICATION_CREDENTIALS: is no key of Google's; ${right}`]);
  }
}

export function createGoogleSigner(
  key: ServiceAccount,
  options: Pick<ProviderOptions, 'endpoint' | 'sleep'>,
): RestOptions['sign'] {
  return withAccessToken({
    provider: 'Google',
    origin: options.endpoint ?? TOKEN_URL,
    sleep: options.sleep,
    path: TOKEN_PATH,
    form: (nowSeconds) => ({ grant_type: GRANT, assertion: assertionOf(key, nowSeconds) }),
  });
}

function assertionOf(key: ServiceAccount, nowSeconds: number): string {
  const claims = {
    iss: key.client_email,
    scope: SCOPE,
    aud: `${TOKEN_URL}${TOKEN_PATH}`,
    iat: nowSeconds,
    exp: nowSeconds + LIFE_SECONDS,
  };
  const body = [{ alg: 'RS256', typ: 'JWT' }, claims]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.');
  const signature = sign('sha256', Buffer.from(body), key.private_key);
  return `${body}.${signature.toString('base64url')}`;
}
