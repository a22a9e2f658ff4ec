// Goal: TLS reaches the upstream of its server name end to end, and whoever has no such name gets
// what it should. Method: node and client in this process, real TLS servers behind them, each with
// a certificate of its own authority, which the visitors verify.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import type { Server, Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { connect, createServer, type TLSSocket, type TlsOptions } from 'node:tls';
import { encodeProxyHeader } from '../../src/edge/proxy-writer.ts';
import { CAPTURED_HELLOS } from '../edge/captured-hellos.ts';
import { hello, serverName } from '../edge/hello-bytes.ts';
import { undoAfter } from '../support/cleanup.ts';
import { within } from '../support/deadline.ts';
import { seededNoise, sha256 } from '../support/digest.ts';
import { type LocalNode, startLocalClient, startNode } from '../support/local-tunnel.ts';
import { connectTo, get, sendRaw, startEcho, startHttp, startTcp } from '../support/upstream.ts';
import { UPSTREAM_A, UPSTREAM_B, type UpstreamPair } from '../support/upstream-pairs.ts';

const LOOPBACK = '127.0.0.1';
const WAIT_MS = 15_000;
const HTTPS = { 'https-addr': `${LOOPBACK}:0` };
const UNRECOGNIZED = Buffer.from([21, 3, 1, 0, 2, 2, 112]).toString('latin1');

async function listen(t: TestContext, server: Server): Promise<number> {
  undoAfter(t, () => {
    server.close();
  });
  server.listen(0, LOOPBACK);
  await once(server, 'listening');
  return (server.address() as { port: number }).port;
}

/** A TLS server that says who it is and to whom it speaks, and then echoes. */
async function startTls(
  t: TestContext,
  pair: UpstreamPair,
  more: TlsOptions = {},
): Promise<number> {
  const server = createServer({ cert: pair.cert, key: pair.key, allowHalfOpen: true, ...more });
  server.on('secureConnection', (socket: TLSSocket & { servername?: string }) => {
    socket.on('error', () => {
      // The test looks at its own end.
    });
    socket.write(`${pair.name} ${socket.servername} `);
    socket.pipe(socket);
  });
  return await listen(t, server);
}

interface Visit {
  readonly port: number;
  readonly pair: UpstreamPair;
  readonly name?: string;
  readonly socket?: Socket;
}

/** A visitor whose handshake is done and whose certificate was verified. */
async function visit(t: TestContext, { port, pair, name, socket }: Visit): Promise<TLSSocket> {
  const where = socket === undefined ? { port, host: LOOPBACK } : { socket };
  const visitor = connect({ ...where, ca: pair.cert, servername: name ?? pair.name });
  undoAfter(t, () => {
    visitor.destroy();
  });
  await within(WAIT_MS, 'a handshake', once(visitor, 'secureConnect'));
  assert.equal(visitor.authorized, true);
  return visitor;
}

/** Says `text`, ends, and gives all that came. */
async function say(visitor: Socket, text: string): Promise<string> {
  let got = '';
  visitor.on('data', (piece: Buffer) => {
    got += piece.toString('latin1');
  });
  visitor.end(text);
  await within(WAIT_MS, 'the end', once(visitor, 'close'));
  return got;
}

async function serveNames(
  t: TestContext,
  node: LocalNode,
  names: readonly string[],
  more: Readonly<Record<string, string>> = {},
): Promise<readonly string[]> {
  const flags = { 'tls-passthrough': names, ...more };
  return (await startLocalClient(t, node, { flags })).tunnelLines;
}

test('two hosts reach two upstreams, end to end, by exact name and by wildcard', async (t) => {
  const node = await startNode(t, { flags: HTTPS });
  const a = await startTls(t, UPSTREAM_A);
  const b = await startTls(t, UPSTREAM_B);
  const lines = await serveNames(t, node, [
    `a.example.com=${LOOPBACK}:${a}`,
    `*.b.example.com=${LOOPBACK}:${b}`,
  ]);
  assert.deepEqual([...lines].sort(), [
    `tls://*.b.example.com -> ${LOOPBACK}:${b}`,
    `tls://a.example.com -> ${LOOPBACK}:${a}`,
  ]);
  const port = node.httpsPort;
  const table = [
    [UPSTREAM_A, 'a.example.com'],
    [UPSTREAM_B, 'x.b.example.com'],
  ] as const;
  for (const [pair, name] of table) {
    const visitor = await visit(t, { port, pair, name });
    assert.equal(await say(visitor, 'hello'), `${pair.name} ${name} hello`);
  }
  const upstreams = (await node.status()).clients.flatMap((client) => client.upstreams);
  assert.deepEqual(upstreams, [
    `tls:a.example.com=${LOOPBACK}:${a}`,
    `tls:*.b.example.com=${LOOPBACK}:${b}`,
  ]);
  await node.untilMetric(
    'sluiceway_streams_total{tunnel="tls:a.example.com",result="ok"}',
    Boolean,
  );
  assert.equal((await node.ask('/readyz?tunnel=tls:a.example.com')).status, 200);
  const { body } = await node.ask('/metrics');
  assert.doesNotMatch(body, /tcp_dataplane_connections_total\{/, 'it is no TCP port');
});

test('4 MiB pass each way as they are, over several shards', async (t) => {
  const node = await startNode(t, { flags: { ...HTTPS, shards: '3' } });
  const port = await startTls(t, UPSTREAM_A);
  await serveNames(t, node, [`a.example.com=${LOOPBACK}:${port}`]);
  const sent = seededNoise(7, 4 * 1024 * 1024);
  for (let count = 0; count < 3; count += 1) {
    const visitor = await visit(t, { port: node.httpsPort, pair: UPSTREAM_A });
    const pieces: Buffer[] = [];
    visitor.on('data', (piece: Buffer) => pieces.push(piece));
    visitor.end(sent);
    await within(WAIT_MS, 'all of it', once(visitor, 'end'));
    const got = Buffer.concat(pieces).subarray('a.example.com a.example.com '.length);
    assert.equal(sha256(got), sha256(sent));
  }
});

test('HTTP/2 passes by ALPN, with streams side by side and trailers', async (t) => {
  const server = http2.createSecureServer({ cert: UPSTREAM_A.cert, key: UPSTREAM_A.key });
  server.on('stream', (stream: http2.ServerHttp2Stream, headers) => {
    stream.respond({ ':status': 200 }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.write(`${headers[':path']} `);
    stream.pipe(stream);
  });
  const port = await listen(t, server as unknown as Server);
  const node = await startNode(t, { flags: HTTPS });
  await serveNames(t, node, [`a.example.com=${LOOPBACK}:${port}`]);
  const session = http2.connect(`https://a.example.com:${node.httpsPort}`, {
    ...{ ca: UPSTREAM_A.cert, lookup: toLoopback },
  });
  undoAfter(t, () => session.destroy());
  const answers = Array.from({ length: 20 }, async (_, index) => {
    const stream = session.request({ ':method': 'POST', ':path': `/${index}`, te: 'trailers' });
    let text = '';
    let trailers: http2.IncomingHttpHeaders = {};
    stream.on('data', (piece: Buffer) => {
      text += piece.toString();
    });
    stream.on('trailers', (headers) => {
      trailers = headers;
    });
    stream.end('x'.repeat(1000));
    await once(stream, 'end');
    return `${text} ${trailers['grpc-status']}`;
  });
  const all = await within(WAIT_MS, 'all answers', Promise.all(answers));
  assert.deepEqual(
    all,
    all.map((_, index) => `/${index} ${'x'.repeat(1000)} 0`),
  );
  assert.equal((session.socket as TLSSocket).alpnProtocol, 'h2');
});

function toLoopback(
  _name: string,
  _options: object,
  done: (error: null, addresses: { address: string; family: number }[]) => void,
): void {
  done(null, [{ address: LOOPBACK, family: 4 }]);
}

test('a hello that comes byte by byte is the same hello', async (t) => {
  const node = await startNode(t, { flags: HTTPS });
  const port = await startEcho(t);
  await serveNames(t, node, [`*.example.com=${LOOPBACK}:${port}`]);
  for (const { bytes, serverName: name } of CAPTURED_HELLOS) {
    if (name === undefined) continue;
    const socket = await connectTo(t, node.httpsPort);
    socket.setNoDelay(true);
    let got = Buffer.alloc(0);
    socket.on('data', (piece: Buffer) => {
      got = Buffer.concat([got, piece]);
    });
    for (const byte of bytes) {
      socket.write(Buffer.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    socket.end('behind');
    await within(WAIT_MS, 'the end', once(socket, 'close'));
    assert.deepEqual(got, Buffer.concat([bytes, Buffer.from('behind')]), name);
  }
});

test('no name, a name of nobody, and what is no TLS: an alert or a cut, counted', async (t) => {
  const node = await startNode(t, { flags: HTTPS });
  const port = await startEcho(t);
  await serveNames(t, node, [`a.example.com=${LOOPBACK}:${port}`]);
  const send = (bytes: Uint8Array): Promise<string> => sendRaw(node.httpsPort, bytes);
  for (const name of ['b.example.com', 'x.a.example.com', 'example.com', '127.0.0.1']) {
    assert.equal(await send(hello({ extensions: [serverName(name)] })), UNRECOGNIZED, name);
  }
  assert.match(await send(hello({ extensions: [] })), /\x6d$/);
  assert.equal(await send(Buffer.from('GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n')), '');
  assert.match(await send(Buffer.from('1603010000', 'hex')), /\x32$/);
  const half = hello({ extensions: [serverName('a.example.com')] }).subarray(0, -1);
  assert.equal(await sendRaw(node.httpsPort, half, { halfClose: true }), '');
  const counted = { 'unknown-name': 4, 'no-name': 1, 'not-tls': 1, malformed: 1, 'no-hello': 1 };
  for (const [reason, count] of Object.entries(counted)) {
    const series = `sluiceway_tls_refused_total{reason="${reason}"}`;
    await node.untilMetric(series, (value) => value === count);
  }
  const error = await refusalOf(t, node.httpsPort);
  assert.equal(error, 'ERR_SSL_TLSV1_UNRECOGNIZED_NAME');
});

test('a visitor counts once for the connections that its address may open a second', async (t) => {
  const rate = 'connections-per-second-per-ip';
  const node = await startNode(t, { flags: { ...HTTPS, [`${rate}-max`]: '2', shards: '1' } });
  const port = await startTls(t, UPSTREAM_A);
  await serveNames(t, node, [`a.example.com=${LOOPBACK}:${port}`]);
  const pair = UPSTREAM_A;
  await Promise.all([0, 1].map(() => visit(t, { port: node.httpsPort, pair })));
  const limited = `sluiceway_limited_total{limit="${rate}"}`;
  assert.equal(await node.metric(limited), 0, 'two of two');
  const named = hello({ extensions: [serverName('nobody.example.com')] });
  const all = await Promise.all(Array.from({ length: 9 }, () => sendRaw(node.httpsPort, named)));
  const cut = all.filter((answer) => answer === '').length;
  assert.ok(cut > 0, 'beyond it a cut, before the handshake');
  assert.equal(await node.metric(limited), cut);
});

/** How Node names the end of a handshake for a host that nobody serves. */
async function refusalOf(t: TestContext, port: number): Promise<string> {
  const visitor = connect({ port, host: LOOPBACK, servername: 'nobody.example.com' });
  undoAfter(t, () => {
    visitor.destroy();
  });
  const [error] = await within(WAIT_MS, 'a refusal', once(visitor, 'error'));
  return String((error as NodeJS.ErrnoException).code);
}

test('1,000 names of nobody leave no tunnel, no series and no line behind', async (t) => {
  const node = await startNode(t, { flags: HTTPS });
  const port = await startEcho(t);
  await serveNames(t, node, [`a.example.com=${LOOPBACK}:${port}`]);
  const seriesOf = async (): Promise<number> =>
    (await node.ask('/metrics')).body.split('\n').length;
  await sendRaw(node.httpsPort, hello({ extensions: [serverName('x.example.net')] }));
  // The first look at the page is counted on the second.
  await seriesOf();
  const before = await seriesOf();
  for (let batch = 0; batch < 20; batch += 1) {
    const visits = Array.from({ length: 50 }, (_, index) =>
      sendRaw(
        node.httpsPort,
        hello({ extensions: [serverName(`x${batch}-${index}.example.net`)] }),
      ),
    );
    for (const answer of await Promise.all(visits)) assert.equal(answer, UNRECOGNIZED);
  }
  const series = 'sluiceway_tls_refused_total{reason="unknown-name"}';
  await node.untilMetric(series, (count) => count === 1001);
  assert.equal(await seriesOf(), before);
  assert.doesNotMatch(JSON.stringify(node.log.lines), /example\.net/);
});

test('PROXY headers hold in front of TLS and toward its upstream', async (t) => {
  const seen: string[] = [];
  const port = await startTcp(t, (socket) => {
    socket.once('data', (piece: Buffer) => {
      seen.push(piece.toString('latin1').split('\r\n')[0] ?? '');
      socket.end();
    });
  });
  const node = await startNode(t, { flags: { ...HTTPS, 'accept-proxy-protocol': LOOPBACK } });
  await serveNames(t, node, [`*.example.com=${LOOPBACK}:${port}`], { 'proxy-protocol': 'v1' });
  const [, , , curl] = CAPTURED_HELLOS;
  assert.ok(curl !== undefined);
  const from = { address: '192.0.2.7', port: 50_123 };
  const to = { address: '203.0.113.5', port: 443 };
  for (const version of ['v1', 'v2'] as const) {
    const header = encodeProxyHeader(version, from, to);
    const bytes = Buffer.concat([header, curl.bytes]);
    assert.equal(await sendRaw(node.httpsPort, bytes, { halfClose: true }), '');
    assert.equal(seen.pop(), 'PROXY TCP4 192.0.2.7 203.0.113.5 50123 443', version);
  }
  assert.equal(await sendRaw(node.httpsPort, curl.bytes), '', 'a listed peer without a header');
  await node.untilMetric('sluiceway_accept_errors_total{code="SLW_PROXY_HEADER"}', Boolean);
  assert.deepEqual(seen, []);
});

test('a PROXY header of a peer that is not listed is no TLS', async (t) => {
  const node = await startNode(t, { flags: { ...HTTPS, 'accept-proxy-protocol': '192.0.2.1' } });
  const port = await startTls(t, UPSTREAM_A);
  await serveNames(t, node, [`a.example.com=${LOOPBACK}:${port}`]);
  const header = encodeProxyHeader('v2', { address: '192.0.2.7', port: 1 }, undefined);
  assert.equal(await sendRaw(node.httpsPort, header), '');
  const visitor = await visit(t, { port: node.httpsPort, pair: UPSTREAM_A });
  assert.match(await say(visitor, 'bye'), / bye$/);
});

test('a host may be an HTTP tunnel too: each port has its own', async (t) => {
  const node = await startNode(t, { flags: HTTPS });
  const site = await startHttp(t, (_, response) => response.end('plain'));
  const port = await startTls(t, UPSTREAM_A);
  const upstream = `a.example.com=http://${LOOPBACK}:${site}`;
  await serveNames(t, node, [`a.example.com=${LOOPBACK}:${port}`], { upstream });
  const answer = await get(t, { port: node.httpPort, host: 'a.example.com' });
  assert.equal(answer.body, 'plain');
  const visitor = await visit(t, { port: node.httpsPort, pair: UPSTREAM_A });
  assert.match(await say(visitor, 'x'), /^a\.example\.com a\.example\.com x$/);
  // A Host header is no way to the other.
  const other = await get(t, { port: node.httpPort, host: 'tls:a.example.com' }).catch(String);
  assert.ok(typeof other === 'string' || other.status === 400, JSON.stringify(other));
});

test('times of TCP tunnels hold', async (t) => {
  const node = await startNode(t, { flags: { ...HTTPS, 'tcp-idle-timeout': '1s' } });
  const port = await startTls(t, UPSTREAM_A);
  await serveNames(t, node, [`a.example.com=${LOOPBACK}:${port}`]);
  const visitor = await visit(t, { port: node.httpsPort, pair: UPSTREAM_A });
  visitor.on('error', () => {
    // Cut, as it was idle.
  });
  const closed = new Promise((resolve) => visitor.once('close', resolve));
  await within(WAIT_MS, 'an idle visitor is cut', closed);
  const series = 'sluiceway_streams_total{tunnel="tls:a.example.com",result="SLW_STREAM_IDLE"}';
  await node.untilMetric(series, (count) => count === 1);
});

test('a client that is gone: a reset, and an alert for the name only when it is unknown', async (t) => {
  const node = await startNode(t, { flags: HTTPS });
  const port = await startTls(t, UPSTREAM_A);
  const flags = { 'tls-passthrough': [`a.example.com=${LOOPBACK}:${port}`] };
  const { client, ended } = await startLocalClient(t, node, { flags });
  client.stop();
  await ended();
  await node.untilMetric('sluiceway_clients', (count) => count === 0);
  const bytes = hello({ extensions: [serverName('a.example.com')] });
  assert.equal(await sendRaw(node.httpsPort, bytes), '');
});

test('a server without an HTTPS port refuses the tunnel and says why', async (t) => {
  const node = await startNode(t, { complains: true });
  const { log } = await startLocalClient(t, node, {
    flags: { 'tls-passthrough': `a.example.com=${LOOPBACK}:1` },
    ...{ waits: false, complains: true },
  });
  const line = await log.line('tunnel refused', { code: 'SLW_TUNNEL_NO_HTTPS' });
  assert.match(String(line.reason), /--https-addr/);
});
