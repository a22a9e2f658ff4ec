// Goal: whoever visits through a proxy is known by its own address, and nobody else can claim one.
// Method: node and client in this process; the test is the proxy, on loopback, listed or not.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { encodeProxyHeader } from '../../src/edge/proxy-writer.ts';
import { freePort } from '../support/free-port.ts';
import { type LocalNode, startLocalClient, startNode } from '../support/local-tunnel.ts';
import { connectTo, get, sendRaw, startHttp, startTcp } from '../support/upstream.ts';

const HOST = 'site.example.com';
const VISITOR = { address: '192.0.2.7', port: 50_123 };
const VISITOR6 = { address: '2001:db8::7', port: 50_123 };
const ARRIVED = { address: '203.0.113.5', port: 443 };
const ARRIVED6 = { address: '2001:db8::5', port: 443 };
const LOCAL = Buffer.from('0d0a0d0a000d0a515549540a20000000', 'hex');
const REQUEST = `GET / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`;

interface Place {
  readonly node: LocalNode;
  readonly tcpPort: number;
}

/** An exit node with an HTTP tunnel that answers with what it was told, and an echo that greets. */
async function startPlace(
  t: TestContext,
  flags: Readonly<Record<string, string>>,
  proxyProtocol = 'off',
): Promise<Place> {
  const site = await startHttp(t, ({ headers }, response) => {
    response.end(JSON.stringify([headers['x-real-ip'], headers['x-forwarded-for']]));
  });
  const echo = await startTcp(t, (socket) => {
    socket.write('hello ');
    socket.pipe(socket);
  });
  const tcpPort = await freePort();
  const node = await startNode(t, { flags });
  const upstream = `${HOST}=http://127.0.0.1:${site}`;
  const tcp = `${tcpPort}=127.0.0.1:${echo}`;
  await startLocalClient(t, node, { flags: { upstream, tcp, 'proxy-protocol': proxyProtocol } });
  return { node, tcpPort };
}

async function ask(port: number, header: Uint8Array): Promise<string> {
  return await sendRaw(port, Buffer.concat([header, Buffer.from(REQUEST)]));
}

/** What comes back until the other side has closed; `cut` for a reset. */
async function readAll(socket: Socket): Promise<string> {
  let text = '';
  let isCut = false;
  socket.on('data', (piece: Buffer) => {
    text += piece.toString('latin1');
  });
  socket.on('error', () => {
    isCut = true;
  });
  socket.on('end', () => socket.end());
  if (!socket.closed) await once(socket, 'close').catch(() => undefined);
  return isCut ? `${text}cut` : text;
}

/** Sends piece by piece, each in a write of its own, and gives what came until the end. */
async function talk(t: TestContext, port: number, pieces: readonly Uint8Array[]): Promise<string> {
  const socket = await connectTo(t, port);
  const all = readAll(socket);
  for (const piece of pieces) {
    socket.write(piece);
    await new Promise((resolve) => setImmediate(resolve));
  }
  socket.end();
  return await all;
}

const bytesOf = (text: string | Uint8Array): Uint8Array[] =>
  Array.from(Buffer.from(text), (byte) => Uint8Array.of(byte));

test('a listed proxy says who visits, in either version and byte by byte', async (t) => {
  const { node, tcpPort } = await startPlace(t, { 'accept-proxy-protocol': '127.0.0.1' }, 'v1');
  for (const version of ['v1', 'v2'] as const) {
    for (const [from, to] of [
      [VISITOR, ARRIVED],
      [VISITOR6, ARRIVED6],
    ] as const) {
      const header = encodeProxyHeader(version, from, to);
      const answer = await ask(node.httpPort, header);
      assert.ok(answer.includes(JSON.stringify([from.address, from.address])), answer);
      const family = from === VISITOR ? 'TCP4' : 'TCP6';
      const line = `PROXY ${family} ${from.address} ${to.address} 50123 443\r\n`;
      // The upstream is told the same, before the visitor's first byte.
      for (const pieces of [
        [header, Buffer.from('bye')],
        [...bytesOf(header), ...bytesOf('bye')],
      ]) {
        assert.equal(await talk(t, tcpPort, pieces), `hello ${line}bye`);
      }
      const joined = Buffer.concat([header, Buffer.from('bye')]);
      assert.equal(await talk(t, tcpPort, [joined]), `hello ${line}bye`);
    }
  }
  const slowly = [...bytesOf(encodeProxyHeader('v2', VISITOR, ARRIVED)), ...bytesOf(REQUEST)];
  assert.match(await talk(t, node.httpPort, slowly), /"192\.0\.2\.7","192\.0\.2\.7"/);
});

test('a listed proxy that speaks for itself is the visitor, and what is no header is cut', async (t) => {
  const { node, tcpPort } = await startPlace(t, { 'accept-proxy-protocol': '127.0.0.0/8' });
  for (const own of [LOCAL, Buffer.from('PROXY UNKNOWN\r\n')]) {
    assert.match(await ask(node.httpPort, own), /"127\.0\.0\.1","127\.0\.0\.1"/);
    assert.equal(await talk(t, tcpPort, [own, Buffer.from('bye')]), 'hello bye');
  }
  for (const port of [node.httpPort, tcpPort]) {
    assert.equal(await talk(t, port, [Buffer.from('G')]), 'cut', 'at the first byte');
    assert.equal(
      await talk(t, port, [Buffer.from('PROXY TCP4 1.1.1.1 1.1.1.1 1 70000\r\n')]),
      'cut',
    );
    assert.equal(await talk(t, port, [Buffer.from('PROXY TCP4 ')]), 'cut', 'a FIN too early');
  }
  // No second header is read: it is the visitor's, and malformed as a request.
  const header = encodeProxyHeader('v1', VISITOR, ARRIVED);
  const twice = Buffer.concat([header, encodeProxyHeader('v2', VISITOR6, ARRIVED6)]);
  assert.match(await ask(node.httpPort, twice), /^HTTP\/1\.1 400 /);
  assert.equal(
    (await talk(t, tcpPort, [twice])).length,
    'hello '.length + twice.length - header.length,
  );
  await node.untilMetric(
    'sluiceway_accept_errors_total{code="SLW_PROXY_HEADER"}',
    (count) => count === 6,
  );
});

test('silence of a listed proxy ends after 3 to 6 seconds, and nothing was dialled for it', async (t) => {
  const { tcpPort } = await startPlace(t, { 'accept-proxy-protocol': '127.0.0.1' });
  const socket = await connectTo(t, tcpPort);
  const start = performance.now();
  socket.write('PROXY TCP4');
  assert.equal(await readAll(socket), 'cut');
  const seconds = (performance.now() - start) / 1000;
  assert.ok(seconds > 3 && seconds < 6.5, `${seconds} s`);
});

test('nobody else can send a header, and nobody else is held up', async (t) => {
  const { node, tcpPort } = await startPlace(t, { 'accept-proxy-protocol': '192.0.2.0/24,::1' });
  const own = JSON.stringify(['127.0.0.1', '127.0.0.1']);
  assert.ok((await ask(node.httpPort, Buffer.alloc(0))).includes(own));
  // The upstream speaks first, and what cannot be a header comes back at once.
  assert.equal(await talk(t, tcpPort, [Buffer.from('bye')]), 'hello bye');
  assert.equal(await talk(t, tcpPort, bytesOf('PROXY\r\n')), 'hello PROXY\r\n');
  for (const version of ['v1', 'v2'] as const) {
    const header = encodeProxyHeader(version, VISITOR, ARRIVED);
    assert.match(await ask(node.httpPort, header), /^HTTP\/1\.1 400 /, version);
    for (const pieces of [[header], bytesOf(header)]) {
      const answer = await talk(t, tcpPort, pieces);
      assert.match(answer, /cut$/, version);
      assert.doesNotMatch(answer, /PROXY |QUIT/, 'the upstream saw no header');
    }
  }
});

test('without the option a header is bytes as any', async (t) => {
  const { node, tcpPort } = await startPlace(t, {});
  const header = encodeProxyHeader('v1', VISITOR, ARRIVED);
  assert.equal(await talk(t, tcpPort, [header]), `hello ${header.toString('latin1')}`);
  assert.match(await ask(node.httpPort, header), /^HTTP\/1\.1 400 /);
});

test('forwarding fields are believed from trusted proxies alone', async (t) => {
  const headers = { 'x-forwarded-for': '1.1.1.1, 192.0.2.7, 127.0.0.9' };
  const told = async (flags: Readonly<Record<string, string>>): Promise<unknown> => {
    const { node } = await startPlace(t, flags);
    const answer = await get(t, { port: node.httpPort, host: HOST, headers });
    return JSON.parse(answer.body);
  };
  const own = ['127.0.0.1', '127.0.0.1'];
  assert.deepEqual(await told({}), own);
  assert.deepEqual(await told({ 'trusted-proxies': '10.0.0.0/8,::1' }), own);
  assert.deepEqual(await told({ 'trusted-proxies': '127.0.0.0/8' }), [
    '192.0.2.7',
    '192.0.2.7, 127.0.0.9, 127.0.0.1',
  ]);
});

test('no visitor passes for its proxy by naming forwarding fields in Connection', async (t) => {
  const flags = { 'trusted-proxies': '127.0.0.1', 'allow-ips': '127.0.0.1' };
  const { node } = await startPlace(t, flags);
  // What HAProxy passes on of a visitor's own Connection, before the line that it adds.
  for (const named of ['', 'Connection: X-Forwarded-For\r\n']) {
    const fields = `\r\n${named}X-Forwarded-For: 192.0.2.7\r\n\r\n`;
    const request = Buffer.from(REQUEST.replace('\r\n\r\n', fields));
    const answer = await sendRaw(node.httpPort, request);
    assert.match(answer, /^HTTP\/1\.1 403 /, named);
  }
});

test('behind a PROXY header it is its address that must be trusted', async (t) => {
  const flags = {
    'accept-proxy-protocol': '127.0.0.1',
    'trusted-proxies': '192.0.2.0/24,127.0.0.1',
  };
  const { node } = await startPlace(t, flags);
  const request = REQUEST.replace('\r\n\r\n', '\r\nX-Forwarded-For: 198.51.100.9\r\n\r\n');
  const from = async (source: typeof VISITOR): Promise<string> => {
    const header = encodeProxyHeader('v2', source, ARRIVED6);
    return await sendRaw(node.httpPort, Buffer.concat([header, Buffer.from(request)]));
  };
  assert.match(await from(VISITOR), /"198\.51\.100\.9","198\.51\.100\.9, 192\.0\.2\.7"/);
  assert.match(await from(VISITOR6), /"2001:db8::7","2001:db8::7"/);
});

test('an upstream is told where its visitor arrived, over links and the mesh', async (t) => {
  for (const version of ['v1', 'v2'] as const) {
    const { tcpPort } = await startPlace(t, { shards: '3' }, version);
    for (let visitor = 0; visitor < 9; visitor += 1) {
      const socket = await connectTo(t, tcpPort);
      const from = { address: '127.0.0.1', port: socket.localPort ?? 0 };
      const to = { address: '127.0.0.1', port: tcpPort };
      const all = readAll(socket);
      socket.end('bye');
      const header = encodeProxyHeader(version, from, to).toString('latin1');
      assert.equal(await all, `hello ${header}bye`);
    }
  }
});
