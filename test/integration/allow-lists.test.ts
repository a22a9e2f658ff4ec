// Goal: who is not on a list gets no byte, and no way around it, whatever the protocol.
// Method: node and client in this process; the test visits from loopback, or as a proxy names it.

import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { type TestContext, test } from 'node:test';
import { encodeProxyHeader } from '../../src/edge/proxy-writer.ts';
import { hello, serverName } from '../edge/hello-bytes.ts';
import { freePort } from '../support/free-port.ts';
import { type LocalNode, startLocalClient, startNode } from '../support/local-tunnel.ts';
import { startHttp, startTcp } from '../support/upstream.ts';

const HOST = 'site.example.com';
const ELSEWHERE = '192.0.2.0/24';
const REQUEST = `GET / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`;
const ARRIVED = { address: '203.0.113.5', port: 443 };

async function startPlace(
  t: TestContext,
  flags: Readonly<Record<string, string>>,
  ofClient: Readonly<Record<string, string>> = {},
): Promise<{ node: LocalNode; tcpPort: number }> {
  const site = await startHttp(t, (_request, response) => {
    response.end('served');
  });
  const echo = await startTcp(t, (socket) => {
    socket.end('served');
  });
  const tcpPort = await freePort();
  const node = await startNode(t, { flags });
  const upstream = `${HOST}=http://127.0.0.1:${site}`;
  const tcp = `${tcpPort}=127.0.0.1:${echo}`;
  await startLocalClient(t, node, { flags: { upstream, tcp, ...ofClient } });
  return { node, tcpPort };
}

/** All that comes back for `bytes`, however the connection ends. */
async function visit(port: number, bytes: string | Uint8Array): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  let text = '';
  socket.on('data', (piece) => {
    text += piece.toString('latin1');
  });
  socket.on('error', () => {});
  socket.write(bytes);
  await new Promise((resolve) => socket.once('close', resolve));
  return text;
}

/** Behind PROXY headers: of each address, whether it is served, over HTTP and TCP. */
async function checkNamed(
  t: TestContext,
  flags: Readonly<Record<string, string>>,
  rows: readonly (readonly [address: string, isServed: boolean])[],
): Promise<void> {
  const { node, tcpPort } = await startPlace(t, { ...flags, 'accept-proxy-protocol': '127.0.0.1' });
  for (const [address, isServed] of rows) {
    const to = address.includes(':') ? { address: '2001:db8::5', port: 443 } : ARRIVED;
    const header = encodeProxyHeader('v2', { address, port: 50_123 }, to);
    const request = Buffer.concat([header, Buffer.from(REQUEST)]);
    assert.equal((await visit(node.httpPort, request)).includes('served'), isServed, address);
    assert.equal((await visit(tcpPort, header)).includes('served'), isServed, address);
  }
}

test('a visitor who is not on the list gets no byte over HTTP or TCP, and is counted', async (t) => {
  const { node, tcpPort } = await startPlace(t, { 'allow-ips': ELSEWHERE });
  assert.equal(await visit(node.httpPort, REQUEST), '');
  assert.equal(await visit(tcpPort, 'x'), '');
  assert.equal(await node.metric('sluiceway_denied_total{list="visitors"}'), 2);
});

test('a visitor who is on the list is served', async (t) => {
  const { node, tcpPort } = await startPlace(t, { 'allow-ips': `${ELSEWHERE},127.0.0.0/8` });
  assert.match(await visit(node.httpPort, REQUEST), /served/);
  assert.equal(await visit(tcpPort, 'x'), 'served');
  assert.equal(await node.metric('sluiceway_denied_total{list="visitors"}'), 0);
});

test('behind a PROXY header the list judges whom it names, IPv4 and IPv6 and mapped', async (t) => {
  await checkNamed(t, { 'allow-ips': '192.0.2.0/24,2001:db8::/32' }, [
    ['192.0.2.7', true],
    ['198.51.100.7', false],
    ['2001:db8::7', true],
    ['2001:db9::7', false],
    ['::ffff:192.0.2.7', true],
    ['::ffff:198.51.100.7', false],
  ]);
});

test('a request of a trusted proxy is judged by its visitor, and refused with 403', async (t) => {
  const { node, tcpPort } = await startPlace(t, {
    'allow-ips': ELSEWHERE,
    'trusted-proxies': '127.0.0.1',
  });
  const named = (address: string): string =>
    REQUEST.replace('Connection', `X-Forwarded-For: ${address}\r\nConnection`);
  assert.match(await visit(node.httpPort, named('192.0.2.7')), /served/);
  assert.match(await visit(node.httpPort, named('198.51.100.7')), /^HTTP\/1\.1 403 /);
  assert.match(await visit(node.httpPort, REQUEST), /^HTTP\/1\.1 403 /);
  assert.equal(await visit(tcpPort, 'x'), '', 'TCP has no field that names a visitor');
});

test('a denied visitor gets no byte over HTTP or TCP, and is counted; everybody else is served', async (t) => {
  const denying = await startPlace(t, { 'deny-ips': `${ELSEWHERE},::ffff:127.0.0.1` });
  assert.equal(await visit(denying.node.httpPort, REQUEST), '');
  assert.equal(await visit(denying.tcpPort, 'x'), '');
  assert.equal(await denying.node.metric('sluiceway_denied_total{list="visitors"}'), 2);
  const open = await startPlace(t, { 'deny-ips': ELSEWHERE });
  assert.match(await visit(open.node.httpPort, REQUEST), /served/);
  assert.equal(await visit(open.tcpPort, 'x'), 'served');
  assert.equal(await open.node.metric('sluiceway_denied_total{list="visitors"}'), 0);
});

test('who is on both lists is denied, and who is on none of them is not allowed', async (t) => {
  const lists = {
    'allow-ips': '192.0.2.0/24,2001:db8::/32',
    'deny-ips': '192.0.2.128/25,2001:db8:1::/48,203.0.113.0/24',
  };
  await checkNamed(t, lists, [
    ['192.0.2.7', true],
    ['192.0.2.200', false],
    ['::ffff:192.0.2.200', false],
    ['203.0.113.7', false],
    ['198.51.100.7', false],
    ['2001:db8::7', true],
    ['2001:db8:1::7', false],
  ]);
});

test('behind a trusted proxy a denied visitor gets 403, and the proxy itself is not judged', async (t) => {
  const { node, tcpPort } = await startPlace(t, {
    'deny-ips': `${ELSEWHERE},127.0.0.0/8`,
    'trusted-proxies': '127.0.0.1',
  });
  const named = (address: string): string =>
    REQUEST.replace('Connection', `X-Forwarded-For: ${address}\r\nConnection`);
  assert.match(await visit(node.httpPort, named('198.51.100.7')), /served/);
  assert.match(await visit(node.httpPort, named('192.0.2.7')), /^HTTP\/1\.1 403 /);
  assert.match(await visit(node.httpPort, named('::ffff:192.0.2.7')), /^HTTP\/1\.1 403 /);
  assert.match(await visit(node.httpPort, named('198.51.100.7, 192.0.2.7')), /^HTTP\/1\.1 403 /);
  assert.match(await visit(node.httpPort, REQUEST), /^HTTP\/1\.1 403 /, 'it names nobody');
  assert.equal(await visit(tcpPort, 'x'), '', 'TCP has no field that names a visitor');
});

test('before TLS a denied visitor is cut, whoever ends it', async (t) => {
  const node = await startNode(t, {
    flags: { 'https-addr': '127.0.0.1:0', 'deny-ips': '127.0.0.0/8' },
  });
  const port = await startTcp(t, (socket) => socket.end('served'));
  await startLocalClient(t, node, { flags: { 'tls-passthrough': `${HOST}=127.0.0.1:${port}` } });
  assert.equal(await visit(node.httpsPort, hello({ extensions: [serverName(HOST)] })), '');
  assert.equal(await node.metric('sluiceway_denied_total{list="visitors"}'), 1);
});

test('a client that is not on the list gets nothing, and balancers their health', async (t) => {
  const node = await startNode(t, { flags: { 'control-allow-ips': ELSEWHERE } });
  for (const path of ['/connect', '/status', '/metrics', '/.well-known/ca.crt', '/nothing']) {
    const request = `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`;
    assert.equal(await visit(node.controlPort, request), '', path);
    const upgrade = request.replace('close', 'upgrade\r\nUpgrade: websocket');
    assert.equal(await visit(node.controlPort, upgrade), '', path);
  }
  assert.equal(await visit(node.controlPort, 'nonsense\r\n\r\n'), '');
  for (const path of ['/healthz', '/readyz']) {
    const request = `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`;
    assert.match(await visit(node.controlPort, request), /^HTTP\/1\.1 200 /);
  }
});

test("a client's list keeps others from its tunnels: 403 over HTTP, no byte over TCP", async (t) => {
  const { node, tcpPort } = await startPlace(t, {}, { 'allow-ips': ELSEWHERE });
  assert.match(await visit(node.httpPort, REQUEST), /^HTTP\/1\.1 403 /);
  assert.equal(await visit(tcpPort, 'x'), '');
  assert.equal(await node.metric('sluiceway_denied_total{list="tunnels"}'), 2);
});

test('a list behind one upstream holds for that one, in place of the one for all', async (t) => {
  const echo = await startTcp(t, (socket) => {
    socket.end('served');
  });
  const [open, closed] = [await freePort(), await freePort()];
  const node = await startNode(t, {});
  const tcp = `${open}=127.0.0.1:${echo};allow-ips=127.0.0.1,${closed}=127.0.0.1:${echo}`;
  await startLocalClient(t, node, { flags: { tcp, 'allow-ips': ELSEWHERE } });
  assert.equal(await visit(open, 'x'), 'served');
  assert.equal(await visit(closed, 'x'), '');
});

test('behind a trusted proxy each request is judged by its own visitor', async (t) => {
  const { node } = await startPlace(
    t,
    { 'trusted-proxies': '127.0.0.1' },
    { 'allow-ips': ELSEWHERE },
  );
  const from = (address: string, then: string): string =>
    REQUEST.replace('close', then).replace('\r\n\r\n', `\r\nX-Forwarded-For: ${address}\r\n\r\n`);
  const both = from('192.0.2.9', 'keep-alive') + from('203.0.113.9', 'close');
  const answers = await visit(node.httpPort, both);
  assert.match(answers, /^HTTP\/1\.1 200 [\s\S]*served[\s\S]*HTTP\/1\.1 403 /);
});

test('a visitor has to be on the list of every client that has one', async (t) => {
  const { node } = await startPlace(t, {}, { 'allow-ips': '127.0.0.0/8' });
  assert.match(await visit(node.httpPort, REQUEST), /served/);
  const site = await startHttp(t, (_request, response) => response.end('served'));
  const upstream = `${HOST}=http://127.0.0.1:${site};allow-ips=${ELSEWHERE}`;
  await startLocalClient(t, node, { flags: { upstream } });
  for (let attempt = 0; attempt < 4; attempt += 1) {
    assert.match(await visit(node.httpPort, REQUEST), /^HTTP\/1\.1 403 /);
  }
});
