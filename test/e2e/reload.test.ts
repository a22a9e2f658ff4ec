// Goal: a running server takes a new configuration over, and keeps the old one when it is broken.
// Method: real processes; the configuration and a list are files that the test writes.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { undoAfter } from '../support/cleanup.ts';
import { eventually, within } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { startProcess } from '../support/process.ts';
import { PAIR_A } from '../support/test-pairs.ts';
import {
  ENTRY,
  environment,
  spawnClient,
  startClient,
  startTunnel,
  type TestTunnel,
  TOKEN,
} from '../support/tunnel.ts';
import { get, startHttp, startTcp } from '../support/upstream.ts';

const WAIT_MS = 20_000;

interface Place {
  readonly tunnel: TestTunnel;
  readonly port: number;
  readonly write: (name: string, text: string) => Promise<void>;
  readonly folder: string;
}

async function startPlace(t: TestContext, config: string, list: string): Promise<Place> {
  const folder = await mkdtemp(path.join(tmpdir(), 'sluiceway-reload-'));
  undoAfter(t, () => rm(folder, { recursive: true }));
  const write = (name: string, text: string) => writeFile(path.join(folder, name), text);
  await write('list.txt', list);
  await write('cert.pem', PAIR_A.cert);
  await write('key.pem', PAIR_A.key);
  const pair = `${folder}/cert.pem,${folder}/key.pem`;
  await write('server.yaml', config.replace('LIST', `@${folder}/list.txt`).replace('CERT', pair));
  const echo = await startTcp(t, (socket) => {
    socket.pipe(socket);
  });
  const port = await freePort();
  const tunnel = await startTunnel(t, ['--tcp', `${port}=127.0.0.1:${echo}`], {
    args: ['--config', path.join(folder, 'server.yaml')],
  });
  return { tunnel, port, write, folder };
}

/** A visitor that has sent a byte and got it back; undefined when it was cut instead. */
async function visit(port: number): Promise<Socket | undefined> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => socket.destroy());
  socket.write('x');
  const isServed = await new Promise<boolean>((resolve) => {
    socket.once('data', () => resolve(true));
    socket.once('close', () => resolve(false));
  });
  return isServed ? socket : undefined;
}

/** One shard has cut; the other may take the list over a moment later. */
async function untilDenied(visit: () => Promise<Socket | undefined>): Promise<void> {
  await eventually(WAIT_MS, 'denied from then on', async () => {
    const socket = await visit();
    socket?.destroy();
    assert.equal(socket === undefined, true);
  });
}

const isLine =
  (text: string, ...parts: readonly string[]) =>
  (line: string): boolean =>
    line.includes(`"msg":"${text}"`) && parts.every((part) => line.includes(part));

async function metric(tunnel: TestTunnel, series: string): Promise<number> {
  const answer = await fetch(`http://127.0.0.1:${tunnel.adminPort}/metrics`, {
    headers: { authorization: `Bearer ${TOKEN}` },
  });
  const found = (await answer.text()).split('\n').find((line) => line.startsWith(`${series} `));
  return Number(found?.split(' ')[1]);
}

/** Reads it again, and finds it wrong. */
async function untilComplaint(server: TestTunnel['process'], what: string): Promise<void> {
  server.kill('SIGHUP');
  await server.line('the complaint', isLine('configuration: the old one stays in use', what));
}

test('a list that changes cuts who is no longer on it, and a broken one changes nothing', async (t) => {
  const { tunnel, port, write, folder } = await startPlace(
    t,
    'allow-ips: [192.0.2.1, "LIST"]\n',
    '127.0.0.1\n',
  );
  const server = tunnel.process;
  const visitor = await visit(port);
  assert.ok(visitor, 'served at first');

  await write('list.txt', '127.0.0.1\nnonsense # wrong\n');
  await untilComplaint(server, `${folder}/list.txt line 2`);
  assert.ok(await metric(tunnel, 'sluiceway_config_reloads_total{result="failed"}'));
  (await visit(port))?.destroy();
  assert.equal(visitor.closed, false);

  const cut = new Promise((resolve) => visitor.once('close', resolve));
  // No signal: the change is noticed.
  await write('list.txt', '# nobody here\n198.51.100.0/24\n');
  await server.line('taken over', isLine('configuration read again', 'allow-ips'));
  await cut;
  await untilDenied(() => visit(port));
  assert.ok((await metric(tunnel, 'sluiceway_denied_total{list="visitors"}')) >= 2);
});

test('who is banned is cut, and comes in again when the file of bans is empty', async (t) => {
  const { tunnel, port, write, folder } = await startPlace(t, 'deny-ips: "LIST"\n', '');
  const server = tunnel.process;
  const visitor = await visit(port);
  assert.ok(visitor, 'nobody is banned at first');

  await write('list.txt', '127.0.0.0/8\nnonsense # wrong\n');
  await untilComplaint(server, `${folder}/list.txt line 2`);
  assert.equal(visitor.closed, false);
  assert.ok(await metric(tunnel, 'sluiceway_config_reloads_total{result="failed"}'));

  const cut = new Promise((resolve) => visitor.once('close', resolve));
  await write('list.txt', '192.0.2.1\n127.0.0.0/8\n');
  server.kill('SIGHUP');
  await within(WAIT_MS, 'the banned is cut', cut);
  await untilDenied(() => visit(port));
  assert.ok((await metric(tunnel, 'sluiceway_denied_total{list="visitors"}')) >= 2);

  // The ban is kept while its file cannot be read.
  await rm(path.join(folder, 'list.txt'));
  server.kill('SIGHUP');
  await server.line(
    'missing',
    isLine('configuration: the old one stays in use', 'list.txt does not'),
  );
  assert.equal(await visit(port), undefined);

  // No signal: the change is noticed.
  const before = server.stderr.length;
  await write('list.txt', '# nobody now\n');
  const isTaken = isLine('configuration read again', 'deny-ips');
  await server.line('lifted', (line) => isTaken(line) && server.stderr.indexOf(line) >= before);
  await eventually(WAIT_MS, 'served again', async () => {
    const again = await visit(port);
    assert.ok(again);
    again.destroy();
  });
});

test('a file that was emptied lifts nothing', async (t) => {
  const { tunnel, port, write, folder } = await startPlace(t, 'allow-ips: 192.0.2.1\n', '');
  const server = tunnel.process;
  assert.equal(await visit(port), undefined, 'denied at first');
  await write('server.yaml', '');
  server.kill('SIGHUP');
  const text = `${folder}/server.yaml sets no option any more`;
  await server.line('kept', isLine('configuration: the old one stays in use', text));
  assert.equal(await visit(port), undefined, 'denied still');
});

test('visitors whose TLS ends here are cut by a list too', async (t) => {
  const httpsPort = await freePort();
  const { tunnel, write } = await startPlace(
    t,
    `https-addr: 127.0.0.1:${httpsPort}\nhttps-cert: a.test=CERT\nallow-ips: "LIST"\n`,
    '127.0.0.1\n',
  );
  const secure = async (): Promise<TLSSocket | undefined> => {
    const socket = connectTls({
      ...{ port: httpsPort, host: '127.0.0.1', servername: 'a.test', ca: PAIR_A.cert },
    });
    socket.on('error', () => socket.destroy());
    const isServed = await new Promise<boolean>((resolve) => {
      socket.once('secureConnect', () => resolve(true));
      socket.once('close', () => resolve(false));
    });
    return isServed ? socket : undefined;
  };
  const visitor = await secure();
  assert.ok(visitor, 'served at first');
  const cut = new Promise((resolve) => visitor.once('close', resolve));
  await write('list.txt', '192.0.2.1\n');
  tunnel.process.kill('SIGHUP');
  await cut;
  await untilDenied(secure);
  assert.ok((await metric(tunnel, 'sluiceway_denied_total{list="visitors"}')) >= 2);
});

test('a malformed file is named with line and column; log level and limits change live', async (t) => {
  const { tunnel, port, write } = await startPlace(t, 'log-level: info\n', '');
  const server = tunnel.process;

  await write('server.yaml', 'log-level: info\nallow-ips: [\n');
  server.kill('SIGHUP');
  const kept = isLine('configuration: the old one stays in use', 'line ', 'column ');
  await server.line('the complaint', kept);

  await write(
    'server.yaml',
    'log-level: debug\nvisitor-connections-per-ip-max: 1\nwindow-max: 9MiB\n',
  );
  server.kill('SIGHUP');
  await server.line('taken over', isLine('configuration read again', 'log-level'));
  await server.line('named', isLine('changed options need a restart', '"window-max"'));
  await server.line('debug', isLine('settings taken over', '"level":"debug"', '"shard":1'));
  await server.line('debug', isLine('settings taken over', '"level":"debug"', '"shard":0'));
  const first = await visit(port);
  assert.ok(first);
  const others = await Promise.all([visit(port), visit(port), visit(port)]);
  assert.ok(others.includes(undefined), 'each shard has a share of one');
  for (const socket of [first, ...others]) socket?.destroy();
});

test('the rate of connections of an address is switched on and off live', async (t) => {
  const { tunnel, port, write } = await startPlace(t, 'log-level: debug\n', '');
  const server = tunnel.process;
  const cuts = async (): Promise<number> => {
    const visits = await Promise.all(Array.from({ length: 20 }, () => visit(port)));
    for (const socket of visits) socket?.destroy();
    return visits.filter((socket) => socket === undefined).length;
  };
  const reload = async (text: string): Promise<void> => {
    const before = server.stderr.length;
    await write('server.yaml', `log-level: debug\n${text}`);
    server.kill('SIGHUP');
    for (const shard of [0, 1]) {
      const isTaken = isLine('settings taken over', `"shard":${shard}`);
      await server.line('taken over', (line) => {
        return isTaken(line) && server.stderr.lastIndexOf(line) >= before;
      });
    }
  };
  assert.equal(await cuts(), 0);
  await reload('connections-per-second-per-ip-max: 2\n');
  assert.ok((await cuts()) > 0);
  const series = 'sluiceway_limited_total{limit="connections-per-second-per-ip"}';
  assert.ok((await metric(tunnel, series)) > 0);
  await reload('');
  assert.equal(await cuts(), 0);
});

test('the inspector is switched on and off while visitors come', async (t) => {
  const { tunnel, write } = await startPlace(t, 'log-level: debug\n', '');
  const host = 'seen.example.com';
  const site = await startHttp(t, (_request, response) => response.end('seen'));
  const args = ['--upstream', `${host}=http://127.0.0.1:${site}`];
  await startClient(t, tunnel, { args });
  const reload = async (text: string): Promise<void> => {
    const before = tunnel.process.stderr.length;
    await write('server.yaml', `log-level: debug\n${text}`);
    tunnel.process.kill('SIGHUP');
    for (const shard of [0, 1]) {
      const isTaken = isLine('settings taken over', `"shard":${shard}`);
      await tunnel.process.line('taken over', (line) => {
        return isTaken(line) && tunnel.process.stderr.lastIndexOf(line) >= before;
      });
    }
  };
  const kept = async (): Promise<{ readonly isOn: boolean; readonly count: number }> => {
    for (let visits = 0; visits < 8; visits += 1) {
      await get(t, { port: tunnel.httpPort, host });
    }
    const answer = await fetch(`http://127.0.0.1:${tunnel.adminPort}/api/requests`);
    const { isOn, requests } = (await answer.json()) as { isOn: boolean; requests: unknown[] };
    return { isOn, count: requests.length };
  };
  assert.deepEqual(await kept(), { isOn: false, count: 0 });
  await reload(`inspect: [${host.toUpperCase()}]\n`);
  assert.deepEqual(await kept(), { isOn: true, count: 8 });
  await reload('');
  assert.deepEqual(await kept(), { isOn: false, count: 0 });
});

test('a client that is no longer on the list loses its links', async (t) => {
  const { tunnel, write } = await startPlace(t, 'control-allow-ips: "LIST"\n', '127.0.0.1\n');
  await write('list.txt', '192.0.2.1\n');
  tunnel.process.kill('SIGHUP');
  await tunnel.process.line('link ended', isLine('link ended', 'SLW_LINK_ENDED'));
  await write('list.txt', '127.0.0.0/8\n');
  tunnel.process.kill('SIGHUP');
  const before = tunnel.process.stderr.length;
  await tunnel.process.line(
    'back',
    (line) => isLine('client link up')(line) && tunnel.process.stderr.indexOf(line) >= before - 1,
  );
});

test('another shared token in its file ends clients that have the old one alone', async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), 'sluiceway-reload-'));
  undoAfter(t, () => rm(folder, { recursive: true }));
  const file = path.join(folder, 'token');
  await writeFile(file, `${TOKEN}\n`);
  const { SLUICEWAY_TOKEN: _none, ...env } = environment();
  const [control, admin] = [await freePort(), await freePort()];
  const server = startProcess(t, {
    name: 'server',
    command: process.execPath,
    args: [
      ...[ENTRY, 'server', '--log-format', 'json', '--token-file', file, '--http-addr', 'off'],
      ...['--control-addr', `127.0.0.1:${control}`, '--admin-addr', `127.0.0.1:${admin}`],
      ...['--tcp-addr', '127.0.0.1', '--drain-delay', '0s'],
    ],
    env,
    endCode: 0,
  });
  await server.line('ready', isLine('ready'));
  const args = ['--tcp', `${await freePort()}=127.0.0.1:1`];
  const client = spawnClient(t, { controlPort: control }, { args });
  await client.line('its tunnel', (line) => line.includes('->'));
  const own = path.join(folder, 'token-of-client');
  await writeFile(own, `${TOKEN}\n`);
  const prepared = startProcess(t, {
    name: 'client with a file',
    command: process.execPath,
    args: [
      ...[ENTRY, 'client', '--log-format', 'json', '--url', `ws://127.0.0.1:${control}`],
      ...['--token-file', own, '--tcp', `${await freePort()}=127.0.0.1:1`],
    ],
    env,
    endCode: 0,
  });
  await prepared.line('its tunnel', (line) => line.includes('->'));
  const ask = async (token: string): Promise<number> => {
    const headers = { authorization: `Bearer ${token}` };
    const answer = await fetch(`http://127.0.0.1:${control}/status`, { headers });
    await answer.arrayBuffer();
    return answer.status;
  };
  await writeFile(file, '\n');
  await server.line('an empty one', isLine('configuration: the old one stays in use', 'empty'));
  assert.equal(await ask(TOKEN), 200, 'and the old one opens as before');
  await writeFile(own, 'another-shared-token-0123456789\n');
  await writeFile(file, 'another-shared-token-0123456789\n');
  const ending = await client.expectEnd();
  assert.equal(ending.code, 3, 'refused for good');
  const ended = await prepared.line('told to go', (line) => line.includes('SLW_LINK_ENDED'));
  const { stderr } = prepared;
  await prepared.line(
    'back with its own',
    (line) => isLine('link up')(line) && stderr.indexOf(line) > stderr.indexOf(ended),
  );
  assert.equal(await ask(TOKEN), 401);
  assert.equal(await ask('another-shared-token-0123456789'), 200);
});
