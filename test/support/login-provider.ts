// A real OpenID Connect issuer on loopback, in which everybody logs in by any name: oidc-provider.
//
// Invariant: it is gone after the test, or before when it is told to be; who it knows is what a
// test says. Must not know: the exit node.

import http from 'node:http';
import type { TestContext } from 'node:test';
import { undoAfter } from './cleanup.ts';

/** The little of oidc-provider that is used; its types are a package of their own. */
type Provider = new (
  issuer: string,
  configuration: Readonly<Record<string, unknown>>,
) => { callback(): http.RequestListener };

interface ProviderContext {
  readonly oidc: {
    readonly client: { readonly clientId: string };
    readonly session: { readonly accountId: string };
    readonly provider: {
      readonly Grant: new (of: {
        clientId: string;
        accountId: string;
      }) => {
        addOIDCScope(scope: string): void;
        save(): Promise<string>;
      };
    };
  };
}

// As a variable, so that nobody looks for its types.
const PACKAGE: string = 'oidc-provider';

export const CLIENT_ID = 'sluiceway-test';
export const CLIENT_SECRET = 'secret-of-the-application-0123456789';

/** What the issuer says of an account, beyond `sub`. */
export type Accounts = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

export const ACCOUNTS: Accounts = {
  ann: { email: 'Ann@Example.com', email_verified: true, preferred_username: 'ann.b' },
  bob: { email: 'bob@other.example', email_verified: true },
  eve: { email: 'ann@example.com', email_verified: false, preferred_username: 'eve' },
  sub: { email: 'sub@mail.example.com', email_verified: true },
};

export class LoginProvider {
  readonly url: string;
  readonly #server: http.Server;
  #serve: http.RequestListener = (_request, response) => response.writeHead(503).end();
  /** Paths that were asked. */
  readonly asked: string[] = [];

  constructor(server: http.Server, port: number) {
    this.#server = server;
    this.url = `http://127.0.0.1:${port}`;
    server.on('request', (request, response) => {
      this.asked.push((request.url ?? '').split('?')[0] ?? '');
      this.#serve(request, response);
    });
  }

  /** From now on it serves an application with these ways back. */
  async open(redirectUris: readonly string[]): Promise<void> {
    const { default: Provider } = (await import(PACKAGE)) as { readonly default: Provider };
    const provider = new Provider(this.url, {
      clients: [
        {
          client_id: CLIENT_ID,
          client_secret: CLIENT_SECRET,
          redirect_uris: redirectUris,
          response_types: ['code'],
          grant_types: ['authorization_code'],
        },
      ],
      claims: {
        openid: ['sub'],
        email: ['email', 'email_verified'],
        profile: ['preferred_username'],
      },
      cookies: { keys: ['a-key-of-the-test'] },
      findAccount: (_context: unknown, id: string) => ({
        accountId: id,
        claims: () => ({ sub: id, ...ACCOUNTS[id] }),
      }),
      // Nobody is asked whether the application may know them.
      loadExistingGrant: async ({ oidc }: ProviderContext) => {
        const { clientId } = oidc.client;
        const grant = new oidc.provider.Grant({ clientId, accountId: oidc.session.accountId });
        grant.addOIDCScope('openid email profile');
        await grant.save();
        return grant;
      },
    });
    this.#serve = provider.callback();
  }

  /** Nobody answers any more. */
  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

/** An issuer that listens, and answers 503 until it is opened. */
export async function startLoginProvider(t: TestContext): Promise<LoginProvider> {
  const server = http.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('not a TCP server');
  const provider = new LoginProvider(server, address.port);
  undoAfter(t, () => provider.stop());
  return provider;
}
