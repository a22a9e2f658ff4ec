// Goal: a local port reaches a service on the server's side when the server's rules and the token's
// both allow it, by name, address or SOCKS, and nothing else; half-close and resets pass; the port
// outlives its links. Method: a node and clients in this process; rules that change meanwhile.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { readForwardRule } from '../../src/base/forward-rules.ts';
import { Masked } from '../../src/base/masked.ts';
import { undoAfter } from '../support/cleanup.ts';
import { startRelay } from '../support/cut-relay.ts';
import { eventually, within } from '../support/deadline.ts';
import { seededNoise, sha256 } from '../support/digest.ts';
import { freePort } from '../support/free-port.ts';
import { type LocalNode, startLocalClient, startNode } from '../support/local-tunnel.ts';
import { scratchFolder } from '../support/programs.ts';
import { connectTo, echoBytes, echoOnce, startEcho, startTcp } from '../support/upstream.ts';

const LOOPBACK = '127.0.0.1';
const WAIT_MS = 15_000;
const NOISE = seededNoise(8, 3_000_000);

interface Local {
  readonly node: LocalNode;
  readonly port: number;
}

/** A client that forwards a port of its own to `target`. */
async function forward(
  t: TestContext,
  target: string,
  rules: readonly string[],
  more: Readonly<Record<string, string>> = {},
): Promise<Local> {
  const flags = rules.length === 0 ? {} : { 'client-forwarding': rules };
  const node = await startNode(t, { flags });
  const port = await freePort();
  await startForward(t, node, `${port}:${target}`, more);
  return { node, port };
}

async function startForward(
  t: TestContext,
  node: { readonly controlPort: number },
  local: string,
  more: Readonly<Record<string, string>> = {},
) {
  const client = await startLocalClient(t, node, { flags: { local, ...more }, complains: true });
  await client.log.line('local forward up');
  return client;
}

/** With or without an error. */
function closeOf(socket: net.Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}

/** How a connection ends that is not served: its error, or `end`. */
async function endingOf(port: number): Promise<string> {
  const socket = net.connect({ port, host: LOOPBACK });
  try {
    const ended = new Promise<string>((resolve) => {
      socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'unknown'));
      socket.once('end', () => resolve('end'));
    });
    socket.resume();
    return await within(WAIT_MS, `port ${port} ends`, ended);
  } finally {
    socket.destroy();
  }
}

test('bytes pass both ways, with half-close, on many connections at a time', async (t) => {
  const echo = await startEcho(t);
  const { node, port } = await forward(t, `${LOOPBACK}:${echo}`, [`${LOOPBACK}:${echo}`]);
  const visits = Array.from({ length: 20 }, async (_, index) => {
    const socket = await connectTo(t, port);
    const bytes = NOISE.subarray(index, NOISE.length - index * 1000);
    assert.equal(sha256(await echoBytes(socket, bytes)), sha256(bytes));
    const ended = once(socket, 'end');
    socket.end();
    socket.resume();
    await within(WAIT_MS, 'the end of the echo', ended);
  });
  await Promise.all(visits);
  await node.untilMetric('sluiceway_streams_open{tunnel="_other"}', (open) => open === 0);
  assert.equal(await node.metric('sluiceway_streams_total{tunnel="_other",result="ok"}'), 20);
});

test('a name is resolved by the server, and its address is what the rules judge', async (t) => {
  const echo = await startEcho(t);
  const { port } = await forward(t, `localhost:${echo}`, [`localhost:${echo}`]);
  assert.equal(await echoOnce(await connectTo(t, port), 'by name'), 'by name');
  const other = await forward(t, `localhost:${echo}`, ['127.0.0.0/8:*', '[::1]:*']);
  assert.equal(await echoOnce(await connectTo(t, other.port), 'by address'), 'by address');
});

const DENIED: Readonly<Record<string, (echo: number) => [string, string[]]>> = {
  'no rule at all': (echo) => [`${LOOPBACK}:${echo}`, []],
  'a rule for another port': (echo) => [`${LOOPBACK}:${echo}`, [`${LOOPBACK}:${echo - 1}`]],
  'a rule for everything, and a reserved address': (echo) => [`${LOOPBACK}:${echo}`, ['*:*']],
  'a rule for everything, and a name of a reserved address': (echo) => [
    `localhost:${echo}`,
    ['*:*'],
  ],
  'a mapped address': (echo) => [`[::ffff:127.0.0.1]:${echo}`, ['*:*']],
};

for (const [what, setUp] of Object.entries(DENIED)) {
  test(`${what}: the connection is reset, and nothing was dialled`, async (t) => {
    let dials = 0;
    const upstream = await startTcp(t, (socket) => {
      dials += 1;
      socket.destroy();
    });
    const [target, rules] = setUp(upstream);
    const { node, port } = await forward(t, target, rules);
    assert.equal(await endingOf(port), 'ECONNRESET');
    assert.equal(dials, 0);
    await node.untilMetric('sluiceway_denied_total{list="forwards"}', (count) => count === 1);
  });
}

test('a target that refuses, and a name that does not exist, reset the connection', async (t) => {
  const port = await freePort();
  const refused = await forward(t, `${LOOPBACK}:${port}`, [`${LOOPBACK}:*`]);
  assert.equal(await endingOf(refused.port), 'ECONNRESET');
  const unknown = await forward(t, 'name.invalid:80', ['*:*']);
  assert.equal(await endingOf(unknown.port), 'ECONNRESET');
});

test('a reset of the target is a reset, and so is one of the local side', async (t) => {
  const closed: string[] = [];
  const upstream = await startTcp(t, (socket) => {
    socket.on('error', (error: NodeJS.ErrnoException) => closed.push(error.code ?? ''));
    socket.on('data', (piece) => {
      if (piece.toString() === 'reset me') socket.resetAndDestroy();
      else socket.write(piece);
    });
  });
  const { port } = await forward(t, `${LOOPBACK}:${upstream}`, [`${LOOPBACK}:*`]);
  const cut = await connectTo(t, port);
  const gone = new Promise((resolve) => cut.once('error', resolve));
  cut.write('reset me');
  const error = (await within(WAIT_MS, 'a reset', gone)) as NodeJS.ErrnoException;
  assert.equal(error.code, 'ECONNRESET');
  const resets = await connectTo(t, port);
  assert.equal(await echoOnce(resets, 'ping'), 'ping');
  resets.resetAndDestroy();
  await eventually(WAIT_MS, 'the target sees a reset', async () => {
    assert.deepEqual(closed, ['ECONNRESET']);
  });
});

test('the port outlives its links: who comes meanwhile waits, and is served', async (t) => {
  const echo = await startEcho(t);
  const node = await startNode(t, { flags: { 'client-forwarding': `${LOOPBACK}:*` } });
  const relay = await startRelay(t, node.controlPort);
  const port = await freePort();
  // One link: of two the second is lost some milliseconds later, and may be chosen until then.
  const local = `${port}:${LOOPBACK}:${echo}`;
  await startForward(t, { controlPort: relay.port }, local, { links: '1' });
  assert.equal(await echoOnce(await connectTo(t, port), 'before'), 'before');
  for (let round = 0; round < 3; round += 1) {
    const cut = await connectTo(t, port);
    assert.equal(await echoOnce(cut, 'here'), 'here');
    const gone = closeOf(cut);
    relay.cut();
    // Until the client has seen it, streams go to the link that is lost, and are lost with it.
    await within(WAIT_MS, 'the stream of the lost link is cut', gone);
    const waiting = await connectTo(t, port);
    assert.equal(await echoOnce(waiting, 'while it dials'), 'while it dials');
  }
});

test('without a link for long a connection is reset, and the port stays', async (t) => {
  const echo = await startEcho(t);
  const node = await startNode(t, { flags: { 'client-forwarding': `${LOOPBACK}:*` } });
  const relay = await startRelay(t, node.controlPort);
  const port = await freePort();
  await startForward(t, { controlPort: relay.port }, `${port}:${LOOPBACK}:${echo}`);
  relay.goDown();
  assert.equal(await endingOf(port), 'ECONNRESET');
  relay.goUp();
  await eventually(60_000, 'the forward works again', async () => {
    const socket = await connectTo(t, port);
    assert.equal(await echoOnce(socket, 'again'), 'again');
  });
});

interface TokenSite {
  readonly node: LocalNode;
  put(forwards: readonly string[] | undefined, more?: string): void;
}

async function tokenSite(
  t: TestContext,
  rules: readonly string[],
  more: { readonly shards?: number } = {},
): Promise<TokenSite> {
  const file = path.join(scratchFolder(t), 'tokens.yaml');
  const hash = createHash('sha256').update('of-a-team').digest('hex');
  const put = (forwards: readonly string[] | undefined, more = ''): void => {
    const list = forwards === undefined ? '' : `    forwards: ${JSON.stringify(forwards)}\n`;
    writeFileSync(file, `tokens:\n  - name: team\n    hashes: ["sha256:${hash}"]\n${list}${more}`);
  };
  put(undefined);
  const clientForwarding = rules.map((text) => {
    const read = readForwardRule(text);
    assert.ok(typeof read !== 'string');
    return read;
  });
  const config = { tokensFile: file, clientForwarding, ...more };
  const node = await startNode(t, { config, complains: true });
  return { node, put };
}

test('a token reaches what it names of what the server allows, from the moment it does', async (t) => {
  const echo = await startEcho(t);
  const site = await tokenSite(t, [`${LOOPBACK}:*`]);
  const port = await freePort();
  const client = await startLocalClient(t, site.node, {
    flags: { local: `${port}:${LOOPBACK}:${echo}` },
    config: { token: new Masked('of-a-team') },
    complains: true,
  });
  await client.log.line('local forward up');
  assert.equal(await endingOf(port), 'ECONNRESET', 'a token without forwards');
  site.put([`${LOOPBACK}:${echo}`]);
  const live = await eventually(WAIT_MS, 'the token may', async () => {
    const socket = await connectTo(t, port);
    assert.equal(await echoOnce(socket, 'now'), 'now');
    return socket;
  });
  const cut = closeOf(live);
  site.put(['other.example:1']);
  await within(WAIT_MS, 'the live connection is cut', cut);
  assert.equal(await endingOf(port), 'ECONNRESET', 'a token with other forwards');
  // More than the server allows is worth nothing.
  site.put(['*:*', `${LOOPBACK}:${echo}`, '[::1]:*']);
  await eventually(WAIT_MS, 'the token may again', async () => {
    const socket = await connectTo(t, port);
    assert.equal(await echoOnce(socket, 'again'), 'again');
  });
});

test('limits of a token hold for its forwards', async (t) => {
  const echo = await startEcho(t);
  // Exact with one shard; with two a visitor may be refused while the other's slot is free (0020).
  const site = await tokenSite(t, [`${LOOPBACK}:*`], { shards: 1 });
  site.put([`${LOOPBACK}:*`], '    streams-max: 2\n');
  await site.node.log.line('tokens were read again');
  const port = await freePort();
  const client = await startLocalClient(t, site.node, {
    flags: { local: `${port}:${LOOPBACK}:${echo}` },
    config: { token: new Masked('of-a-team') },
    complains: true,
  });
  await client.log.line('local forward up');
  const open = await connectTo(t, port);
  assert.equal(await echoOnce(open, 'one'), 'one');
  const second = await connectTo(t, port);
  assert.equal(await echoOnce(second, 'two'), 'two');
  assert.equal(await endingOf(port), 'ECONNRESET', 'a third one');
  open.destroy();
  await eventually(WAIT_MS, 'there is room again', async () => {
    assert.equal(await echoOnce(await connectTo(t, port), 'three'), 'three');
  });
});

/** A SOCKS 5 connection to `host:port`; the reply's code. */
async function socks(
  t: TestContext,
  proxy: number,
  host: string,
  port: number,
): Promise<{ reply: number; socket: net.Socket }> {
  const socket = await connectTo(t, proxy);
  const read = async (bytes: number): Promise<Buffer> => {
    while (true) {
      const piece: unknown = socket.read(bytes);
      if (Buffer.isBuffer(piece)) return piece;
      await within(WAIT_MS, `${bytes} bytes of SOCKS`, once(socket, 'readable'));
    }
  };
  socket.write(Buffer.from([5, 1, 0]));
  assert.deepEqual([...(await read(2))], [5, 0]);
  const name = Buffer.from(host);
  const head = Buffer.from([5, 1, 0, 3, name.length]);
  socket.write(Buffer.concat([head, name, Buffer.from([port >> 8, port & 0xff])]));
  const reply = await read(10);
  return { reply: reply[1] ?? -1, socket };
}

test('SOCKS: what the rules allow is reached, and a refusal has its reply', async (t) => {
  const echo = await startEcho(t);
  const closed = await freePort();
  const node = await startNode(t, {
    flags: {
      'client-forwarding': [`${LOOPBACK}:${echo}`, `${LOOPBACK}:${closed}`, 'name.invalid:*'],
    },
  });
  const proxy = await freePort();
  const client = await startLocalClient(t, node, {
    flags: { 'local-socks': String(proxy) },
    complains: true,
  });
  await client.log.line('local forward up');
  assert.deepEqual(client.tunnelLines, [`socks5://${LOOPBACK}:${proxy}`]);
  const reached = await socks(t, proxy, LOOPBACK, echo);
  assert.equal(reached.reply, 0);
  const bytes = NOISE.subarray(0, 1_000_000);
  assert.equal(sha256(await echoBytes(reached.socket, bytes)), sha256(bytes));
  assert.equal((await socks(t, proxy, 'example.com', 80)).reply, 2);
  assert.equal((await socks(t, proxy, '::1', 80)).reply, 2);
  assert.equal((await socks(t, proxy, 'name.invalid', 80)).reply, 4);
  assert.equal((await socks(t, proxy, LOOPBACK, closed)).reply, 5);
});

test('SOCKS: a FIN right behind the request reaches the target, whose answer comes back', async (t) => {
  const target = net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined);
    socket.resume();
    socket.once('end', () => socket.end('heard'));
  });
  target.listen(0, LOOPBACK);
  await once(target, 'listening');
  undoAfter(t, () => {
    target.close();
  });
  const { port } = target.address() as net.AddressInfo;
  const node = await startNode(t, { flags: { 'client-forwarding': `${LOOPBACK}:${port}` } });
  const proxy = await freePort();
  const flags = { 'local-socks': String(proxy) };
  const client = await startLocalClient(t, node, { flags, complains: true });
  await client.log.line('local forward up');
  const socket = await connectTo(t, proxy);
  let read = Buffer.alloc(0);
  socket.on('data', (piece: Buffer) => {
    read = Buffer.concat([read, piece]);
  });
  const ended = once(socket, 'end');
  const address = LOOPBACK.split('.').map(Number);
  socket.write(Buffer.from([5, 1, 0]));
  await eventually(WAIT_MS, 'the method', async () => assert.equal(read.length, 2));
  socket.end(Buffer.from([5, 1, 0, 1, ...address, port >> 8, port & 0xff]));
  await within(WAIT_MS, 'the end of the answer', ended);
  assert.deepEqual([...read.subarray(0, 4)], [5, 0, 5, 0]);
  assert.equal(read.subarray(12).toString(), 'heard');
});

test('a port that is taken ends the start, and names the option', async (t) => {
  const node = await startNode(t, { flags: {} });
  const taken = await startEcho(t);
  const starting = startForward(t, node, `${taken}:example.com:80`);
  await assert.rejects(starting, {
    code: 'SLW_TUNNEL_PORT_TAKEN',
    message: `--local ${taken}:example.com:80: ${LOOPBACK}:${taken} is in use`,
  });
});
