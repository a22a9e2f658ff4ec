// Goal: visitors reach upstreams of every kind: a Unix socket over HTTP and TCP, and a run of
// ports; a health check looks at a socket, too. Method: a node and a client in this process.

import assert from 'node:assert/strict';
import { createServer as createHttp } from 'node:http';
import { createServer, type Server } from 'node:net';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { undoAfter } from '../support/cleanup.ts';
import { seededNoise, sha256 } from '../support/digest.ts';
import { freePort, freePorts } from '../support/free-port.ts';
import { startLocalClient, startNode } from '../support/local-tunnel.ts';
import { scratchFolder } from '../support/programs.ts';
import { connectTo, echoBytes, echoOnce, get } from '../support/upstream.ts';

async function listenOn(t: TestContext, server: Server, where: string | number): Promise<void> {
  const place = typeof where === 'string' ? { path: where } : { port: where, host: '127.0.0.1' };
  await new Promise<void>((resolve) => server.listen(place, resolve));
  undoAfter(t, () => {
    server.close();
  });
}

const echo = (): Server =>
  createServer({ allowHalfOpen: true }, (socket) => socket.on('error', () => {}).pipe(socket));

test('a Unix socket behind HTTP and TCP tunnels, with its health checked', async (t) => {
  const folder = scratchFolder(t);
  const [web, raw] = [path.join(folder, 'web.sock'), path.join(folder, 'raw.sock')];
  const site = createHttp((request, response) => response.end(`socket ${request.url}`));
  await listenOn(t, site, web);
  undoAfter(t, () => site.closeAllConnections());
  await listenOn(t, echo(), raw);
  const node = await startNode(t);
  const port = await freePort();
  const client = await startLocalClient(t, node, {
    flags: {
      upstream: `site.example.com=unix:${web};health-check=http:/healthz`,
      tcp: `${port}=unix:${raw};health-check=tcp`,
    },
  });
  assert.deepEqual(client.tunnelLines.toSorted(), [
    `http://site.example.com -> unix:${web}`,
    `tcp://127.0.0.1:${port} -> unix:${raw}`,
  ]);
  const page = await get(t, { port: node.httpPort, host: 'site.example.com', path: '/a?b' });
  assert.equal(page.body, 'socket /a?b');
  const bytes = seededNoise(3, 3_000_000);
  const socket = await connectTo(t, port);
  assert.equal(sha256(await echoBytes(socket, bytes)), sha256(bytes));
  // Half-close passes.
  const ended = new Promise((resolve) => socket.once('end', resolve));
  socket.end();
  socket.resume();
  await ended;
  // A visitor's reset reaches the socket as an end, for it has nothing else.
  const cut = await connectTo(t, port);
  assert.equal(await echoOnce(cut, 'x'), 'x');
  cut.resetAndDestroy();
  await node.untilMetric(`sluiceway_streams_open{tunnel="tcp:${port}"}`, (open) => open === 0);
});

test('a socket that is not there is a 502', async (t) => {
  const node = await startNode(t);
  await startLocalClient(t, node, { flags: { upstream: 'site.example.com=unix:/nowhere/a.sock' } });
  const page = await get(t, { port: node.httpPort, host: 'site.example.com' });
  assert.equal(page.status, 502);
});

test('a run of ports is a tunnel each', async (t) => {
  const node = await startNode(t);
  const count = 3;
  const [first, upstream] = [await freePorts(count), await freePorts(count)];
  for (let index = 0; index < count; index += 1) {
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.end(`port ${index}`);
    });
    await listenOn(t, server, upstream + index);
  }
  const tcp = `${first}-${first + count - 1}=127.0.0.1:${upstream}-${upstream + count - 1}`;
  const client = await startLocalClient(t, node, { flags: { tcp } });
  assert.equal(client.tunnelLines.length, count);
  for (let index = 0; index < count; index += 1) {
    const socket = await connectTo(t, first + index);
    const [piece] = (await new Promise<Buffer[]>((resolve) => {
      socket.once('data', (data: Buffer) => resolve([data]));
    })) as [Buffer];
    assert.equal(piece.toString(), `port ${index}`);
  }
});
