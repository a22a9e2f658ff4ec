// Goal: a document is had only from whom its certificate names, whatever the environment says, and
// within bounds. Method: servers on loopback that behave badly.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import { type TestContext, test } from 'node:test';
import { getDocument } from '../../src/control/https-get.ts';
import { undoAfter } from '../support/cleanup.ts';
import { PAIR_A } from '../support/test-pairs.ts';

const LIMITS = { timeoutMs: 300, bytesMax: 1000 };

async function listen(t: TestContext, server: http.Server | https.Server): Promise<number> {
  undoAfter(t, () => {
    server.closeAllConnections();
    server.close();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('not a TCP server');
  return address.port;
}

test('a certificate that nobody vouches for is refused, whatever the environment says', async (t) => {
  const port = await listen(
    t,
    https.createServer({ ...PAIR_A }, (_request, response) => response.end('{}')),
  );
  const before = process.env.NODE_TLS_REJECT_UNAUTHORIZED;
  undoAfter(t, () => {
    if (before === undefined) delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    else process.env.NODE_TLS_REJECT_UNAUTHORIZED = before;
  });
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
  await assert.rejects(getDocument(`https://127.0.0.1:${port}/`, LIMITS), /self-signed|altname/i);
});

test('what is too long, too late, or elsewhere is not had', async (t) => {
  const port = await listen(
    t,
    http.createServer((request, response) => {
      if (request.url === '/long') response.end('x'.repeat(1001));
      else if (request.url === '/away') response.writeHead(302, { location: '/good' }).end();
      else if (request.url === '/good') response.end('good');
      else response.write('never whole');
    }),
  );
  const get = (path: string) => getDocument(`http://127.0.0.1:${port}${path}`, LIMITS);
  assert.deepEqual(await get('/good'), { status: 200, contentType: '', body: Buffer.from('good') });
  assert.equal((await get('/away')).status, 302);
  await assert.rejects(get('/long'), /more than 1000 bytes/);
  await assert.rejects(get('/late'));
});
