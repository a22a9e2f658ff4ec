// Shards that fall over and processes that end: what survives, what returns, and how fast.

import assert from 'node:assert/strict';
import type http from 'node:http';
import type net from 'node:net';
import test, { type TestContext } from 'node:test';
import { eventually, within } from '../support/deadline.ts';
import { faultOnCue } from '../support/fault.ts';
import { freePort } from '../support/free-port.ts';
import {
  parseLine,
  startClient,
  startServer,
  startTunnel,
  type TestServer,
  tunnelReadiness,
} from '../support/tunnel.ts';
import {
  bodyOf,
  connectTo,
  echoOnce,
  get,
  openGet,
  startEcho,
  startHttp,
} from '../support/upstream.ts';

const HOST = 'site.example.com';
/** Visitors enough that both shards have some: all on one has a chance of 2 in 2^24. */
const VISITORS = 24;

async function metric(server: TestServer, name: string): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${server.adminPort}/metrics`);
  const text = await response.text();
  const line = text
    .split('\n')
    .find((one) => one.startsWith(`${name} `) || one.startsWith(`${name}{`));
  assert.ok(line !== undefined, `no ${name} in /metrics (${response.status})`);
  return Number(line.slice(line.lastIndexOf(' ') + 1));
}

/** Waits until a link of `shard` serves the tunnel; keys of links begin with their shard. */
async function servedBy({ process }: TestServer, shard: number, tunnel: string): Promise<void> {
  await process.line(`${tunnel} on shard ${shard}`, (text) => {
    const line = parseLine(text);
    const isHere = String(line.link).startsWith(`${shard}-`);
    return line.msg === 'tunnel up' && line.tunnel === tunnel && isHere;
  });
}

async function readyz(server: TestServer): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${server.adminPort}/readyz`);
  await response.arrayBuffer();
  return response.status;
}

/** How a visitor's connection ended, as far as it did. */
type Fate = 'alive' | 'reset' | 'clean end';

/** Watches from now on; asks after the shard fell. */
function watch(visitor: net.Socket): () => Promise<Fate> {
  let fate: Fate = 'alive';
  visitor.once('end', () => {
    fate = 'clean end';
    visitor.destroy();
  });
  visitor.once('error', () => {
    fate = 'reset';
  });
  return async () => {
    await echoOnce(visitor, 'alive?').catch(() => {
      // Ended: its fate says how.
    });
    return fate;
  };
}

test('a shard that throws is started again, and the other goes on', async (t) => {
  const fault = faultOnCue(t, 'shard-throw');
  const echo = await startEcho(t);
  const upstream = await startHttp(t, (_request, response) => response.end('hello'));
  const port = await freePort();
  const tunnel = await startTunnel(
    t,
    [
      ...['--tcp', `${port}=127.0.0.1:${echo}`],
      ...['--upstream', `${HOST}=http://127.0.0.1:${upstream}`],
    ],
    fault,
  );
  // Without a link of its own a shard's visitors go over the other, and fall with it.
  // Two links may be on one for a moment.
  for (const shard of [0, 1]) await servedBy(tunnel, shard, `tcp:${port}`);
  const fates: (() => Promise<Fate>)[] = [];
  for (let index = 0; index < VISITORS; index += 1) {
    const visitor = await connectTo(t, port);
    assert.equal(await echoOnce(visitor, `hello ${index}`), `hello ${index}`);
    fates.push(watch(visitor));
  }
  assert.equal(
    await metric(tunnel, 'sluiceway_shard_restarts_total'),
    0,
    'nothing was started again before',
  );
  fault.strike();
  await eventually(20_000, 'a restart is counted', async () => {
    assert.equal(await metric(tunnel, 'sluiceway_shard_restarts_total'), 1);
  });
  const counts = { alive: 0, reset: 0, 'clean end': 0 };
  for (const fate of await Promise.all(fates.map((ask) => ask()))) counts[fate] += 1;
  t.diagnostic(`${VISITORS} streams: ${JSON.stringify(counts)}`);
  assert.ok(counts.alive > 0, 'streams of the other shard were lost');
  assert.ok(counts.alive < VISITORS, 'no shard fell');
  await eventually(10_000, 'traffic works on both shards again', async () => {
    for (let round = 0; round < VISITORS; round += 1) {
      const visitor = await connectTo(t, port);
      assert.equal(await echoOnce(visitor, 'again'), 'again');
      visitor.destroy();
      assert.equal((await get(t, { port: tunnel.httpPort, host: HOST })).body, 'hello');
    }
  });
  assert.equal(counts['clean end'], 0, 'a stream that was cut looks like one that ended');
});

test('a shard that falls again and again ends the process with code 1', async (t) => {
  const server = await startServer(t, {
    ...{ args: ['--allow-faults'], env: { SLUICEWAY_FAULT: 'shard-throw:1' }, endsItself: true },
  });
  const ending = await within(60_000, 'the server gives up', server.process.ended);
  assert.equal(ending.code, 1, server.process.tail());
});

test('a shard without memory ends the process with code 1, at once', async (t) => {
  const env = { SLUICEWAY_FAULT: 'shard-oom:1', NODE_OPTIONS: '--max-old-space-size=128' };
  const server = await startServer(t, { args: ['--allow-faults'], env, endsItself: true });
  const ending = await within(60_000, 'the server gives up', server.process.ended);
  assert.equal(ending.code, 1, server.process.tail());
  assert.match(server.process.tail(), /sluiceway: a shard ran out of memory/u);
});

test('a fault is refused unless faults are allowed', async (t) => {
  await assert.rejects(
    startServer(t, { env: { SLUICEWAY_FAULT: 'shard-throw:1' }, endsItself: true }),
    /--allow-faults/u,
  );
});

test('one accepting shard is enough: --reuse-port off', async (t) => {
  const echo = await startEcho(t);
  const upstream = await startHttp(t, (_request, response) => response.end('hello'));
  const port = await freePort();
  const args = [
    ...['--tcp', `${port}=127.0.0.1:${echo}`],
    ...['--upstream', `${HOST}=http://127.0.0.1:${upstream}`],
  ];
  const tunnel = await startTunnel(t, args, { args: ['--reuse-port', 'off'] });
  for (let round = 0; round < VISITORS; round += 1) {
    const visitor = await connectTo(t, port);
    assert.equal(await echoOnce(visitor, `round ${round}`), `round ${round}`);
    assert.equal((await get(t, { port: tunnel.httpPort, host: HOST })).body, 'hello');
  }
});

interface Download {
  readonly server: TestServer;
  readonly visitor: http.IncomingMessage;
  readonly upstream: http.ServerResponse;
}

/** A response of which the first half has arrived; the test decides when the rest is sent. */
async function startDownload(t: TestContext, drainDelay: string): Promise<Download> {
  let opened: (response: http.ServerResponse) => void;
  const asked = new Promise<http.ServerResponse>((resolve) => {
    opened = resolve;
  });
  const port = await startHttp(t, (_request, response) => {
    response.writeHead(200, { 'Content-Length': '20' });
    response.write('first half');
    opened(response);
  });
  const server = await startTunnel(t, ['--upstream', `${HOST}=http://127.0.0.1:${port}`], {
    ...{ drainDelay, drainTimeout: '25s' },
  });
  const visitor = await openGet(t, { port: server.httpPort, host: HOST });
  return { server, visitor, upstream: await within(10_000, 'upstream is asked', asked) };
}

test('SIGTERM: not ready, the running download finishes, exit code 0', async (t) => {
  const { server, visitor, upstream } = await startDownload(t, '1s');
  assert.equal(await readyz(server), 200);
  server.process.kill('SIGTERM');
  await eventually(5_000, '/readyz turns 503', async () => {
    assert.equal(await readyz(server), 503);
  });
  upstream.end('other half');
  assert.equal(await within(10_000, 'the download ends', bodyOf(visitor)), 'first halfother half');
  assert.equal((await server.process.expectEnd()).code, 0, server.process.tail());
});

test('a second SIGTERM ends at once', async (t) => {
  const { server } = await startDownload(t, '20s');
  server.process.kill('SIGTERM');
  await eventually(5_000, '/readyz turns 503', async () => {
    assert.equal(await readyz(server), 503);
  });
  server.process.kill('SIGTERM');
  await within(2_000, 'the server ends', server.process.ended);
});

test('a killed client: 503 within a second', async (t) => {
  const upstream = await startHttp(t, (_request, response) => response.end('hello'));
  const tunnel = await startTunnel(t, ['--upstream', `${HOST}=http://127.0.0.1:${upstream}`]);
  assert.equal((await get(t, { port: tunnel.httpPort, host: HOST })).body, 'hello');
  tunnel.client.kill('SIGKILL');
  await tunnel.client.expectEnd();
  await eventually(1_000, 'visitors get 503', async () => {
    const answer = await get(t, { port: tunnel.httpPort, host: HOST });
    assert.equal(answer.status, 503);
    assert.equal(answer.headers['retry-after'], '5');
  });
});

test('a killed server: the client returns to it and serves', async (t) => {
  const upstream = await startHttp(t, (_request, response) => response.end('hello'));
  const ports = { control: await freePort(), http: await freePort(), admin: await freePort() };
  const first = await startServer(t, { ports });
  await startClient(t, first, { args: ['--upstream', `${HOST}=http://127.0.0.1:${upstream}`] });
  assert.equal((await get(t, { port: ports.http, host: HOST })).body, 'hello');
  first.process.kill('SIGKILL');
  await first.process.expectEnd();
  const second = await startServer(t, { ports });
  await tunnelReadiness(second, HOST, 200);
  assert.equal((await get(t, { port: ports.http, host: HOST })).body, 'hello');
});
