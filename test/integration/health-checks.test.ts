// Goal: a client whose upstream is not well gets no visitors, and gets them again when it is; a TCP
// port closes with its last upstream. Method: a node and two clients in this process, upstreams
// that can be made ill.

import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:net';
import { type TestContext, test } from 'node:test';
import { undoAfter } from '../support/cleanup.ts';
import { eventually } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { startLocalClient, startNode } from '../support/local-tunnel.ts';
import { connectTo, echoOnce, get, startHttp } from '../support/upstream.ts';

const HOST = 'site.example.com';
const WAIT_MS = 15_000;
const FAST = { 'health-check-interval': '100ms', 'health-check-fall': '2' };

test('an ill upstream is withdrawn from its client alone, and comes back', async (t) => {
  const node = await startNode(t, { flags: { shards: '2' } });
  const state = { a: 200, b: 200 };
  const asked: string[] = [];
  for (const name of ['a', 'b'] as const) {
    const port = await startHttp(t, (request, response) => {
      if (request.url === '/healthz') {
        asked.push(`${name} ${request.headers.host}`);
        response.writeHead(state[name]).end();
      } else response.end(name);
    });
    const client = await startLocalClient(t, node, {
      flags: {
        ...FAST,
        ...{ id: name, upstream: `${HOST}=http://127.0.0.1:${port};health-check=http:/healthz` },
      },
      complains: true,
    });
    await client.log.line('upstream is well');
  }
  const visitors = async (): Promise<Set<string>> => {
    const seen = new Set<string>();
    for (let visit = 0; visit < 20; visit += 1) {
      const { status, body } = await get(t, { port: node.httpPort, host: HOST });
      seen.add(`${status} ${body}`);
    }
    return seen;
  };
  const until = async (wanted: readonly string[]): Promise<void> => {
    await eventually(WAIT_MS, `visitors get ${wanted.join(' and ')}`, async () => {
      assert.deepEqual([...(await visitors())].toSorted(), wanted);
    });
  };
  await until(['200 a', '200 b']);
  state.a = 503;
  await until(['200 b']);
  assert.equal(await node.metric(`sluiceway_tunnel_clients{tunnel="${HOST}"}`), 1);
  state.b = 500;
  await eventually(WAIT_MS, 'nobody is left', async () => {
    assert.equal((await get(t, { port: node.httpPort, host: HOST })).status, 503);
  });
  const { clients } = await node.status();
  assert.deepEqual(
    clients.map(({ upstreams }) => upstreams),
    [[], []],
  );
  assert.equal(await node.metric(`sluiceway_tunnel_clients{tunnel="${HOST}"}`), 0);
  state.a = 204;
  state.b = 302;
  await until(['200 a', '200 b']);
  assert.ok(asked.every((line) => / 127\.0\.0\.1(:\d+)?$/u.test(line)));
});

async function startEcho(t: TestContext, port: number): Promise<Server> {
  const server = createServer((socket) => socket.on('error', () => {}).pipe(socket));
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  undoAfter(t, () => {
    server.close();
  });
  return server;
}

test('the port of a TCP tunnel is open while its upstream is', async (t) => {
  const node = await startNode(t);
  const [port, upstream] = [await freePort(), await freePort()];
  const client = await startLocalClient(t, node, {
    flags: { ...FAST, 'health-check': 'tcp', tcp: `${port}=127.0.0.1:${upstream}` },
    ...{ complains: true, waits: false },
  });
  await client.log.line('upstream is not well, withdrawn');
  await assert.rejects(connectTo(t, port), { code: 'ECONNREFUSED' });
  for (let round = 0; round < 2; round += 1) {
    const server = await startEcho(t, upstream);
    await eventually(WAIT_MS, 'the port opens', async () => {
      const socket = await connectTo(t, port);
      assert.equal(await echoOnce(socket, 'hello'), 'hello');
      socket.destroy();
    });
    server.close();
    await eventually(WAIT_MS, 'the port closes', async () => {
      await assert.rejects(connectTo(t, port), { code: 'ECONNREFUSED' });
    });
  }
  assert.ok(client.tunnelLines.length >= 2, 'told each time that it is up');
});
