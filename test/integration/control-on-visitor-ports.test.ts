// Goal: who comes by the ports of visitors and says that it is a client, without becoming one, has
// one answer and no more, and counts as a visitor until then. Method: raw bytes without a token.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { undoAfter } from '../support/cleanup.ts';
import { within } from '../support/deadline.ts';
import { type NodeOptions, startNode } from '../support/local-tunnel.ts';
import { scratchFolder } from '../support/programs.ts';
import { PAIR_A } from '../support/test-pairs.ts';

const WAIT_MS = 10_000;
const HOST = 'a.test';

const HEAD = [
  'GET /connect HTTP/1.1',
  `Host: ${HOST}`,
  'Sec-WebSocket-Protocol: sluiceway.1',
  '',
  '',
].join('\r\n');

type Scheme = 'http' | 'https';

function optionsOf(t: TestContext, scheme: Scheme): NodeOptions {
  if (scheme === 'http') return { flags: { 'control-on-http': true } };
  const folder = scratchFolder(t);
  const [cert, key] = [path.join(folder, 'cert.pem'), path.join(folder, 'key.pem')];
  writeFileSync(cert, PAIR_A.cert);
  writeFileSync(key, PAIR_A.key, { mode: 0o600 });
  const addr = { host: '127.0.0.1', port: 0 };
  const certificates = [{ name: HOST, cert, key }];
  const https = { addr, certificates, redirect: false, hstsMaxAgeSeconds: 0 };
  return { config: { linkSchemes: ['https'], https } };
}

async function connect(t: TestContext, scheme: Scheme, port: number): Promise<net.Socket> {
  const isPlain = scheme === 'http';
  const trust = { ca: PAIR_A.cert, servername: HOST };
  const socket = isPlain ? net.connect(port, '127.0.0.1') : tls.connect({ port, ...trust });
  socket.on('error', () => {
    // A reset is a way of closing.
  });
  undoAfter(t, () => {
    socket.destroy();
  });
  await within(WAIT_MS, 'a connection', once(socket, isPlain ? 'connect' : 'secureConnect'));
  return socket;
}

for (const scheme of ['http', 'https'] as const) {
  test(`a request of a link that is no upgrade ends its connection on the ${scheme} port`, async (t) => {
    const node = await startNode(t, optionsOf(t, scheme));
    const port = scheme === 'http' ? node.httpPort : node.httpsPort;
    const socket = await connect(t, scheme, port);
    const pieces: Buffer[] = [];
    socket.on('data', (piece: Buffer) => pieces.push(piece));
    const closed = once(socket, 'close');
    // The second is not answered; its head, which never ends, would hold the connection.
    socket.write(`${HEAD}GET /connect HTTP/1.1\r\n`);
    await within(WAIT_MS, 'the end of the connection', closed);
    const got = Buffer.concat(pieces).toString('latin1');
    assert.match(got, /^HTTP\/1\.1 426 /u);
    assert.match(got, /^connection: upgrade, close\r$/imu);
    assert.equal(got.match(/HTTP\/1\.1/gu)?.length, 1);
  });
}
