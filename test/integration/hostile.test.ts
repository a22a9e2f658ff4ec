// Goal: what reaches the control port without a token gets nothing and harms nobody, and a second
// exit node cannot take half of a running one's visitors. Method: raw bytes on the control port of
// a tunnel that carries a visitor meanwhile.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { SluicewayError } from '../../src/base/errors.ts';
import { startServer } from '../../src/control/exit-node.ts';
import { serverConfig, TOKEN } from '../support/configs.ts';
import { within } from '../support/deadline.ts';
import { seededNoise } from '../support/digest.ts';
import { freePort } from '../support/free-port.ts';
import {
  type LocalNode,
  startLocalClient,
  startNode,
  untilCovered,
} from '../support/local-tunnel.ts';
import { LogLines } from '../support/log-lines.ts';
import { connectTo, echoBytes, sendRaw, startEcho } from '../support/upstream.ts';

interface Tunnel {
  readonly node: LocalNode;
  readonly port: number;
  readonly visitor: net.Socket;
}

async function startTunnel(t: TestContext): Promise<Tunnel> {
  const echo = await startEcho(t);
  const port = await freePort();
  const node = await startNode(t, { complains: true });
  await startLocalClient(t, node, { flags: { tcp: `${port}=127.0.0.1:${echo}` } });
  await untilCovered(node, `tcp:${port}`, 2);
  const visitor = await connectTo(t, port);
  return { node, port, visitor };
}

/** Everything still works: the visitor of before, a new one, health, and no shard has fallen. */
async function assertAlive(t: TestContext, { node, port, visitor }: Tunnel): Promise<void> {
  const noise = seededNoise(11, 1024 * 1024);
  assert.ok((await echoBytes(visitor, noise)).equals(noise));
  assert.ok((await echoBytes(await connectTo(t, port), noise)).equals(noise));
  assert.equal((await node.ask('/healthz')).status, 200);
  assert.equal(await node.metric('sluiceway_shard_restarts_total'), 0);
  assert.equal(await node.metric('sluiceway_links'), 2);
  assert.deepEqual(node.log.all('shard failed'), []);
}

const CRLF = '\r\n';
const UPGRADE = [
  'Upgrade: websocket',
  'Connection: Upgrade',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
];
const GOOD_TOKEN = `Authorization: Bearer ${TOKEN}`;
const PROTOCOL = 'Sec-WebSocket-Protocol: sluiceway.1';

function head(line: string, ...fields: string[]): string {
  return [line, 'Host: 127.0.0.1', ...fields, '', ''].join(CRLF);
}

/** What is sent, and what the answer begins with; empty for a close without a word. */
const BAD: readonly (readonly [what: string, bytes: string | Buffer, answer: RegExp])[] = [
  ['noise', seededNoise(1, 64 * 1024), /^HTTP\/1.1 400/],
  ['zeros', Buffer.alloc(64 * 1024), /^HTTP\/1.1 400/],
  ['a TLS hello', Buffer.from('16030100c8010000c40303', 'hex'), /^HTTP\/1.1 400/],
  ['a head over 16 KiB', head('GET /status HTTP/1.1', `X: ${'x'.repeat(20_000)}`), /^HTTP\/1.1 4/],
  ['CONNECT', head('CONNECT example.com:443 HTTP/1.1'), /^$/],
  ['no token', head('GET /connect HTTP/1.1', ...UPGRADE, PROTOCOL), /^HTTP\/1.1 401/],
  [
    'a wrong token',
    head('GET /connect HTTP/1.1', ...UPGRADE, PROTOCOL, `${GOOD_TOKEN}x`),
    /^HTTP\/1.1 401/,
  ],
  [
    'a token in the query',
    head(`GET /connect?token=${TOKEN} HTTP/1.1`, ...UPGRADE, PROTOCOL),
    /^HTTP\/1.1 401/,
  ],
  [
    'another path',
    head('GET /status HTTP/1.1', ...UPGRADE, PROTOCOL, GOOD_TOKEN),
    /^HTTP\/1.1 404/,
  ],
  ['no subprotocol', head('GET /connect HTTP/1.1', ...UPGRADE, GOOD_TOKEN), /^HTTP\/1.1 426/],
  [
    'another version',
    head(
      'GET /connect HTTP/1.1',
      ...UPGRADE.map((field) => field.replace('13', '12')),
      PROTOCOL,
      GOOD_TOKEN,
    ),
    /^HTTP\/1.1 4/,
  ],
  [
    'a bad key',
    head(
      'GET /connect HTTP/1.1',
      ...UPGRADE.map((field) => field.replace('AAAA', '')),
      PROTOCOL,
      GOOD_TOKEN,
    ),
    /^HTTP\/1.1 400/,
  ],
  [
    'POST',
    head('POST /connect HTTP/1.1', ...UPGRADE, PROTOCOL, GOOD_TOKEN, 'Content-Length: 0'),
    /^HTTP\/1.1 405/,
  ],
  [
    'an upgrade with a body',
    head('GET /connect HTTP/1.1', ...UPGRADE, PROTOCOL, GOOD_TOKEN, 'Content-Length: 10'),
    /^HTTP\/1.1 400/,
  ],
  [
    'an upgrade with a chunked body',
    head('GET /connect HTTP/1.1', ...UPGRADE, PROTOCOL, GOOD_TOKEN, 'Transfer-Encoding: chunked'),
    /^HTTP\/1.1 400/,
  ],
  [
    'h2c',
    head('GET /connect HTTP/1.1', 'Upgrade: h2c', 'Connection: Upgrade', PROTOCOL, GOOD_TOKEN),
    /^HTTP\/1.1 4/,
  ],
  [
    'frames behind a refused upgrade',
    Buffer.concat([
      Buffer.from(head('GET /connect HTTP/1.1', ...UPGRADE, PROTOCOL)),
      seededNoise(2, 16 * 1024),
    ]),
    /^HTTP\/1.1 401/,
  ],
];

test('bad bytes on the control port are refused, and harm nobody', async (t) => {
  const tunnel = await startTunnel(t);
  for (const [what, bytes, answer] of BAD) {
    const got = await sendRaw(tunnel.node.controlPort, Buffer.from(bytes));
    assert.match(got, answer, what);
    assert.doesNotMatch(got, new RegExp(TOKEN), what);
  }
  await assertAlive(t, tunnel);
});

test('half requests that end are forgotten', async (t) => {
  const tunnel = await startTunnel(t);
  const whole = head('GET /connect HTTP/1.1', ...UPGRADE, PROTOCOL, GOOD_TOKEN);
  for (let cut = 0; cut < whole.length; cut += 17) {
    const got = await sendRaw(tunnel.node.controlPort, Buffer.from(whole.slice(0, cut)), {
      halfClose: true,
    });
    assert.match(got, /^(HTTP\/1.1 400|$)/);
  }
  await assertAlive(t, tunnel);
});

/** A masked client frame of fewer than 126 bytes. */
function clientFrame(opcode: number, payload: Buffer): Buffer {
  return Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | payload.length, 0, 0, 0, 0]), payload]);
}

test('frames of a client that has the token and breaks the protocol close its link alone', async (t) => {
  const tunnel = await startTunnel(t);
  const upgrade = Buffer.from(head('GET /connect HTTP/1.1', ...UPGRADE, PROTOCOL, GOOD_TOKEN));
  const bad: readonly (readonly [what: string, bytes: Buffer, status: number])[] = [
    ['a text message', clientFrame(1, Buffer.from('hello')), 1003],
    ['an unmasked frame', Buffer.from([0x82, 0x01, 0x00]), 1002],
    ['reserved bits', Buffer.from([0xc2, 0x80, 0, 0, 0, 0]), 1002],
    ['no frame of ours', clientFrame(2, Buffer.alloc(12)), 1002],
    ['DATA before HELLO', clientFrame(2, Buffer.from('9308ce00000001c6000000', 'hex')), 1002],
    ['a message over 4 GiB', Buffer.from('82ff0000000100000000', 'hex').fill(0xff, 1, 2), 1009],
  ];
  for (const [what, bytes, status] of bad) {
    const got = await sendRaw(tunnel.node.controlPort, Buffer.concat([upgrade, pad(bytes)]));
    assert.match(got, /^HTTP\/1.1 101/, what);
    const frame = Buffer.from(got.slice(got.indexOf(CRLF + CRLF) + 4), 'latin1');
    assert.equal(closeStatusOf(frame), status, what);
  }
  await assertAlive(t, tunnel);
  const code = 'SLW_WIRE_WEBSOCKET';
  assert.ok((await tunnel.node.metric(`sluiceway_protocol_errors_total{code="${code}"}`)) >= 3);
});

/** A header that promises a key gets one. */
function pad(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(8)]);
}

/** Status of the CLOSE frame that ends what a server sent; -1 for none. */
function closeStatusOf(bytes: Buffer): number {
  for (let at = 0; at + 2 <= bytes.length; ) {
    const length = (bytes[at + 1] ?? 0) & 0x7f;
    if (((bytes[at] ?? 0) & 0x0f) === 8) return bytes.readUInt16BE(at + 2);
    at += 2 + length;
  }
  return -1;
}

test('a second exit node on a port in use is refused, and takes no visitors', async (t) => {
  const tunnel = await startTunnel(t);
  for (const flag of ['control-addr', 'http-addr', 'admin-addr'] as const) {
    const port = {
      'control-addr': tunnel.node.controlPort,
      'http-addr': tunnel.node.httpPort,
      'admin-addr': tunnel.node.adminPort,
    }[flag];
    const log = new LogLines('second');
    const adminPort = await freePort();
    const config = serverConfig({
      'admin-addr': `127.0.0.1:${adminPort}`,
      [flag]: `127.0.0.1:${port}`,
    });
    const starting = startServer(config, { log: log.log, version: 'second' });
    await assert.rejects(within(10_000, 'the second is refused', starting), (error) => {
      assert.ok(error instanceof SluicewayError, String(error));
      assert.match(error.message, new RegExp(`${port}`));
      return true;
    });
    await assert.rejects(connectTo(t, adminPort), { code: 'ECONNREFUSED' }, `${flag}: left over`);
  }
  for (let ask = 0; ask < 20; ask += 1) {
    assert.match(await sendRaw(tunnel.node.controlPort, askStatus()), /"version":"0.0.0-test"/);
  }
  await assertAlive(t, tunnel);
});

function askStatus(): Buffer {
  return Buffer.from(head('GET /status HTTP/1.1', 'Connection: close', GOOD_TOKEN));
}

test('a tunnel port that another program has is refused with the reason, on every shard', async (t) => {
  const squatter = net.createServer();
  squatter.listen(0, '127.0.0.1');
  await once(squatter, 'listening');
  t.after(() => squatter.close());
  const { port } = squatter.address() as net.AddressInfo;
  const echo = await startEcho(t);
  const free = await freePort();
  const node = await startNode(t, { complains: true });
  const client = await startLocalClient(t, node, {
    flags: { tcp: [`${port}=127.0.0.1:${echo}`, `${free}=127.0.0.1:${echo}`] },
    complains: true,
    waits: false,
  });
  const line = await client.log.line('tunnel refused');
  assert.deepEqual([line.tunnel, line.code], [`tcp:${port}`, 'SLW_TUNNEL_PORT_TAKEN']);
  await client.log.line('tunnel up', { tunnel: `tcp:${free}` });
  const { clients } = await node.status();
  assert.deepEqual(clients[0]?.upstreams, [`tcp:${free}=127.0.0.1:${echo}`]);
  assert.equal((await node.ask(`/readyz?tunnel=tcp:${port}`)).status, 503);
});

test("a tunnel port that is the exit node's own is refused with the option that has it", async (t) => {
  const adminPort = await freePort();
  const node = await startNode(t, {
    flags: { 'admin-addr': `127.0.0.1:${adminPort}` },
    complains: true,
  });
  for (const [port, option] of [
    [node.controlPort, '--control-addr'],
    [node.httpPort, '--http-addr'],
    [adminPort, '--admin-addr'],
  ] as const) {
    const client = await startLocalClient(t, node, {
      flags: { tcp: [`${port}=127.0.0.1:1`] },
      complains: true,
      waits: false,
    });
    const line = await client.log.line('tunnel refused');
    assert.equal(line.code, 'SLW_TUNNEL_PORT_TAKEN');
    assert.match(
      String(line.reason),
      new RegExp(`:${port} is in use by this .*, as its ${option}$`),
    );
  }
});
