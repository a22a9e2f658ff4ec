// Goal: visitors of TCP and HTTP tunnels reach their upstream whichever shard accepts them, with a
// link on each shard and over the mesh alone. Method: one process, real threads and sockets; enough
// visitors that the kernel, which spreads them at random, has given every shard some.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededNoise, sha256 } from '../support/digest.ts';
import { freePort } from '../support/free-port.ts';
import { startLocalClient, startNode, untilCovered, untilLinks } from '../support/local-tunnel.ts';
import { connectTo, echoBytes, get, startEcho, startHttp } from '../support/upstream.ts';

const HOST = 'site.example.com';
/** With three shards one of them is missed in one run of 60,000. */
const VISITORS = 30;
const NOISE = seededNoise(1, 300_000);

test('a client holds a link on every shard, and visitors of all of them are served', async (t) => {
  const echo = await startEcho(t);
  const site = await startHttp(t, (_request, response) => response.end('hello'));
  const port = await freePort();
  const node = await startNode(t, { flags: { shards: '3' } });
  const { tunnelLines } = await startLocalClient(t, node, {
    flags: { tcp: `${port}=127.0.0.1:${echo}`, upstream: `${HOST}=http://127.0.0.1:${site}` },
  });
  assert.deepEqual(tunnelLines.toSorted(), [
    `http://${HOST} -> http://127.0.0.1:${site}`,
    `tcp://127.0.0.1:${port} -> 127.0.0.1:${echo}`,
  ]);
  await untilCovered(node, HOST, 3);
  for (let visitor = 0; visitor < VISITORS; visitor += 1) {
    const socket = await connectTo(t, port);
    const bytes = NOISE.subarray(0, 1 + visitor * 9_000);
    assert.equal(sha256(await echoBytes(socket, bytes)), sha256(bytes));
    socket.destroy();
    assert.equal((await get(t, { port: node.httpPort, host: HOST })).body, 'hello');
  }
  await node.untilMetric(`sluiceway_streams_open{tunnel="tcp:${port}"}`, (open) => open === 0);
  const { clients, info } = await node.status();
  assert.deepEqual([clients.length, clients[0]?.links, info.shards], [1, 3, 3]);
  assert.deepEqual(clients[0]?.upstreams.toSorted(), [
    `${HOST}=http://127.0.0.1:${site}`,
    `tcp:${port}=127.0.0.1:${echo}`,
  ]);
  const bytes = Array.from({ length: VISITORS }, (_, visitor) => 1 + visitor * 9_000);
  const sum = bytes.reduce((total, each) => total + each, 0);
  const counted = `sluiceway_bytes_total{tunnel="tcp:${port}"`;
  assert.equal(await node.metric(`${counted},direction="in"}`), sum);
  assert.equal(await node.metric(`${counted},direction="out"}`), sum);
});

test('one link serves visitors of every shard over the mesh', async (t) => {
  const echo = await startEcho(t);
  const site = await startHttp(t, (_request, response) => response.end('hello'));
  const port = await freePort();
  const node = await startNode(t, { flags: { shards: '3' } });
  await startLocalClient(t, node, {
    flags: {
      links: '1',
      tcp: `${port}=127.0.0.1:${echo}`,
      upstream: `${HOST}=http://127.0.0.1:${site}`,
    },
  });
  const before = await node.metric('sluiceway_mesh_bytes_total');
  const visitors = Array.from({ length: VISITORS }, async (_, index) => {
    const socket = await connectTo(t, port);
    const bytes = NOISE.subarray(index, NOISE.length - index);
    assert.equal(sha256(await echoBytes(socket, bytes)), sha256(bytes));
    assert.equal((await get(t, { port: node.httpPort, host: HOST })).body, 'hello');
  });
  await Promise.all(visitors);
  assert.equal((await node.status()).clients[0]?.links, 1);
  const crossed = (await node.metric('sluiceway_mesh_bytes_total')) - before;
  t.diagnostic(`${crossed} bytes over the mesh for ${VISITORS} visitors`);
  assert.ok(crossed > NOISE.length, 'no visitor came in on another shard');
});

test('with --reuse-port off one shard accepts, and the other carries nothing', async (t) => {
  const echo = await startEcho(t);
  const port = await freePort();
  const node = await startNode(t, { flags: { shards: '2', 'reuse-port': 'off' } });
  await startLocalClient(t, node, { flags: { tcp: `${port}=127.0.0.1:${echo}` } });
  for (let visitor = 0; visitor < VISITORS; visitor += 1) {
    const socket = await connectTo(t, port);
    assert.equal((await echoBytes(socket, Buffer.from('hi'))).toString(), 'hi');
    socket.destroy();
  }
  assert.equal((await node.status()).clients[0]?.links, 1, 'one shard is told, one link is enough');
  assert.ok((await node.metric('sluiceway_mesh_bytes_total')) < 1_000, 'pings at most');
});

test('an unknown host is 404, a known one without its client 503, and its port closes', async (t) => {
  const echo = await startEcho(t);
  const port = await freePort();
  const node = await startNode(t);
  assert.equal((await get(t, { port: node.httpPort, host: HOST })).status, 404);
  const { client, ended } = await startLocalClient(t, node, {
    flags: { upstream: `${HOST}=http://127.0.0.1:${echo}`, tcp: `${port}=127.0.0.1:${echo}` },
  });
  assert.equal((await node.ask(`/readyz?tunnel=${HOST}`)).status, 200);
  client.stop();
  assert.equal((await ended()).exitCode, 1);
  await untilLinks(node, 0);
  assert.equal((await node.ask(`/readyz?tunnel=tcp:${port}`)).status, 503);
  assert.equal((await get(t, { port: node.httpPort, host: HOST })).status, 503);
  await node.log.line('port closed', { tunnel: `tcp:${port}` });
  await assert.rejects(connectTo(t, port), { code: 'ECONNREFUSED' });
});
