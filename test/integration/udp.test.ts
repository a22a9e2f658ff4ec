// Goal: datagrams pass a tunnel with their borders, each visitor gets its own answers, and what
// keeps visitors out, or bounds them, holds for UDP too. Method: a node and clients in this
// process, real sockets; what is counted is read from the metrics.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { Masked } from '../../src/base/masked.ts';
import { connect } from '../../src/client/connect.ts';
import { undoAfter } from '../support/cleanup.ts';
import { LOOPBACK, TOKEN } from '../support/configs.ts';
import { startRelay } from '../support/cut-relay.ts';
import { eventually } from '../support/deadline.ts';
import { seededNoise } from '../support/digest.ts';
import { freePort, freePorts } from '../support/free-port.ts';
import {
  type LocalNode,
  startLocalClient,
  startNode,
  untilCovered,
} from '../support/local-tunnel.ts';
import { scratchFolder } from '../support/programs.ts';
import { startUdp, type UdpUpstream, visitUdp } from '../support/udp.ts';
import { startEcho } from '../support/upstream.ts';

const WAIT_MS = 10_000;
const NOISE = seededNoise(53, 65_507);

interface Place {
  readonly node: LocalNode;
  readonly port: number;
  readonly upstream: UdpUpstream;
}

/** A tunnel to an upstream that says back what it gets. */
async function startPlace(
  t: TestContext,
  flags: Readonly<Record<string, string | readonly string[]>> = {},
  more: Readonly<Record<string, string>> = {},
): Promise<Place> {
  const upstream = await startUdp(t);
  const port = await freePort();
  const node = await startNode(t, { flags, complains: true });
  const udp = `${port}=${LOOPBACK}:${upstream.port}`;
  await startLocalClient(t, node, { flags: { udp, ...more }, complains: true });
  return { node, port, upstream };
}

const dropped = (reason: string): string => `sluiceway_udp_dropped_total{reason="${reason}"}`;

test('datagrams of every size come back whole, and each as one', async (t) => {
  const { node, port, upstream } = await startPlace(t, { shards: '2' });
  const visitor = await visitUdp(t, port);
  for (const size of [0, 1, 1472, 9000, 65_507]) {
    const sent = NOISE.subarray(0, size);
    assert.deepEqual(await visitor.ask(sent), sent, `${size} bytes`);
  }
  assert.equal(visitor.got.length, 5);
  assert.equal(upstream.senders.size, 1, 'one flow, one socket at the client');
  const bytes = 1 + 1472 + 9000 + 65_507 + 5 * 2;
  const labels = (direction: string) => `{tunnel="udp:${port}",direction="${direction}"}`;
  assert.equal(await node.metric(`sluiceway_bytes_total${labels('in')}`), bytes);
  assert.equal(await node.metric(`sluiceway_bytes_total${labels('out')}`), bytes);
  assert.equal(await node.metric('sluiceway_udp_datagrams_total{direction="in"}'), 5);
  assert.equal(await node.metric('sluiceway_udp_datagrams_total{direction="out"}'), 5);
  assert.equal(await node.metric(`sluiceway_streams_open{tunnel="udp:${port}"}`), 1);
});

test('visitors at once get their own answers, over every shard and the mesh', async (t) => {
  const { node, port, upstream } = await startPlace(t, { shards: '2' }, { links: '1' });
  const visits = Array.from({ length: 24 }, async (_, index) => {
    const visitor = await visitUdp(t, port, index % 2 === 0 ? LOOPBACK : '127.0.0.2');
    for (let round = 0; round < 10; round += 1) {
      const said = `visitor ${index}, round ${round}`;
      assert.equal((await visitor.ask(said)).toString(), said);
    }
    assert.equal(visitor.got.length, 10);
  });
  await Promise.all(visits);
  assert.equal(upstream.senders.size, 24);
  assert.ok((await node.metric('sluiceway_mesh_bytes_total')) > 0, 'some came over the mesh');
});

test('TCP and UDP tunnels of one number, a run of ports, and how each is shown', async (t) => {
  const echo = await startEcho(t);
  const upstream = await startUdp(t);
  const first = await freePorts(3);
  const node = await startNode(t);
  const udp = [`${first}=${LOOPBACK}:${upstream.port}`, `${first + 1}-${first + 2}`];
  const tcp = `${first}=${LOOPBACK}:${echo}`;
  const client = await startLocalClient(t, node, { flags: { tcp, udp } });
  const visitor = await visitUdp(t, first);
  assert.equal((await visitor.ask('here')).toString(), 'here');
  assert.deepEqual([...client.tunnelLines].sort(), [
    `tcp://127.0.0.1:${first} -> 127.0.0.1:${echo}`,
    `udp://127.0.0.1:${first} -> 127.0.0.1:${upstream.port}`,
    `udp://127.0.0.1:${first + 1} -> localhost:${first + 1}`,
    `udp://127.0.0.1:${first + 2} -> localhost:${first + 2}`,
  ]);
  const { info, clients } = await node.status();
  assert.match(info.mode, /(^|,)udp(,|$)/u);
  assert.ok(clients[0]?.upstreams.includes(`udp:${first}=127.0.0.1:${upstream.port}`));
  assert.equal((await node.ask(`/readyz?tunnel=udp:${first}`)).status, 200);
  assert.equal((await node.ask('/readyz?tunnel=udp:1')).status, 503);
});

test('an upstream by name is found over IPv4, and one that starts later is reached', async (t) => {
  const upstreamPort = await freePort();
  const port = await freePort();
  const node = await startNode(t);
  const udp = `${port}=localhost:${upstreamPort}`;
  const client = await startLocalClient(t, node, { flags: { udp }, complains: true });
  const visitor = await visitUdp(t, port);
  const open = `sluiceway_streams_open{tunnel="udp:${port}"}`;
  for (let count = 0; count < 3; count += 1) {
    visitor.send('nobody is there');
    await node.untilMetric('sluiceway_udp_datagrams_total{direction="in"}', (n) => n > count);
    assert.equal(await node.metric(open), 1, 'the flow goes on');
  }
  await startUdp(t, undefined, upstreamPort);
  // What was sent before may have been under way.
  await eventually(WAIT_MS, 'an answer', async () => {
    assert.equal((await visitor.ask('somebody is')).toString(), 'somebody is');
  });
  assert.equal(await node.metric(open), 1, 'the same flow');
  assert.deepEqual(client.log.all('link failed'), []);
});

test('a silent flow ends, earlier when its visitor never went on, and begins anew', async (t) => {
  const { node, port, upstream } = await startPlace(t, { 'udp-idle-timeout': '1s' });
  const visitor = await visitUdp(t, port);
  await visitor.ask('one');
  const open = `sluiceway_streams_open{tunnel="udp:${port}"}`;
  assert.equal(await node.metric(open), 1);
  await node.untilMetric(open, (count) => count === 0);
  assert.equal(await node.metric(`sluiceway_streams_total{tunnel="udp:${port}",result="ok"}`), 1);
  await visitor.ask('two');
  assert.equal(upstream.senders.size, 2, 'a flow of its own, with a socket of its own');
});

test('a client with a shorter time ends a flow too, and that is a clean end', async (t) => {
  const { node, port } = await startPlace(t, {}, { 'udp-idle-timeout': '1s' });
  const visitor = await visitUdp(t, port);
  await visitor.ask('one');
  await node.untilMetric(
    `sluiceway_streams_total{tunnel="udp:${port}",result="ok"}`,
    (count) => count === 1,
  );
  assert.equal((await visitor.ask('two')).toString(), 'two');
});

test('when the link stands still the oldest wait no longer, and are counted', async (t) => {
  const upstream = await startUdp(t);
  const port = await freePort();
  const node = await startNode(t, { flags: { shards: '1' }, complains: true });
  const relay = await startRelay(t, node.controlPort);
  const udp = `${port}=${LOOPBACK}:${upstream.port}`;
  const options = { flags: { udp }, port: relay.port, complains: true };
  await startLocalClient(t, node, options);
  const visitor = await visitUdp(t, port);
  await visitor.ask('before');
  relay.freeze();
  let sent = 0;
  await eventually(WAIT_MS, 'the queue is full', async () => {
    // Slowly enough for the kernel to hand all of them on.
    for (let index = 0; index < 40; index += 1) visitor.send(NOISE.subarray(0, 9000));
    sent += 40;
    assert.ok((await node.metric(dropped('queue'))) > 0);
  });
  assert.ok((await node.metric(dropped('queue'))) < sent);
  assert.equal(upstream.received, 1);
});

for (const [who, list] of [
  ['who is not on a list', { 'allow-ips': '127.0.0.1' }],
  ['a denied visitor', { 'deny-ips': '127.0.0.2' }],
] as const) {
  test(`${who} is not answered, is counted, and opens no flow`, async (t) => {
    const { node, port, upstream } = await startPlace(t, list);
    const stranger = await visitUdp(t, port, '127.0.0.2');
    stranger.send('let me in');
    await node.untilMetric('sluiceway_denied_total{list="visitors"}', (count) => count === 1);
    const guest = await visitUdp(t, port);
    assert.equal((await guest.ask('hello')).toString(), 'hello');
    assert.equal(upstream.received, 1);
    assert.equal(stranger.got.length, 0);
  });
}

test("a client's own list keeps visitors from its tunnel", async (t) => {
  const { node, port, upstream } = await startPlace(t, {}, { 'allow-ips': '127.0.0.1' });
  const stranger = await visitUdp(t, port, '127.0.0.2');
  stranger.send('let me in');
  await node.untilMetric('sluiceway_denied_total{list="tunnels"}', (count) => count === 1);
  assert.equal(upstream.received, 0);
});

test('a peer that has to say who visits cannot do so by datagrams', async (t) => {
  const { node, port, upstream } = await startPlace(t, { 'accept-proxy-protocol': '127.0.0.2' });
  const proxy = await visitUdp(t, port, '127.0.0.2');
  proxy.send('on behalf of somebody');
  await node.untilMetric(dropped('proxy'), (count) => count === 1);
  assert.equal(upstream.received, 0);
});

test('flows are bounded, and the oldest that never went on makes room', async (t) => {
  const bounds = { 'udp-flows-max': '4', 'udp-flows-per-ip-max': '3', shards: '1' };
  const { node, port } = await startPlace(t, bounds);
  const open = `sluiceway_streams_open{tunnel="udp:${port}"}`;
  const settled = await visitUdp(t, port);
  await settled.ask('one');
  await settled.ask('two');
  for (let count = 0; count < 5; count += 1) {
    await (await visitUdp(t, port)).ask(`young ${count}`);
  }
  await node.untilMetric(open, (count) => count === 3);
  const others = [await visitUdp(t, port, '127.0.0.2'), await visitUdp(t, port, '127.0.0.3')];
  for (const other of others) {
    await other.ask('one');
    await other.ask('two');
  }
  await node.untilMetric(open, (count) => count === 4);
  assert.equal((await settled.ask('three')).toString(), 'three', 'it was never ended');
  // Whoever is there now has gone on after an answer, but for one young flow, which makes room.
  const last = await visitUdp(t, port, '127.0.0.4');
  await last.ask('one');
  await last.ask('two');
  (await visitUdp(t, port, '127.0.0.5')).send('no room');
  await node.untilMetric(dropped('flows'), (count) => count === 1);
});

test('so many new flows a second, and no more', async (t) => {
  const { node, port } = await startPlace(t, { 'udp-new-flows-per-second-max': '2', shards: '1' });
  for (let count = 0; count < 8; count += 1) (await visitUdp(t, port)).send('new');
  await node.untilMetric(dropped('rate'), (count) => count >= 4);
});

test('a port that is taken or not allowed is refused, with the reason', async (t) => {
  const node = await startNode(t, { flags: { 'udp-ports': '12000-31999' }, complains: true });
  const taken = dgram.createSocket('udp4');
  taken.bind(await freePort(), LOOPBACK);
  await once(taken, 'listening');
  undoAfter(t, () => void taken.close());
  const refusalOf = async (port: number) => {
    const flags = { udp: `${port}=${LOOPBACK}:9` };
    const client = await startLocalClient(t, node, { flags, waits: false, complains: true });
    return await client.log.line('tunnel refused');
  };
  const inUse = await refusalOf(taken.address().port);
  assert.equal(inUse.code, 'SLW_TUNNEL_PORT_TAKEN');
  const outside = await refusalOf(2222);
  assert.equal(outside.code, 'SLW_TUNNEL_PORT_NOT_ALLOWED');
  assert.match(String(outside.reason), /outside --udp-ports: 2222/u);
});

test('--tcp-ports holds for UDP too, unless --udp-ports is given', async (t) => {
  const node = await startNode(t, { flags: { 'tcp-ports': '1024-1025' }, complains: true });
  const flags = { udp: `${await freePort()}=${LOOPBACK}:9` };
  const client = await startLocalClient(t, node, { flags, waits: false, complains: true });
  assert.equal((await client.log.line('tunnel refused')).code, 'SLW_TUNNEL_PORT_NOT_ALLOWED');
});

test('a token serves the UDP ports that it names, and none by its TCP ports', async (t) => {
  const file = path.join(scratchFolder(t), 'tokens.yaml');
  const upstream = await startUdp(t);
  const port = await freePort();
  const entry = (name: string, rule: string): string => {
    const hash = createHash('sha256').update(name.repeat(20)).digest('hex');
    return `  - { name: ${name}, hashes: ["sha256:${hash}"], ${rule} }\n`;
  };
  const rules = [entry('tcp', `ports: [${port}]`), entry('udp', `udp-ports: [${port}]`)];
  writeFileSync(file, `tokens:\n${rules.join('')}`);
  const node = await startNode(t, { config: { tokensFile: file }, complains: true });
  const flags = { udp: `${port}=${LOOPBACK}:${upstream.port}` };
  const start = (name: string) => {
    const config = { token: new Masked(name.repeat(20)) };
    return startLocalClient(t, node, { flags, config, waits: false, complains: true });
  };
  const refused = await start('tcp');
  assert.equal((await refused.log.line('tunnel refused')).code, 'SLW_TUNNEL_NOT_ALLOWED');
  const served = await start('udp');
  await served.log.line('tunnel up');
  const visitor = await visitUdp(t, port);
  assert.equal((await visitor.ask('hello')).toString(), 'hello');
});

test('a visitor whose client is replaced goes on with the other one', async (t) => {
  const { node, port, upstream } = await startPlace(t, { shards: '2' });
  const visitor = await visitUdp(t, port);
  await visitor.ask('one');
  const udp = `${port}=${LOOPBACK}:${upstream.port}`;
  const flags = { udp, id: 'second' };
  const second = await startLocalClient(t, node, { flags, complains: true });
  await untilCovered(node, `udp:${port}`, 2, 'second');
  assert.equal((await visitor.ask('two')).toString(), 'two');
  second.client.stop();
  await second.ended();
  await eventually(WAIT_MS, 'served by who is left', async () => {
    assert.equal((await visitor.ask('three')).toString(), 'three');
  });
});

test('the last client goes, and the port with it', async (t) => {
  const upstream = await startUdp(t);
  const port = await freePort();
  const node = await startNode(t, { complains: true });
  const udp = `${port}=${LOOPBACK}:${upstream.port}`;
  const client = await startLocalClient(t, node, { flags: { udp } });
  const visitor = await visitUdp(t, port);
  await visitor.ask('one');
  client.client.drain();
  assert.equal((await client.ended()).exitCode, 0, 'a silent flow holds no drain up');
  await node.log.line('port closed', { tunnel: `udp:${port}` });
  const free = dgram.createSocket('udp4');
  free.bind(port, LOOPBACK);
  await once(free, 'listening');
  free.close();
  assert.equal(visitor.got.length, 1);
});

test('a drain waits for answers that are under way, and for no silent flow', async (t) => {
  const upstream = await startUdp(t, (datagram, say) => void setTimeout(say, 500, datagram));
  const port = await freePort();
  const node = await startNode(t, { flags: { 'drain-timeout': '20s' }, complains: true });
  const udp = `${port}=${LOOPBACK}:${upstream.port}`;
  await startLocalClient(t, node, { flags: { udp }, complains: true });
  const visitor = await visitUdp(t, port);
  visitor.send('slow');
  await eventually(WAIT_MS, 'the upstream has it', async () => assert.equal(upstream.received, 1));
  const startMs = performance.now();
  node.node.drain();
  await visitor.until(1);
  await node.node.closed;
  assert.ok(performance.now() - startMs < 10_000, 'long before --drain-timeout');
});

test('the library serves datagrams', async (t) => {
  const upstream = await startUdp(t);
  const port = await freePort();
  const node = await startNode(t);
  const tunnel = await connect({
    url: `ws://${LOOPBACK}:${node.controlPort}`,
    token: TOKEN,
    udp: { [port]: `${LOOPBACK}:${upstream.port}` },
  });
  undoAfter(t, () => tunnel.close());
  assert.deepEqual(tunnel.urls, [`udp://127.0.0.1:${port}`]);
  const visitor = await visitUdp(t, port);
  assert.equal((await visitor.ask('from a program')).toString(), 'from a program');
});
