// Azure's access tokens for an application: its secret is exchanged for one (OAuth 2, 4.4).
//
// Invariant: the secret is sent to the login alone. Must not know: what a token is used for.

import { withAccessToken } from './access-token.ts';
import type { ProviderOptions } from './provider.ts';
import type { RestOptions } from './rest.ts';

const LOGIN = 'https://login.microsoftonline.com';
const SCOPE = 'https://management.azure.com/.default';

export function createAzureSigner(options: ProviderOptions): RestOptions['sign'] {
  const {
    AZURE_TENANT_ID: tenant = '',
    AZURE_CLIENT_ID: id = '',
    AZURE_CLIENT_SECRET: secret = '',
  } = options.credentials;
  return withAccessToken({
    provider: 'Azure',
    origin: options.endpoint ?? LOGIN,
    sleep: options.sleep,
    path: `/${encodeURIComponent(tenant)}/oauth2/v2.0/token`,
    form: () => ({
      grant_type: 'client_credentials',
      client_id: id,
      client_secret: secret,
      scope: SCOPE,
    }),
  });
}
