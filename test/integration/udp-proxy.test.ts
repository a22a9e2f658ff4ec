// Goal: with `--udp-proxy-protocol` each datagram tells its upstream who visits, and without it
// none does. Method: a node and clients in this process, real sockets; an upstream that takes
// headers apart by the specification alone ("The PROXY protocol", 2.2) and takes nothing else.

import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import { type TestContext, test } from 'node:test';
import { undoAfter } from '../support/cleanup.ts';
import { LOOPBACK } from '../support/configs.ts';
import { seededNoise } from '../support/digest.ts';
import { freePort } from '../support/free-port.ts';
import { startLocalClient, startNode } from '../support/local-tunnel.ts';
import { startUdp, visitUdp } from '../support/udp.ts';
import { startTcp } from '../support/upstream.ts';

const SIGNATURE = '0d0a0d0a000d0a515549540a';
const NOISE = seededNoise(35, 65_507);
const HEADER4_BYTES = 28;

interface Told {
  readonly family: number;
  readonly from: string;
  readonly to: string;
  readonly payload: Buffer;
}

/** Of a datagram with a header of version 2, command PROXY, UDP, without extensions. */
function takeApart(datagram: Buffer): Told {
  assert.equal(datagram.toString('hex', 0, 12), SIGNATURE);
  assert.equal(datagram[12], 0x21, 'version 2, command PROXY');
  const family = datagram[13] ?? 0;
  assert.ok(family === 0x12 || family === 0x22, `family and transport ${family.toString(16)}`);
  const width = family === 0x12 ? 4 : 16;
  const length = datagram.readUInt16BE(14);
  assert.equal(length, 2 * width + 4);
  const at = (start: number): string => datagram.toString('hex', start, start + width);
  const ports = 16 + 2 * width;
  return {
    family,
    from: `${at(16)} ${datagram.readUInt16BE(ports)}`,
    to: `${at(16 + width)} ${datagram.readUInt16BE(ports + 2)}`,
    payload: datagram.subarray(16 + length),
  };
}

interface Place {
  readonly port: number;
  readonly told: readonly Told[];
}

/** An upstream that answers with what stood behind the header. */
async function startPlace(
  t: TestContext,
  flags: Readonly<Record<string, string>> = {},
): Promise<Place> {
  const told: Told[] = [];
  const upstream = await startUdp(t, (datagram, say) => {
    const one = takeApart(datagram);
    told.push(one);
    say(one.payload);
  });
  const port = await freePort();
  const node = await startNode(t, { flags: { shards: '2', ...flags } });
  const udp = `${port}=${LOOPBACK}:${upstream.port}`;
  await startLocalClient(t, node, { flags: { udp, 'udp-proxy-protocol': 'v2' } });
  return { port, told };
}

test('each datagram has the header of its visitor, whatever its size, and answers have none', async (t) => {
  const { port, told } = await startPlace(t, { 'udp-addr': LOOPBACK });
  const visitors = [await visitUdp(t, port), await visitUdp(t, port, '127.0.0.9')];
  const sizes = [0, 1, 1472, 9000, 65_507 - HEADER4_BYTES];
  for (const visitor of visitors) {
    for (const size of sizes) {
      const sent = NOISE.subarray(0, size);
      assert.deepEqual(await visitor.ask(sent), sent, `${size} bytes`);
    }
  }
  const to = `7f000001 ${port}`;
  const expected = visitors.flatMap(({ socket }, index) =>
    sizes.map((size) => ({
      family: 0x12,
      from: `${['7f000001', '7f000009'][index]} ${socket.address().port}`,
      to,
      payload: NOISE.subarray(0, size),
    })),
  );
  assert.deepEqual(told, expected);
});

test('of a port that is open at every address the header has the number, and zeros', async (t) => {
  const { port, told } = await startPlace(t, { 'udp-addr': '0.0.0.0' });
  await (await visitUdp(t, port)).ask('hello');
  assert.equal(told[0]?.to, `00000000 ${port}`);
});

test('a visitor over IPv6 is told of as one', async (t) => {
  const { port, told } = await startPlace(t, { 'udp-addr': '[::1]' });
  const socket = dgram.createSocket('udp6');
  undoAfter(t, () => void socket.close());
  socket.send('hello', port, '::1');
  const [answer] = await once(socket, 'message');
  assert.equal(String(answer), 'hello');
  const loopback = `${'0'.repeat(31)}1`;
  assert.equal(told[0]?.family, 0x22);
  assert.equal(told[0]?.from, `${loopback} ${socket.address().port}`);
  assert.equal(told[0]?.to, `${loopback} ${port}`);
});

test('a datagram for which the header leaves no room is dropped, and no other', async (t) => {
  const { port, told } = await startPlace(t, { 'udp-addr': LOOPBACK });
  const visitor = await visitUdp(t, port);
  visitor.send(NOISE.subarray(0, 65_507 - HEADER4_BYTES + 1));
  assert.equal(String(await visitor.ask('the next one')), 'the next one');
  assert.equal(told.length, 1);
});

test('the options for TCP and for UDP leave the other kind alone', async (t) => {
  const heard: Buffer[] = [];
  const plain = await startUdp(t);
  const headed = await startUdp(t, (datagram, say) => say(takeApart(datagram).payload));
  const echo = await startTcp(t, (socket) => {
    socket.once('data', (piece: Buffer) => {
      heard.push(piece);
      socket.end();
    });
  });
  const [port, otherPort] = [await freePort(), await freePort()];
  const node = await startNode(t);
  const tunnel = { tcp: `${port}=${LOOPBACK}:${echo}`, udp: `${port}=${LOOPBACK}:${plain.port}` };
  await startLocalClient(t, node, { flags: { ...tunnel, 'proxy-protocol': 'v2' } });
  const other = {
    tcp: `${otherPort}=${LOOPBACK}:${echo}`,
    udp: `${otherPort}=${LOOPBACK}:${headed.port}`,
  };
  await startLocalClient(t, node, { flags: { ...other, 'udp-proxy-protocol': 'v2' } });
  assert.equal(String(await (await visitUdp(t, port)).ask('plain')), 'plain');
  assert.equal(String(await (await visitUdp(t, otherPort)).ask('headed')), 'headed');
  for (const each of [port, otherPort]) {
    const socket = connect(each, LOOPBACK, () => socket.write('hi'));
    socket.resume();
    await once(socket, 'close');
  }
  assert.equal(heard[0]?.toString('hex', 0, 14), `${SIGNATURE}2111`);
  assert.equal(String(heard[1]), 'hi');
});
