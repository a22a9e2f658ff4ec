// Goal: clients come, are replaced, balanced, told to go and refused, and each leaves nothing
// behind. Method: an exit node and several clients in one process; links run through a relay where
// a test cuts them.

import assert from 'node:assert/strict';
import type net from 'node:net';
import { type TestContext, test } from 'node:test';
import { TOKEN } from '../support/configs.ts';
import { startRelay } from '../support/cut-relay.ts';
import { eventually } from '../support/deadline.ts';
import { seededRandom } from '../support/digest.ts';
import { freePort } from '../support/free-port.ts';
import {
  type LocalNode,
  startLocalClient,
  startNode,
  untilLinks,
} from '../support/local-tunnel.ts';
import { connectTo, echoBytes, startTcp } from '../support/upstream.ts';

/** An upstream that tells every visitor its name, then echoes. */
function startNamed(t: TestContext, name: string): Promise<number> {
  return startTcp(t, (socket) => {
    socket.write(name);
    socket.pipe(socket);
  });
}

/** Connects a visitor and reads which upstream serves it. */
async function visit(t: TestContext, port: number): Promise<{ name: string; socket: net.Socket }> {
  const socket = await connectTo(t, port);
  return { name: (await echoBytes(socket, Buffer.from('?'))).toString()[0] ?? '', socket };
}

test('a new instance of a client takes its tunnels over at once', async (t) => {
  const [old, young] = await Promise.all([startNamed(t, 'a'), startNamed(t, 'b')]);
  const port = await freePort();
  const node = await startNode(t);
  const first = await startLocalClient(t, node, {
    flags: { id: 'the-client', tcp: `${port}=127.0.0.1:${old}` },
    complains: true,
  });
  await untilLinks(node, 2);
  assert.equal((await visit(t, port)).name, 'a');
  await startLocalClient(t, node, {
    flags: { id: 'the-client', tcp: `${port}=127.0.0.1:${young}` },
  });
  const ending = await first.ended();
  assert.equal(ending.exitCode, 1);
  assert.match(ending.message ?? '', /a new client with the same id took over.*--id/);
  await untilLinks(node, 2);
  for (let visitor = 0; visitor < 12; visitor += 1) {
    assert.equal((await visit(t, port)).name, 'b');
  }
  const { clients } = await node.status();
  assert.deepEqual(
    clients.map(({ clientID, upstreams }) => [clientID, upstreams]),
    [['the-client', [`tcp:${port}=127.0.0.1:${young}`]]],
  );
  assert.equal(await node.metric('sluiceway_clients'), 1);
  assert.equal(await node.metric('sluiceway_client_connects_total{client="the-client"}'), 2);
});

test('two clients on one port are balanced by streams, and one that dies leaves at once', async (t) => {
  const [a, b] = await Promise.all([startNamed(t, 'a'), startNamed(t, 'b')]);
  const port = await freePort();
  const node = await startNode(t, { flags: { shards: '1' } });
  await startLocalClient(t, node, { flags: { id: 'a', tcp: `${port}=127.0.0.1:${a}` } });
  const relay = await startRelay(t, node.controlPort);
  await startLocalClient(t, node, {
    flags: { id: 'b', tcp: `${port}=127.0.0.1:${b}` },
    port: relay.port,
    complains: true,
  });
  const visits: Awaited<ReturnType<typeof visit>>[] = [];
  for (let visitor = 0; visitor < 20; visitor += 1) visits.push(await visit(t, port));
  const served = Object.groupBy(visits, ({ name }) => name);
  assert.deepEqual([served.a?.length, served.b?.length], [10, 10], 'least streams, ties in turn');
  const lost = (served.b ?? []).map(({ socket }) => closing(socket));
  relay.goDown();
  assert.deepEqual(new Set(await Promise.all(lost)), new Set(['ECONNRESET']));
  for (let visitor = 0; visitor < 10; visitor += 1) {
    assert.equal((await visit(t, port)).name, 'a');
  }
  for (const { socket } of served.a ?? []) {
    assert.equal((await echoBytes(socket, Buffer.from('still here'))).toString(), 'still here');
  }
});

/** How a visitor's socket ends: an error's code, or `clean`. */
function closing(socket: net.Socket): Promise<string> {
  return new Promise((resolve) => {
    socket.once('end', () => resolve('clean'));
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'unknown'));
  });
}

test('a wrong token ends the client with code 3 and advice, and is counted', async (t) => {
  const node = await startNode(t, { complains: true });
  const { ended } = await startLocalClient(t, node, {
    flags: { token: `${TOKEN}x`, tcp: '2222' },
    complains: true,
    waits: false,
  });
  const { exitCode, message } = await ended();
  assert.equal(exitCode, 3);
  assert.match(message ?? '', /authentication refused.*401.*--token/);
  assert.equal(await node.metric('sluiceway_auth_failures_total{reason="wrong"}'), 1);
  const refused = 'controlplane_requests_total{code="401",path="/connect"}';
  await node.untilMetric(`http_${refused}`, (count) => count === 1);
  assert.equal(await node.metric('sluiceway_links'), 0);
});

test('a client whose links are cut dials again, and its tunnels return', async (t) => {
  const upstream = await startNamed(t, 'a');
  const port = await freePort();
  const node = await startNode(t);
  const relay = await startRelay(t, node.controlPort);
  const client = await startLocalClient(t, node, {
    flags: { tcp: `${port}=127.0.0.1:${upstream}` },
    port: relay.port,
    complains: true,
  });
  // Several times, because some mistakes only show then.
  for (let round = 0; round < 3; round += 1) {
    await untilLinks(node, 2);
    assert.equal((await visit(t, port)).name, 'a');
    const links = node.log.all('tunnel up').length;
    relay.cut();
    // That there was none may last for a few milliseconds only.
    await eventually(10_000, 'two links are new', async () => {
      assert.ok(node.log.all('tunnel up').length >= links + 2);
    });
  }
  await untilLinks(node, 2);
  assert.equal((await visit(t, port)).name, 'a');
  assert.equal(client.tunnelLines.length, 1, 'its user is told once');
  const { clients } = await node.status();
  assert.equal(clients.length, 1);
});

test('links that went silent are found dead on both sides, and replaced without leftovers', async (t) => {
  const upstream = await startNamed(t, 'a');
  const port = await freePort();
  const times = { 'link-ping-interval': '500ms', 'link-dead-after': '1500ms' };
  const node = await startNode(t, { flags: times, complains: true });
  const relay = await startRelay(t, node.controlPort);
  await startLocalClient(t, node, {
    flags: { ...times, tcp: `${port}=127.0.0.1:${upstream}` },
    port: relay.port,
    complains: true,
  });
  for (let round = 0; round < 2; round += 1) {
    await untilLinks(node, 2);
    assert.equal((await visit(t, port)).name, 'a');
    const before = new Set(relay.connections());
    relay.freeze();
    // Four for a moment, while the server has not yet found the old ones dead.
    await eventually(10_000, 'the silent links are gone', async () => {
      assert.ok(relay.connections().every((pair) => !before.has(pair)));
    });
    // A link in search of the other shard counts for a moment too.
    await eventually(10_000, 'one client with two links', async () => {
      const { clients } = await node.status();
      assert.deepEqual([clients.length, clients[0]?.links], [1, 2]);
    });
    assert.equal((await visit(t, port)).name, 'a');
  }
});

test('a link cut at any byte of its greeting leaves nothing behind', async (t) => {
  const seed = 20;
  const random = seededRandom(seed);
  const upstream = await startNamed(t, 'a');
  const port = await freePort();
  const node = await startNode(t);
  for (let round = 0; round < 20; round += 1) {
    // The greeting has some 900 bytes up and 600 down.
    const cutAt = Math.floor(random() * 900);
    const relay = await startRelay(
      t,
      node.controlPort,
      round % 2 === 0 ? { upBytes: cutAt } : { downBytes: cutAt },
    );
    const client = await startLocalClient(t, node, {
      flags: { once: true, links: '1', tcp: `${port}=127.0.0.1:${upstream}` },
      port: relay.port,
      complains: true,
      waits: false,
      // Some come far enough to register.
      onTunnelUp: () => relay.goDown(),
    });
    const { exitCode } = await client.ended();
    assert.equal(exitCode, 1, `seed ${seed}, round ${round}: cut at ${cutAt}`);
  }
  await node.untilMetric('sluiceway_clients', (count) => count === 0);
  assert.equal(await node.metric('sluiceway_links'), 0);
  assert.deepEqual((await node.status()).clients, []);
  await assert.rejects(connectTo(t, port), { code: 'ECONNREFUSED' });
  await serves(t, node, { port, upstream });
});

async function serves(
  t: TestContext,
  node: LocalNode,
  { port, upstream }: { port: number; upstream: number },
): Promise<void> {
  await startLocalClient(t, node, { flags: { tcp: `${port}=127.0.0.1:${upstream}` } });
  assert.equal((await visit(t, port)).name, 'a');
}

test('a client that lost its links before the server did is served by its new ones', async (t) => {
  const upstream = await startNamed(t, 'a');
  const port = await freePort();
  const node = await startNode(t, { complains: true });
  const relay = await startRelay(t, node.controlPort);
  await startLocalClient(t, node, {
    flags: { tcp: `${port}=127.0.0.1:${upstream}` },
    port: relay.port,
    complains: true,
  });
  await untilLinks(node, 2);
  const before = new Set(relay.connections());
  relay.cutClients();
  // Long before --link-dead-after, which is 30 s.
  await eventually(18_000, 'the old links are known to be dead', async () => {
    assert.ok(relay.connections().every((pair) => !before.has(pair)));
  });
  await untilLinks(node, 2);
  for (let visitor = 0; visitor < 6; visitor += 1) {
    assert.equal((await visit(t, port)).name, 'a');
  }
});

test('visitors of every shard go round a link that may be gone, while there is another', async (t) => {
  const upstream = await startNamed(t, 'a');
  const port = await freePort();
  const node = await startNode(t, { flags: { shards: '3' }, complains: true });
  const relay = await startRelay(t, node.controlPort);
  await startLocalClient(t, node, {
    flags: { links: '1', tcp: `${port}=127.0.0.1:${upstream}` },
    port: relay.port,
    complains: true,
  });
  const before = new Set(relay.connections());
  relay.cutClients();
  await eventually(10_000, 'it has dialled anew, and is served', async () => {
    assert.equal(node.log.all('tunnel up').length, 2);
  });
  // By 1 of 3 shards each, so that some of them come where neither of the two links is.
  for (let visitor = 0; visitor < 24; visitor += 1) {
    assert.equal((await visit(t, port)).name, 'a');
  }
  assert.ok(
    relay.connections().some((pair) => before.has(pair)),
    'the old link is there yet',
  );
});
