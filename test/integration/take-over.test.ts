// Goal: clients are told of a move at whatever moment they come, and stay when it came to nothing;
// what a successor cannot open ends it before anybody moves.
// Method: a node in this process with a successor that the test plays, and a relay that holds back
// what a client says.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { type ExitNode, startServer } from '../../src/control/exit-node.ts';
import type { Moving, SuccessorEvents } from '../../src/control/hand-over.ts';
import { Inheritance } from '../../src/control/inheritance.ts';
import type { Predecessor } from '../../src/control/predecessor.ts';
import { undoAfter } from '../support/cleanup.ts';
import { type Flags, LOOPBACK, serverConfig } from '../support/configs.ts';
import { eventually } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { startLocalClient } from '../support/local-tunnel.ts';
import { LogLines } from '../support/log-lines.ts';
import { startProcess } from '../support/process.ts';
import { connectTo, echoOnce, get, startEcho, startHttp } from '../support/upstream.ts';

interface Place {
  readonly node: ExitNode;
  readonly controlPort: number;
  readonly httpPort: number;
  readonly log: LogLines;
  /** What the successor was told. */
  readonly told: string[];
  /** Who was to come to it. */
  readonly moves: Moving[];
  events(): SuccessorEvents;
}

async function startPlace(t: TestContext, flags: Flags = {}, pid = 1): Promise<Place> {
  const log = new LogLines('control');
  const [told, moves]: [string[], Moving[]] = [[], []];
  let events: SuccessorEvents | undefined;
  const node = await startServer(serverConfig({ shards: '1', ...flags }), {
    ...{ log: log.log, version: '0.0.0-test' },
    successor: (_sockets, given) => {
      events = given;
      const move = (moving: Moving): void => {
        told.push('move');
        moves.push(moving);
      };
      return { pid, move, end: () => told.push('end') };
    },
  });
  undoAfter(t, async () => {
    node.stop();
    await node.closed;
  });
  const portOf = (listener: string): number => {
    const line = log.all('listening').find(({ name }) => name === listener);
    return Number(String(line?.address).split(':').at(-1));
  };
  const given = (): SuccessorEvents => events ?? assert.fail('nobody was started');
  const [controlPort, httpPort] = [portOf('control'), portOf('http')];
  return { node, controlPort, httpPort, log, told, moves, events: given };
}

/** Passes everything on; what a client says behind its upgrade waits for `release`. */
async function startHolding(
  t: TestContext,
  port: number,
): Promise<{ port: number; release(): void; held(): boolean }> {
  let isHolding = true;
  const waiting: (() => void)[] = [];
  const sockets: Socket[] = [];
  const server = createServer((near) => {
    const far = connect(port, LOOPBACK);
    sockets.push(near, far);
    for (const socket of [near, far]) socket.on('error', () => socket.destroy());
    near.on('close', () => far.destroy());
    far.on('close', () => near.destroy());
    far.pipe(near);
    let hasUpgraded = false;
    near.on('data', (piece) => {
      if (hasUpgraded && isHolding) waiting.push(() => far.write(piece));
      else far.write(piece);
      hasUpgraded = true;
    });
  });
  await new Promise<void>((resolve) => server.listen(0, LOOPBACK, resolve));
  undoAfter(t, () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  const address = server.address();
  return {
    port: address !== null && typeof address === 'object' ? address.port : 0,
    held: () => waiting.length > 0,
    release: () => {
      isHolding = false;
      for (const pass of waiting.splice(0)) pass();
    },
  };
}

test('a client that was being greeted when others were told is told as well', async (t) => {
  const place = await startPlace(t);
  const relay = await startHolding(t, place.controlPort);
  const site = await startHttp(t, (_request, response) => response.end('served'));
  const flags = { upstream: `a.test=http://127.0.0.1:${site}`, links: '1' };
  const options = { flags, port: relay.port, waits: false, complains: true };
  const client = await startLocalClient(t, place, options);
  await eventually(10_000, 'its hello is held back', async () => assert.ok(relay.held()));
  place.node.takeOver();
  place.events().onPrepared();
  await eventually(10_000, 'the successor is told', async () =>
    assert.deepEqual(place.told, ['move']),
  );
  relay.release();
  await client.log.line('server takes no new streams here', { code: 'SLW_LINK_MOVED' });
});

test('who was accepted before a move hears of the server that serves now', async (t) => {
  const place = await startPlace(t);
  const [tcpPort, echo] = [await freePort(), await startEcho(t)];
  const flags = { tcp: `${tcpPort}=127.0.0.1:${echo}`, links: '1' };
  // It is told to move, maybe before the test has ended, and no successor listens.
  await startLocalClient(t, place, { flags, complains: true });
  // What the old process still has to do, so that it is there.
  const visitor = await connectTo(t, tcpPort);
  assert.equal(await echoOnce(visitor, 'before'), 'before');
  const caller = await connectTo(t, place.controlPort);
  const ready = `http://${LOOPBACK}:${place.controlPort}/readyz`;
  // Accepted behind it, so that it was, too.
  assert.equal((await fetch(ready, { headers: { connection: 'close' } })).status, 200);
  place.node.takeOver();
  place.events().onPrepared();
  await eventually(10_000, 'the successor is told', async () =>
    assert.deepEqual(place.told, ['move']),
  );
  place.events().onReady();
  const heard = caller.setEncoding('latin1').toArray();
  caller.write('GET /readyz HTTP/1.1\r\nHost: a.test\r\n\r\n');
  assert.match((await heard).join(''), /^HTTP\/1.1 200 .*connection: close/isu);
});

test('after a move that came to nothing clients come and stay', async (t) => {
  const place = await startPlace(t);
  const site = await startHttp(t, (_request, response) => response.end('served'));
  const flags = { upstream: `a.test=http://127.0.0.1:${site}`, links: '1' };
  place.node.takeOver();
  place.events().onPrepared();
  await eventually(10_000, 'the successor is told', async () =>
    assert.deepEqual(place.told, ['move']),
  );
  place.events().onEnd('it ended with 1');
  const client = await startLocalClient(t, place, { flags, complains: true });
  // Its tunnel is up, and a second try finds the node ready for it.
  assert.deepEqual(client.log.all('server takes no new streams here'), []);
  place.node.takeOver();
  assert.equal(place.log.all('a successor starts').length, 2);
});

test('a link that is older than a move that came to nothing serves what is well, and goes', async (t) => {
  const place = await startPlace(t);
  let [health, served] = [200, 0];
  const site = await startHttp(t, (request, response) => {
    if (request.url === '/healthz') response.writeHead(health).end();
    else {
      served += 1;
      response.end('served');
    }
  });
  const upstream = `a.test=http://127.0.0.1:${site};health-check=http:/healthz`;
  const flags = { upstream, links: '1', 'health-check-interval': '100ms' };
  const client = await startLocalClient(t, place, { flags, complains: true });
  place.node.takeOver();
  place.events().onPrepared();
  await client.log.line('server takes no new streams here', { code: 'SLW_LINK_MOVED' });
  place.events().onEnd('it ended with 1');
  await eventually(20_000, 'the client is back', async () =>
    assert.equal(client.log.all('link up').length, 2),
  );
  const visit = () => get(t, { port: place.httpPort, host: 'a.test' });
  assert.equal((await visit()).status, 200);
  health = 503;
  await eventually(10_000, 'visitors are told that nobody serves', async () =>
    assert.equal((await visit()).status, 503),
  );
  const before = served;
  for (let count = 0; count < 5; count += 1) assert.equal((await visit()).status, 503);
  assert.equal(served, before);
  // The older link goes when all clients had time to come back, and the newer one stays.
  const told = () => client.log.all('server takes no new streams here');
  await eventually(60_000, 'the older link is told to go', async () =>
    assert.ok(told().some(({ code }) => code === 'SLW_LINK_DRAINING')),
  );
  assert.deepEqual(new Set(told().map(({ link }) => link)), new Set(['link-1']));
  health = 200;
  await eventually(10_000, 'the newer link serves', async () =>
    assert.equal((await visit()).status, 200),
  );
});

test('who came by the port of visitors stays until that is handed on, and is not waited for', async (t) => {
  const place = await startPlace(t, { 'control-on-http': true });
  const site = await startHttp(t, (_request, response) => response.end('served'));
  const come = (id: string, port: number) => {
    const flags = { upstream: `${id}.test=http://127.0.0.1:${site}`, links: '1', id };
    return startLocalClient(t, place, { flags, port, complains: true });
  };
  const late = await come('late', place.httpPort);
  const early = await come('early', place.controlPort);
  place.node.takeOver();
  place.events().onPrepared();
  const moved = { code: 'SLW_LINK_MOVED' };
  await early.log.line('server takes no new streams here', moved);
  const served = ['late.test', 'early.test'];
  assert.deepEqual(place.moves, [{ clients: ['early'], tunnels: ['early.test'], served }]);
  // One that comes now stays as well, and had been told behind the others.
  const last = await come('last', place.httpPort);
  const page = await get(t, { port: place.httpPort, host: 'late.test' });
  assert.deepEqual([page.status, page.body], [200, 'served']);
  for (const { log } of [late, last]) {
    assert.deepEqual(log.all('server takes no new streams here'), []);
    assert.equal(log.all('link up').length, 1);
  }
  place.events().onReady();
  for (const { log } of [late, last]) await log.line('server takes no new streams here', moved);
});

test('an admin address that is taken ends a successor before anybody moves', async (t) => {
  const taken = await startHttp(t, (_request, response) => response.end('another program'));
  const steps: string[] = [];
  const predecessor: Predecessor = {
    inheritance: new Inheritance([], () => undefined),
    prepared: async () => {
      steps.push('prepared');
      return { clients: [], tunnels: [] };
    },
    ready: () => void steps.push('ready'),
    serves: () => false,
    isGone: false,
    pid: undefined,
  };
  const config = serverConfig({ shards: '1', 'admin-addr': `${LOOPBACK}:${taken}` });
  const { log } = new LogLines('control');
  const starting = startServer(config, { log, version: '0.0.0-test', predecessor });
  await assert.rejects(starting, { code: 'SLW_LISTEN_FAILED', message: /--admin-addr/u });
  assert.deepEqual(steps, []);
});

/** A client with a site and a TCP port, which is refused or waited for once the site is there. */
async function startTwoTunnels(t: TestContext, port: number, tcpPort: number) {
  const site = await startHttp(t, (_request, response) => response.end('served'));
  const echo = await startEcho(t);
  const flags = {
    ...{ links: '1', id: 'two', upstream: `a.test=http://127.0.0.1:${site}` },
    tcp: `${tcpPort}=127.0.0.1:${echo}`,
  };
  const place = { controlPort: port };
  return startLocalClient(t, place, { flags, waits: false, complains: true });
}

/** Is the port open for visitors, and was it never refused? */
async function expectOpened(t: TestContext, log: LogLines, port: number): Promise<void> {
  await log.line('tunnel up', { tunnel: `tcp:${port}` });
  assert.deepEqual(log.all('tunnel refused'), []);
  assert.equal(await echoOnce(await connectTo(t, port), 'hello'), 'hello');
}

/** Has the port as the other process of a take-over has it. */
async function occupy(t: TestContext, port: number): Promise<() => Promise<void>> {
  const server = createServer();
  server.listen(port, LOOPBACK);
  await once(server, 'listening');
  const release = async (): Promise<void> => {
    if (server.listening) await new Promise((resolve) => server.close(resolve));
  };
  undoAfter(t, release);
  return release;
}

test('a port that the successor has a copy of opens when a take-over came to nothing', async (t) => {
  const place = await startPlace(t);
  const tcpPort = await freePort();
  place.node.takeOver();
  const release = await occupy(t, tcpPort);
  const { log } = await startTwoTunnels(t, place.controlPort, tcpPort);
  await log.line('link up');
  await eventually(10_000, 'what it offered is being opened', async () =>
    assert.equal((await get(t, { port: place.httpPort, host: 'a.test' })).status, 200),
  );
  await release();
  place.events().onEnd('it ended with 1');
  await expectOpened(t, log, tcpPort);
});

/** A server that takes over from a process that the test plays. */
async function startSuccessor(t: TestContext, moving: Moving) {
  const controlPort = await freePort();
  let isGone = false;
  const predecessor: Predecessor = {
    inheritance: new Inheritance([], () => undefined),
    prepared: async () => moving,
    ready: () => undefined,
    serves: () => false,
    pid: undefined,
    get isGone(): boolean {
      return isGone;
    },
  };
  const config = serverConfig({ shards: '1', 'control-addr': `${LOOPBACK}:${controlPort}` });
  const log = new LogLines('control');
  const starting = startServer(config, { log: log.log, version: '0.0.0-test', predecessor });
  undoAfter(t, async () => {
    isGone = true;
    const node = await starting;
    node.stop();
    await node.closed;
  });
  const endWait = (): void => {
    isGone = true;
  };
  return { controlPort, log, endWait };
}

test('a port that the old process has opened since opens here when it is closed there', async (t) => {
  const tcpPort = await freePort();
  const release = await occupy(t, tcpPort);
  const moving = { clients: ['two', 'never'], tunnels: ['a.test'] };
  const { controlPort } = await startSuccessor(t, moving);
  const ready = `http://${LOOPBACK}:${controlPort}/readyz?tunnel=a.test`;
  const { log } = await startTwoTunnels(t, controlPort, tcpPort);
  await eventually(10_000, 'what it offered is being opened', async () =>
    assert.equal((await fetch(ready, { headers: { connection: 'close' } })).status, 200),
  );
  await release();
  await expectOpened(t, log, tcpPort);
});

test('a port that the old process is about to close opens here when it has', async (t) => {
  const tcpPort = await freePort();
  const release = await occupy(t, tcpPort);
  const successor = await startSuccessor(t, { clients: ['never'], tunnels: [] });
  const relay = await startHolding(t, successor.controlPort);
  const { log } = await startTwoTunnels(t, relay.port, tcpPort);
  await eventually(20_000, 'its hello is held back', async () => assert.ok(relay.held()));
  successor.endWait();
  await successor.log.line('ready');
  relay.release();
  await log.line('link up');
  const ready = `http://${LOOPBACK}:${successor.controlPort}/readyz?tunnel=a.test`;
  await eventually(10_000, 'what it offered is being opened', async () =>
    assert.equal((await fetch(ready, { headers: { connection: 'close' } })).status, 200),
  );
  await release();
  await expectOpened(t, log, tcpPort);
});

test('memory of a successor counts for as long as it is there', async (t) => {
  if (process.platform !== 'linux') return t.skip('who has how much is read in /proc, of Linux');
  const hundredMib = 100 * 1024 * 1024;
  const held = `globalThis.held = Buffer.alloc(${3 * hundredMib}, 1)`;
  const script = `${held}; console.log('full'); setInterval(() => {}, 1000)`;
  const other = startProcess(t, { name: 'other', command: process.execPath, args: ['-e', script] });
  await other.line('it has its memory', (line) => line === 'full');
  const memoryMax = process.memoryUsage.rss() + 2 * hundredMib;
  const place = await startPlace(t, { 'memory-max': String(memoryMax) }, other.pid);
  place.node.takeOver();
  const { usedBytes } = await place.log.line('memory is running out');
  assert.ok(Number(usedBytes) > memoryMax, `${usedBytes} of both`);
  place.events().onEnd('it ended with 1');
  await place.log.line('memory is given back');
});
