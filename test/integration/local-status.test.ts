// Goal: a client tells its own user how it is, and nobody else; without a folder that is closed to
// others it goes on without. Method: a node and clients in this process, asked as the command asks.

import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { askLocalForText } from '../../src/cli/commands/status-local.ts';
import type { LocalStatus } from '../../src/client/local-status.ts';
import { undoAfter } from '../support/cleanup.ts';
import { LOOPBACK } from '../support/configs.ts';
import { startRelay } from '../support/cut-relay.ts';
import { eventually } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { type LocalNode, startLocalClient, startNode } from '../support/local-tunnel.ts';
import { startPlainServer } from '../support/plain-server.ts';
import { scratchFolder } from '../support/programs.ts';
import { connectTo, echoBytes, startEcho } from '../support/upstream.ts';

const WAIT_MS = 10_000;

interface Scene {
  readonly node: LocalNode;
  readonly folder: string;
  readonly port: number;
}

async function scene(t: TestContext, folder: string): Promise<Scene> {
  const node = await startNode(t, { complains: true });
  const port = await freePort();
  const flags = {
    ...{ tcp: `${port}=${LOOPBACK}:${await startEcho(t)}`, id: 'told', links: '2' },
    'status-dir': folder,
  };
  await startLocalClient(t, node, { flags, complains: true });
  return { node, folder, port };
}

async function ask(folder: string): Promise<LocalStatus[]> {
  return JSON.parse(await askLocalForText({ folder, json: true })) as LocalStatus[];
}

/** The socket is opened once the client runs. */
async function untilTold(folder: string): Promise<LocalStatus> {
  let found: LocalStatus | undefined;
  await eventually(WAIT_MS, 'the client answers', async () => {
    [found] = await ask(folder);
    assert.equal(found?.servers[0]?.state, 'connected');
    assert.equal(found.servers[0]?.links.filter(({ state }) => state === 'up').length, 2);
  });
  assert.ok(found !== undefined);
  return found;
}

test('servers, links, tunnels and what went through, as JSON and for a person', async (t) => {
  const on = await scene(t, path.join(scratchFolder(t), 'run'));
  const socket = await connectTo(t, on.port);
  await echoBytes(socket, Buffer.alloc(5000, 'x'));
  const status = await untilTold(on.folder);
  assert.deepEqual([status.clientID, status.pid, status.state], ['told', process.pid, 'running']);
  const [server] = status.servers;
  assert.equal(server?.lastError, '');
  assert.deepEqual(
    server?.tunnels.map(({ name, state }) => [name, state]),
    [[`tcp:${on.port}`, 'up']],
  );
  const sum = (of: 'streams' | 'bytesIn' | 'bytesOut'): number =>
    (server?.links ?? []).reduce((total, link) => total + link[of], 0);
  assert.deepEqual([sum('streams'), sum('bytesIn'), sum('bytesOut')], [1, 5000, 5000]);
  const text = await askLocalForText({ folder: on.folder, json: false });
  assert.match(text, /^Client told, process \d+, version \S+: running for /u);
  assert.match(text, /ws:\/\/127\.0\.0\.1:\d+\S*\s+connected\s+2\s/u);
  assert.doesNotMatch(JSON.stringify(status) + text, /integration-token/u);
});

test('why and when an upstream could not be connected to, last', async (t) => {
  const folder = path.join(scratchFolder(t), 'run');
  const node = await startNode(t, { complains: true });
  const [good, bad] = [await freePort(), await freePort()];
  const tcp = `${good}=${LOOPBACK}:${await startEcho(t)},${bad}=${LOOPBACK}:${await freePort()}`;
  const flags = { tcp, 'status-dir': folder };
  await startLocalClient(t, node, { flags, complains: true });
  const errors = async (): Promise<unknown[]> => {
    const [status] = await ask(folder);
    return (status?.servers[0]?.tunnels ?? []).map(({ upstreamError }) => upstreamError?.code);
  };
  await eventually(WAIT_MS, 'it answers', async () => {
    assert.deepEqual(await errors(), [undefined, undefined]);
  });
  const beforeMs = Date.now();
  await echoBytes(await connectTo(t, good), Buffer.from('x'));
  (await connectTo(t, bad)).on('error', () => {});
  await eventually(WAIT_MS, 'it is told', async () => {
    assert.deepEqual(await errors(), [undefined, 'ECONNREFUSED']);
  });
  const time = (await ask(folder))[0]?.servers[0]?.tunnels[1]?.upstreamError?.time ?? '';
  assert.ok(Date.parse(time) >= beforeMs && Date.parse(time) <= Date.now(), time);
  const text = await askLocalForText({ folder, json: false });
  assert.match(text, /^Tunnel +State +Server +Upstream error$/mu);
  assert.match(text, / up +ws:\S+ +-\n/u);
  assert.match(text, / up +ws:\S+ +ECONNREFUSED, \d+ seconds? ago\n/u);
});

test('a tunnel that another link serves is not refused by one that goes', async (t) => {
  const folder = path.join(scratchFolder(t), 'run');
  const [served, later] = ['tcp:2222', 'tcp:2223'];
  // A link whose routes were taken back is told so of what it offers, until its GOAWAY is there.
  const controlPort = await startPlainServer(t, (_tunnels, link) => {
    if (link === 0) return [{ name: served, code: '', reason: '' }];
    const code = 'SLW_LINK_LOST';
    return [served, later].map((name) => ({ name, code: name === served ? code : '', reason: '' }));
  });
  const flags = { tcp: '2222=127.0.0.1:22,2223=127.0.0.1:23', links: '2', 'status-dir': folder };
  const client = await startLocalClient(t, { controlPort }, { flags });
  assert.deepEqual(
    client.events.filter(({ event }) => event === 'tunnel-refused'),
    [],
  );
  await eventually(WAIT_MS, 'both are up', async () => {
    const tunnels = (await ask(folder))[0]?.servers[0]?.tunnels ?? [];
    assert.deepEqual(
      tunnels.map(({ name, state }) => [name, state]),
      [
        [served, 'up'],
        [later, 'up'],
      ],
    );
  });
});

test('a server that is back serves nothing before it has said so', async (t) => {
  const folder = path.join(scratchFolder(t), 'run');
  const offers: number[] = [];
  const target = await startPlainServer(t, (_tunnels, link) => {
    offers.push(link);
    return link === 0 ? [{ name: 'tcp:2222', code: '', reason: '' }] : [];
  });
  const network = await startRelay(t, target);
  const flags = { tcp: '2222=127.0.0.1:22', links: '1', 'status-dir': folder };
  const place = { controlPort: network.port };
  await startLocalClient(t, place, { flags, complains: true });
  const isTold = async (state: string): Promise<void> => {
    const server = (await ask(folder))[0]?.servers[0];
    assert.deepEqual([server?.state, server?.tunnels[0]?.state], ['connected', state]);
  };
  await eventually(WAIT_MS, 'it is up', () => isTold('up'));
  network.cut();
  await eventually(WAIT_MS, 'it is offered anew', async () => assert.deepEqual(offers, [0, 1]));
  await isTold('waiting');
});

test('a server that is away is told, with why', async (t) => {
  const on = await scene(t, path.join(scratchFolder(t), 'run'));
  await untilTold(on.folder);
  on.node.node.stop();
  await on.node.node.closed;
  await eventually(WAIT_MS, 'it is told', async () => {
    const [status] = await ask(on.folder);
    const server = status?.servers[0];
    assert.equal(server?.state, 'connecting');
    assert.equal(server.tunnels[0]?.state, 'waiting');
    assert.match(server.lastError, /^SLW_/u);
  });
});

test('the folder is closed to others, and the socket goes with the client', async (t) => {
  const folder = path.join(scratchFolder(t), 'deep', 'run');
  await t.test('while it runs', async (inner) => {
    await scene(inner, folder);
    await untilTold(folder);
    assert.equal(statSync(folder).mode & 0o777, 0o700);
  });
  assert.deepEqual(readdirSync(folder), []);
  await assert.rejects(ask(folder), /no client of this user runs here/u);
});

test('a folder that others may enter, or that is none, is not used, and the client serves', async (t) => {
  const scratch = scratchFolder(t);
  const open = path.join(scratch, 'open');
  mkdirSync(open);
  chmodSync(open, 0o755);
  const file = path.join(scratch, 'file');
  writeFileSync(file, '');
  const link = path.join(scratch, 'link');
  const target = path.join(scratch, 'target');
  mkdirSync(target, { mode: 0o700 });
  symlinkSync(target, link);
  for (const folder of [open, file, link, path.join(scratch, 'x'.repeat(120))]) {
    const on = await scene(t, folder);
    const socket = await connectTo(t, on.port);
    await echoBytes(socket, Buffer.from('served'));
    await assert.rejects(ask(folder), /no client/u);
  }
  assert.deepEqual([readdirSync(open), readdirSync(target)], [[], []]);
});

test('what a killed client left is removed, and who does not answer is left out', async (t) => {
  const folder = path.join(scratchFolder(t), 'run');
  await scene(t, folder);
  await untilTold(folder);
  const left = path.join(folder, 'client-1.sock');
  const silent = path.join(folder, 'client-2.sock');
  await leaveSocket(left);
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(silent, resolve));
  const accepted: net.Socket[] = [];
  server.on('connection', (socket) => accepted.push(socket));
  undoAfter(t, () => {
    for (const socket of accepted) socket.destroy();
    server.close();
  });
  writeFileSync(path.join(folder, 'client-x.sock'), '');
  const found = await ask(folder);
  assert.deepEqual(
    found.map(({ clientID }) => clientID),
    ['told'],
  );
  assert.equal(existsSync(left), false);
});

/** A socket file that nobody listens on. */
async function leaveSocket(file: string): Promise<void> {
  const { spawn } = await import('node:child_process');
  const script = `require('net').createServer().listen(${JSON.stringify(file)}, () => process.kill(process.pid, 'SIGKILL'))`;
  const child = spawn(process.execPath, ['-e', script]);
  await new Promise((resolve) => child.once('exit', resolve));
  assert.equal(existsSync(file), true);
}

test('off is off', async () => {
  await assert.rejects(askLocalForText({ folder: undefined, json: false }), /--status-dir is off/u);
});
