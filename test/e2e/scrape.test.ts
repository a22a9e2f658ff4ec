// Goal: what an operator scrapes is valid, in time and bounded, whatever visitors and shards do.
// Method: real processes; Prometheus' own promtool reads both ports.

import assert from 'node:assert/strict';
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import http from 'node:http';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { undoAfter } from '../support/cleanup.ts';
import { eventually } from '../support/deadline.ts';
import { faultOnCue } from '../support/fault.ts';
import { freePort } from '../support/free-port.ts';
import { requirePrograms } from '../support/programs.ts';
import { startServer, startTunnel, type TestServer, TOKEN } from '../support/tunnel.ts';
import { connectTo, echoOnce, get, sendRaw, startEcho, startHttp } from '../support/upstream.ts';

const HOST = 'site.example.com';
/** Names that dashboards for other tunnels know, and that are kept for them. */
const REMARKS = [
  'http_controlplane_connected_gauge',
  'tcp_controlplane_connected_gauge',
  'tcp_dataplane_connections_gauge',
].map((name) => `${name} metric name should not include type 'gauge'`);
const BEARER = { authorization: `Bearer ${TOKEN}` };

interface Scrape {
  readonly text: string;
  readonly tookMs: number;
}

async function scrape(port: number): Promise<Scrape> {
  const startMs = performance.now();
  const response = await fetch(`http://127.0.0.1:${port}/metrics`, { headers: BEARER });
  const text = await response.text();
  assert.equal(response.status, 200);
  return { text, tookMs: performance.now() - startMs };
}

function seriesOf({ text }: Scrape): string[] {
  return text
    .split('\n')
    .flatMap((line) => (/^[a-z]/u.test(line) ? [line.split(' ')[0] ?? ''] : []));
}

function figureOf({ text }: Scrape, series: string): number {
  const line = text.split('\n').find((one) => one.startsWith(`${series} `));
  return Number(line?.split(' ')[1]);
}

async function startPlace(t: TestContext): Promise<TestServer & { tcpPort: number }> {
  const site = await startHttp(t, (_request, response) => response.end('hello'));
  const echo = await startEcho(t);
  const tcpPort = await freePort();
  const tunnel = await startTunnel(t, [
    ...['--upstream', `${HOST}=http://127.0.0.1:${site}`],
    ...['--upstream', `dead.example.com=http://127.0.0.1:${await freePort()}`],
    ...['--tcp', `${tcpPort}=127.0.0.1:${echo}`],
  ]);
  return { ...tunnel, tcpPort };
}

test('promtool finds nothing wrong on either port after traffic of every kind', async (t) => {
  const programs = requirePrograms(t, ['promtool']);
  if (programs === undefined) return;
  const place = await startPlace(t);
  const { httpPort: port, tcpPort, controlPort, adminPort } = place;
  assert.equal((await get(t, { port, host: HOST })).status, 200);
  assert.equal((await get(t, { port, host: 'dead.example.com' })).status, 502);
  assert.equal((await get(t, { port, host: 'nobody.example.com' })).status, 404);
  await echoOnce(await connectTo(t, tcpPort), 'hello');
  const refused = await fetch(`http://127.0.0.1:${controlPort}/status`);
  assert.equal(refused.status, 401);
  for (const one of [controlPort, adminPort]) {
    const page = await scrape(one);
    const check: SpawnSyncReturns<string> = spawnSync(programs.promtool, ['check', 'metrics'], {
      input: page.text,
      encoding: 'utf8',
    });
    const remarks = `${check.stdout}${check.stderr}`.trim().split('\n');
    assert.deepEqual(remarks, REMARKS);
    const served = `http_dataplane_requests_total{code="200",host="${HOST}",method="GET"}`;
    assert.equal(figureOf(page, served), 1);
  }
});

test('a shard that stands still holds up no scrape, keeps its last figures, and is found out', async (t) => {
  const fault = faultOnCue(t, 'shard-block');
  const server = await startServer(t, fault);
  const before = seriesOf(await scrape(server.adminPort)).length;
  fault.strike();
  // It blocks for 6 s, and the deadline of a scrape is 1 s.
  await eventually(12_000, 'a scrape that did not wait for the shard', async () => {
    const page = await scrape(server.adminPort);
    assert.ok(page.tookMs > 900, `answered in ${Math.round(page.tookMs)} ms: not blocked yet`);
    assert.ok(page.tookMs < 3000, `answered in ${Math.round(page.tookMs)} ms`);
    assert.ok(seriesOf(page).length >= before, 'nothing is missing');
  });
  const longest = 'sluiceway_shard_loop_delay_seconds{shard="0",quantile="1"}';
  await eventually(12_000, 'a scrape that says for how long it stood still', async () => {
    assert.ok(figureOf(await scrape(server.adminPort), longest) > 5);
  });
});

test('10,000 hosts, methods and tunnel names that do not exist: at most 20 new series', async (t) => {
  const { httpPort, controlPort, adminPort } = await startPlace(t);
  await get(t, { port: httpPort, host: HOST });
  const before = new Set(seriesOf(await scrape(adminPort)));
  const agent = new http.Agent({ keepAlive: true, maxSockets: 32 });
  undoAfter(t, () => agent.destroy());
  const ask = (port: number, options: http.RequestOptions): Promise<void> =>
    new Promise((resolve) => {
      const request = http.request({ host: '127.0.0.1', port, agent, ...options }, (response) => {
        response.resume();
        response.once('close', resolve);
      });
      request.once('error', () => resolve());
      request.end();
    });
  const methods = ['GET', 'PUT', 'PROPFIND', 'PURGE', 'M-SEARCH'];
  for (let batch = 0; batch < 100; batch += 1) {
    await Promise.all(
      Array.from({ length: 100 }, (_, at) => {
        const name = `x${batch}-${at}-${Math.random().toString(36).slice(2)}`;
        const method = methods[at % methods.length] ?? 'GET';
        if (at % 10 === 0) return ask(controlPort, { path: `/readyz?tunnel=${name}` });
        if (at % 10 === 1) return ask(controlPort, { path: `/${name}` });
        return ask(httpPort, { method, headers: { host: `${name}.example.org` } });
      }),
    );
  }
  for (let at = 0; at < 200; at += 1) {
    await sendRaw(
      httpPort,
      Buffer.from(`X${at}Z / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`),
    );
  }
  const fresh = seriesOf(await scrape(adminPort)).filter((one) => !before.has(one));
  // A histogram is one series, told by its buckets.
  const counted = new Set(
    fresh.map((one) => one.replace(/_(?:bucket|sum|count)\b/u, '').replace(/,?le="[^"]*"/u, '')),
  );
  t.diagnostic(`${counted.size} new series: ${[...counted].join(' ')}`);
  assert.ok(counted.size <= 20, [...counted].join('\n'));
});

test('a scrape with 5,000 open streams', async (t) => {
  const { tcpPort, adminPort } = await startPlace(t);
  const sockets: net.Socket[] = [];
  undoAfter(t, () => {
    for (const socket of sockets) socket.destroy();
  });
  const STREAMS = 5000;
  for (let batch = 0; batch < STREAMS / 100; batch += 1) {
    await Promise.all(
      Array.from({ length: 100 }, async () => {
        const socket = net.connect(tcpPort, '127.0.0.1');
        socket.on('error', () => undefined);
        sockets.push(socket);
        socket.write('x');
        await new Promise((resolve) => socket.once('data', resolve));
      }),
    );
  }
  const tookMs: number[] = [];
  for (let count = 0; count < 7; count += 1) {
    const page = await scrape(adminPort);
    assert.equal(figureOf(page, `sluiceway_streams_open{tunnel="tcp:${tcpPort}"}`), STREAMS);
    tookMs.push(Math.round(page.tookMs));
  }
  t.diagnostic(`scrapes with ${STREAMS} streams: ${tookMs.join(', ')} ms`);
  // The best of several, as other tests share the machine.
  assert.ok(Math.min(...tookMs) <= 250, `${tookMs.join(', ')} ms`);
});
