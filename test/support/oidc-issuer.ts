// An issuer of JWTs on loopback: discovery, keys that can be changed, and whatever a test wants to
// sign, rightly or wrongly.
//
// Must not know: the exit node.

import http from 'node:http';
import type { TestContext } from 'node:test';
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose';
import { systemClock } from '../../src/base/clock.ts';
import { undoAfter } from './cleanup.ts';

export const AUDIENCE = 'sluiceway-test';

type PrivateKey = Awaited<ReturnType<typeof generateKeyPair>>['privateKey'];

interface Key {
  readonly kid: string;
  readonly alg: string;
  readonly privateKey: PrivateKey;
  readonly jwk: object;
}

export interface Wrong {
  readonly payload?: JWTPayload;
  readonly key?: Key;
  readonly kid?: string;
}

export class TestIssuer {
  url = '';
  /** In place of what the document says. */
  document: Record<string, unknown> = {};
  /** What is answered in place of the keys or the document: a status. */
  failing = 0;
  failingPart: 'both' | 'keys' | 'document' = 'both';
  keysAsked = 0;
  documentsAsked = 0;
  key: Key;
  readonly published: Key[];

  constructor(key: Key) {
    this.key = key;
    this.published = [key];
  }

  async rotate(alg = 'ES256'): Promise<Key> {
    this.key = await createKey(`key-${this.published.length + 1}-${alg}`, alg);
    this.published.push(this.key);
    return this.key;
  }

  /** A JWT for the audience that lives for five minutes, unless it is to be wrong. */
  sign({ payload = {}, key = this.key, kid = key.kid }: Wrong = {}): Promise<string> {
    const now = Math.floor(systemClock.wallMs() / 1000);
    const claims = { iss: this.url, aud: AUDIENCE, sub: 'repo:acme/app:ref:main', ...payload };
    return new SignJWT({ iat: now, exp: now + 300, ...claims })
      .setProtectedHeader({ alg: key.alg, kid })
      .sign(key.privateKey);
  }

  answer(path: string): { status: number; body: string } {
    if (path === '/keys') this.keysAsked += 1;
    else this.documentsAsked += 1;
    const part = path === '/keys' ? 'keys' : 'document';
    const fails = this.failingPart === 'both' || this.failingPart === part;
    if (this.failing !== 0 && fails) return { status: this.failing, body: 'no' };
    if (path === '/keys') return json({ keys: this.published.map(({ jwk }) => jwk) });
    if (path !== '/.well-known/openid-configuration') return { status: 404, body: '' };
    return json({ issuer: this.url, jwks_uri: `${this.url}/keys`, ...this.document });
  }
}

export async function createKey(kid: string, alg: string): Promise<Key> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  return { kid, alg, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' } };
}

/** An issuer with a key, gone after the test. */
export async function startIssuer(t: TestContext): Promise<TestIssuer> {
  const issuer = new TestIssuer(await createKey('key-0', 'ES256'));
  const server = http.createServer((request, response) => {
    const { status, body } = issuer.answer(request.url ?? '');
    response.writeHead(status, { 'content-type': 'application/json' }).end(body);
  });
  undoAfter(t, () => {
    server.closeAllConnections();
    server.close();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('not a TCP server');
  issuer.url = `http://127.0.0.1:${address.port}`;
  return issuer;
}

function json(value: unknown): { status: number; body: string } {
  return { status: 200, body: JSON.stringify(value) };
}
