// Goal: a server that drains orders no certificates, as the port by which it would prove a host is
// another's by then. Method: an issuer that fails and asks to be tried again while the server
// drains.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { test } from 'node:test';
import { undoAfter } from '../support/cleanup.ts';
import { leafOf, newAuthority } from '../support/private-pki.ts';
import { scratchFolder } from '../support/programs.ts';
import { startServer } from '../support/tunnel.ts';

/** Tried again once, in 5 or 6 s, were it not for the drain. */
const AGAIN_SECONDS = 5;
const DRAIN_DELAY = '8s';

test('a server that drains orders nothing', async (t) => {
  const dir = scratchFolder(t);
  const authority = await newAuthority();
  const { cert, key } = await leafOf(authority, { names: ['127.0.0.1'] });
  let asked = 0;
  const issuer = createServer({ cert, key }, (_request, response) => {
    asked += 1;
    response.writeHead(500, { 'retry-after': String(AGAIN_SECONDS) }).end();
  }).listen(0, '127.0.0.1');
  await once(issuer, 'listening');
  undoAfter(t, () => {
    issuer.closeAllConnections();
    issuer.close();
  });
  const caFile = path.join(dir, 'ca.pem');
  writeFileSync(caFile, authority.cert);
  const directory = `https://127.0.0.1:${(issuer.address() as AddressInfo).port}/dir`;
  const server = await startServer(t, {
    drainDelay: DRAIN_DELAY,
    args: [
      ...['--https-addr', '127.0.0.1:0', '--letsencrypt-domain', 'www.example.com'],
      ...['--letsencrypt-issuer', directory, '--letsencrypt-ca-file', caFile],
      ...['--letsencrypt-dir', path.join(dir, 'certificates')],
    ],
  });
  await server.process.line('the failure', (line) => line.includes('"msg":"no certificate"'));
  const before = asked;
  assert.ok(before > 0);
  assert.equal((await server.process.stop('SIGTERM')).code, 0);
  assert.equal(asked, before);
});
