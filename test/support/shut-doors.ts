// Ways in that must be shut: what each protective option is tried with, and what has to come back.
//
// Invariant: an attempt ends with its connection, and says what it saw. Must not know: which option
// is tried, or how it was given.

import assert from 'node:assert/strict';
import { connect } from 'node:net';
import type { TestContext } from 'node:test';
import { type Flags, LOOPBACK } from './configs.ts';
import { type LocalNode, startLocalClient } from './local-tunnel.ts';
import { clientOf } from './option-channels.ts';
import { startHttp } from './upstream.ts';

export const SECRET = 'secret-of-this-test-0123456789';
export const HOST = 'site.example.com';

/** All that comes back for `text`, however the connection ends. */
export async function exchange(port: number, text: string): Promise<string> {
  const socket = connect(port, LOOPBACK);
  let got = '';
  socket.on('data', (piece) => {
    got += piece.toString('latin1');
  });
  socket.on('error', () => {});
  socket.write(text);
  await new Promise((resolve) => socket.once('close', resolve));
  return got;
}

export const requestFor = (target: string, ...fields: readonly string[]): string =>
  [`GET ${target} HTTP/1.1`, `Host: ${HOST}`, 'Connection: close', ...fields, '', ''].join('\r\n');

export async function statusWith(node: LocalNode, token: string, query = ''): Promise<number> {
  const answer = await exchange(
    node.controlPort,
    requestFor(`/status${query}`, ...(token === '' ? [] : [`Authorization: Bearer ${token}`])),
  );
  return Number(/^HTTP\/1\.1 (\d{3})/u.exec(answer)?.[1] ?? 0);
}

/** Only the whole secret opens. */
export async function opensForSecretAlone(_t: TestContext, node: LocalNode): Promise<void> {
  assert.equal(await statusWith(node, SECRET), 200);
  const wrong = ['', `${SECRET}x`, SECRET.slice(0, -1), SECRET.toUpperCase(), 'x'.repeat(4096)];
  for (const token of wrong) assert.equal(await statusWith(node, token), 401, token.slice(0, 40));
  assert.equal(await statusWith(node, '', `?token=${SECRET}`), 401);
  // Longer than a head may be: refused before anybody looks at it.
  const huge = await statusWith(node, 'x'.repeat(1024 * 1024));
  assert.ok(huge === 431 || huge === 0, String(huge));
}

/** Nobody is there: what it has not signed, or cannot be asked about, opens nothing. */
export const ISSUER = 'http://127.0.0.1:1';
export const RULES = 'oidc:\n  - name: one\n    hosts: ["*"]\n    claims: {sub: someone}\n';

export async function opensForNoJwt(_t: TestContext, node: LocalNode): Promise<void> {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const claims = part({ iss: ISSUER, aud: HOST, sub: 'someone', exp: 4_000_000_000 });
  for (const token of ['', `${part({ alg: 'none' })}.${claims}.AA`, 'a.b.c']) {
    assert.equal(await statusWith(node, token), 401, token);
    const answer = await exchange(
      node.controlPort,
      requestFor('/connect', `Authorization: Bearer ${token}`, 'Sec-WebSocket-Version: 13').replace(
        'Connection: close',
        'Connection: Upgrade\r\nUpgrade: websocket',
      ),
    );
    assert.match(answer, /^HTTP\/1\.1 (401|503) /u, token);
  }
}

export async function serve(t: TestContext, node: LocalNode, more: Flags = {}): Promise<void> {
  const site = await startHttp(t, (request, response) => {
    request.resume();
    request.on('end', () => response.end(`seen ${String(request.headers['x-forwarded-for'])}`));
  });
  const upstream = `${HOST}=http://127.0.0.1:${site}`;
  const config = clientOf({
    ...{ option: 'upstream', value: upstream, channel: 'flag', env: { SLUICEWAY_TOKEN: SECRET } },
    flags: { url: `ws://${LOOPBACK}:${node.controlPort}`, ...more },
  });
  await startLocalClient(t, node, { flags: { upstream }, config });
}

/** Cookies that nobody has sealed, and claims of who one is, open nothing. */
export async function opensForNoSession(node: LocalNode, browserStatus: number): Promise<void> {
  const payload = Buffer.from(JSON.stringify([HOST, HOST, 'x', 'root', 'root', '', 9e9]));
  const sealed = `1.x.${payload.toString('base64url')}.${'A'.repeat(43)}`;
  for (const field of [
    ...['X-Auth-Request-User: root', 'X-Auth-Request-Email: root@example.com'],
    ...['Authorization: Bearer root', 'Authorization: Basic cm9vdDpyb290', `Cookie: x=${sealed}`],
    ...['slw-login', 'slw-login-00000000', '__Host-slw-login'].map(
      (it) => `Cookie: ${it}=${sealed}`,
    ),
  ]) {
    assert.match(await exchange(node.httpPort, requestFor('/', field)), /^HTTP\/1\.1 401 /u, field);
    const asBrowser = await exchange(node.httpPort, requestFor('/', field, 'Accept: text/html'));
    assert.equal(Number(asBrowser.slice(9, 12)), browserStatus, field);
  }
  const upgrade = requestFor('/', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13');
  const answer = await exchange(node.httpPort, upgrade.replace('close', 'Upgrade'));
  assert.match(answer, /^HTTP\/1\.1 40[01] /u);
}
