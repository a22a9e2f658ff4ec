// Goal: clients connect on the ports of visitors, with --control-on-https and --control-on-http,
// beside tunnels that serve as before, a /connect of their own included; what keeps clients out
// does so there. Method: real processes, curl and a WebSocket client as visitors.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import path from 'node:path';
import type { Duplex } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';
import { undoAfter } from '../support/cleanup.ts';
import { within } from '../support/deadline.ts';
import { leafOf, newAuthority } from '../support/private-pki.ts';
import { runProgram } from '../support/process.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';
import {
  ENTRY,
  environment,
  listeningPort,
  startClient,
  startServer,
  type TestServer,
} from '../support/tunnel.ts';
import { get } from '../support/upstream.ts';

const WAIT_MS = 15_000;
const HOST = 'exit.example.com';

/** A site that answers requests, and echoes on a WebSocket at /connect. */
async function startSite(t: TestContext): Promise<number> {
  const server = createServer((_request, response) => response.end('the site'));
  const sockets = new WebSocketServer({ server, path: '/connect' });
  sockets.on('connection', (socket) => {
    socket.on('message', (data) => socket.send(`echo ${String(data)}`));
  });
  undoAfter(t, () => {
    sockets.close();
    server.closeAllConnections();
    server.close();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as { readonly port: number }).port;
}

/** Knows every name as this machine: clients dial by the name of the certificate. */
async function startProxy(t: TestContext): Promise<number> {
  const server = createServer();
  server.on('connect', (request, near: Duplex) => {
    const far = connect(Number((request.url ?? '').split(':')[1]), '127.0.0.1', () => {
      near.write('HTTP/1.1 200 OK\r\n\r\n');
      near.pipe(far).pipe(near);
    });
    near.on('error', () => far.destroy());
    far.on('error', () => near.destroy());
  });
  undoAfter(t, () => {
    server.closeAllConnections();
    server.close();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as { readonly port: number }).port;
}

interface Place {
  readonly server: TestServer;
  readonly port: number;
  readonly url: string;
  /** To trust it. */
  readonly trust: readonly string[];
  readonly ca: string | undefined;
}

async function startPlace(
  t: TestContext,
  scheme: 'http' | 'https',
  more: readonly string[] = [],
): Promise<Place> {
  if (scheme === 'http') {
    const server = await startServer(t, { args: ['--control-on-http', ...more] });
    const url = `ws://127.0.0.1:${server.httpPort}`;
    return { server, port: server.httpPort, url, trust: [], ca: undefined };
  }
  const folder = scratchFolder(t);
  const file = (name: string): string => path.join(folder, name);
  const authority = await newAuthority();
  const leaf = await leafOf(authority, { names: [HOST] });
  writeFileSync(file('ca.pem'), authority.cert);
  writeFileSync(file('cert.pem'), leaf.cert);
  writeFileSync(file('key.pem'), leaf.key);
  const server = await startServer(t, {
    args: [
      ...['--control-on-https', '--https-addr', '127.0.0.1:0', ...more],
      ...['--https-cert', `${HOST}=${file('cert.pem')},${file('key.pem')}`],
    ],
  });
  const port = await listeningPort(server.process, 'https');
  const proxy = `http://127.0.0.1:${await startProxy(t)}`;
  const trust = ['--tls-ca', file('ca.pem'), '--proxy', proxy];
  return { server, port, url: `wss://${HOST}:${port}`, trust, ca: file('ca.pem') };
}

for (const scheme of ['http', 'https'] as const) {
  test(`links on the ${scheme} port, beside its tunnels`, async (t) => {
    const programs = requirePrograms(t, ['curl']);
    if (programs === undefined) return;
    const place = await startPlace(t, scheme);
    const site = await startSite(t);
    const upstream = `${HOST}=http://127.0.0.1:${site}`;
    const args = ['--upstream', upstream, '--upstream', `*=http://127.0.0.1:${site}`];
    await startClient(t, place.server, { url: place.url, args: [...args, ...place.trust] });

    const page = await get(t, { port: place.server.httpPort, host: HOST });
    assert.equal(page.body, 'the site');
    const trust = place.ca === undefined ? [] : ['--cacert', place.ca];
    const run = await runProgram(t, {
      command: programs.curl,
      args: [
        ...['-sS', '--resolve', `${HOST}:${place.port}:127.0.0.1`, ...trust],
        `${scheme}://${HOST}:${place.port}/connect`,
      ],
    });
    // 426: the site's own answer to a request at the place of its WebSocket.
    assert.match(run.stdout, /Upgrade Required|the site/u, run.stderr);

    const ca = place.ca === undefined ? {} : { ca: readFileSync(place.ca) };
    const socket = new WebSocket(
      `${scheme === 'https' ? 'wss' : 'ws'}://127.0.0.1:${place.port}/connect`,
      ['chat', 'sluiceway.2'],
      Object.assign({ headers: { host: HOST } }, { ...ca, servername: HOST }),
    );
    undoAfter(t, () => socket.terminate());
    await within(WAIT_MS, 'the WebSocket of the site', once(socket, 'open'));
    socket.send('hello');
    const [data] = await within(WAIT_MS, 'its echo', once(socket, 'message'));
    assert.equal(String(data), 'echo hello');
  });

  test(`a wrong token on the ${scheme} port is refused, and so is an address`, async (t) => {
    const place = await startPlace(t, scheme);
    const client = (url: string, env: Readonly<Record<string, string>> = {}) =>
      runProgram(t, {
        command: process.execPath,
        args: [ENTRY, 'client', '--url', url, '--tcp', '2222', '--once', ...place.trust],
        env: environment(env),
      });
    const wrong = await client(place.url, { SLUICEWAY_TOKEN: 'not-the-token-0123456789' });
    assert.equal(wrong.code, 3, wrong.stderr);
    const closed = await startPlace(t, scheme, ['--control-allow-ips', '192.0.2.0/24']);
    const denied = await runProgram(t, {
      command: process.execPath,
      args: [ENTRY, 'client', '--url', closed.url, '--tcp', '2222', '--once', ...closed.trust],
      env: environment(),
    });
    assert.equal(denied.code, 1, denied.stderr);
  });
}

test('without the option the ports of visitors take no link', async (t) => {
  const server = await startServer(t);
  const run = await runProgram(t, {
    command: process.execPath,
    args: [
      ...[ENTRY, 'client', '--url', `ws://127.0.0.1:${server.httpPort}`, '--tcp', '2222', '--once'],
    ],
    env: environment(),
  });
  assert.equal(run.code, 1, run.stderr);
  assert.match(run.stderr, /answered 404, not a WebSocket/u);
});
