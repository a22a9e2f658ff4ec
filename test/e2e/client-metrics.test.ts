// Goal: probes and Prometheus can ask a client itself, and get what is so. Method: real processes;
// a server that comes late and goes; promtool reads the page.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { type TestContext, test } from 'node:test';
import { eventually } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { runProgram } from '../support/process.ts';
import { requirePrograms } from '../support/programs.ts';
import {
  ENTRY,
  environment,
  listeningPort,
  spawnClient,
  startServer,
  startTunnel,
} from '../support/tunnel.ts';
import { connectTo, echoOnce, get, startEcho, startHttp } from '../support/upstream.ts';

const HOST = 'site.example.com';
const METRICS = ['--metrics-addr', '127.0.0.1:0'];

async function ask(port: number, path: string): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`);
  return `${response.status} ${(await response.text()).trim()}`;
}

async function scrape(port: number): Promise<{ page: string; of: (series: string) => number }> {
  const page = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const of = (series: string): number => {
    const start = `sluiceway_client_${series} `;
    const line = page.split('\n').find((one) => one.startsWith(start));
    return Number(line?.slice(start.length));
  };
  return { page, of };
}

async function ports(): Promise<{ control: number; http: number; admin: number }> {
  return { control: await freePort(), http: await freePort(), admin: await freePort() };
}

test('a client is ready while a server serves it, alive all the time, and says why not', async (t) => {
  const site = await startHttp(t, (_request, response) => response.end('hello'));
  const fixed = await ports();
  const place = { controlPort: fixed.control };
  const early = await startServer(t, { ports: fixed });
  const args = ['--upstream', `${HOST}=http://127.0.0.1:${site}`, ...METRICS];
  await early.process.stop();
  const client = spawnClient(t, place, { args });
  const port = await listeningPort(client, 'metrics');
  await eventually(10_000, 'it says that nobody is there', async () => {
    assert.match(await ask(port, '/readyz'), /^503 SLW_DIAL_FAILED: .*ECONNREFUSED/u);
  });
  assert.equal(await ask(port, '/healthz'), '200 ok');
  const server = `server="ws://127.0.0.1:${fixed.control}/connect"`;
  const before = await scrape(port);
  assert.equal(before.of(`connected{${server}}`), 0);
  assert.ok(before.of(`link_failures_total{${server},code="SLW_DIAL_FAILED"}`) >= 1);
  const late = await startServer(t, { ports: fixed });
  await eventually(30_000, 'it is ready', async () => {
    assert.equal(await ask(port, '/readyz'), '200 ok');
  });
  assert.equal(await ask(port, `/readyz?tunnel=${HOST}`), '200 ok');
  assert.equal(await ask(port, '/readyz?tunnel=other.example.com'), '503 not served');
  const after = await scrape(port);
  assert.equal(after.of(`connected{${server}}`), 1);
  assert.equal(after.of(`tunnel_up{tunnel="${HOST}",${server}}`), 1);
  await late.process.stop();
  await eventually(10_000, 'it is not ready any more', async () => {
    assert.match(await ask(port, '/readyz'), /^503 /u);
  });
  assert.equal(await ask(port, '/healthz'), '200 ok');
});

test('it is not ready before its first look at the upstream has ended', async (t) => {
  let answerLook: (() => void) | undefined;
  const site = await startHttp(t, (request, response) => {
    if (request.headers['user-agent'] !== 'sluiceway-health-check') response.end('hello');
    else if (answerLook === undefined) answerLook = () => void response.end();
    else response.end();
  });
  const server = await startServer(t);
  const args = ['--upstream', `${HOST}=http://127.0.0.1:${site}`, ...METRICS];
  const look = ['--health-check', 'http:/', '--health-check-timeout', '60s'];
  const client = spawnClient(t, server, { args: [...args, ...look] });
  const port = await listeningPort(client, 'metrics');
  await eventually(10_000, 'it is connected, and says what it waits for', async () => {
    assert.equal(await ask(port, '/readyz'), `503 ${HOST} is checking`);
  });
  assert.notEqual((await get(t, { port: server.httpPort, host: HOST })).status, 200);
  answerLook?.();
  await eventually(10_000, 'it is ready', async () => {
    assert.equal(await ask(port, '/readyz'), '200 ok');
  });
  assert.equal((await get(t, { port: server.httpPort, host: HOST })).status, 200);
});

async function startPlace(t: TestContext) {
  const site = await startHttp(t, (_request, response) => response.end('hello'));
  const echo = await startEcho(t);
  const tcpPort = await freePort();
  const tunnel = await startTunnel(t, [
    ...['--upstream', `${HOST}=http://127.0.0.1:${site}`],
    ...['--upstream', `dead.example.com=http://127.0.0.1:${await freePort()}`],
    ...['--tcp', `${tcpPort}=127.0.0.1:${echo}`, ...METRICS],
  ]);
  return { ...tunnel, tcpPort, port: await listeningPort(tunnel.client, 'metrics') };
}

test('what passed is counted, and promtool finds nothing wrong', async (t) => {
  const { httpPort, tcpPort, port } = await startPlace(t);
  assert.equal((await get(t, { port: httpPort, host: HOST })).status, 200);
  assert.equal((await get(t, { port: httpPort, host: 'dead.example.com' })).status, 502);
  const visitor = await connectTo(t, tcpPort);
  await echoOnce(visitor, 'hello');
  const { page, of } = await scrape(port);
  const tcp = `tunnel="tcp:${tcpPort}"`;
  assert.equal(of(`bytes_total{${tcp},direction="in"}`), 5);
  assert.equal(of(`bytes_total{${tcp},direction="out"}`), 5);
  assert.equal(of(`streams_open{${tcp}}`), 1);
  const refused = 'streams_total{tunnel="dead.example.com",result="SLW_STREAM_REFUSED"}';
  assert.equal(of(refused), 1);
  visitor.end();
  await eventually(10_000, 'the stream has ended', async () => {
    assert.equal((await scrape(port)).of(`streams_total{${tcp},result="ok"}`), 1);
  });
  const programs = requirePrograms(t, ['promtool']);
  if (programs === undefined) return;
  const check = spawnSync(programs.promtool, ['check', 'metrics'], {
    input: page,
    encoding: 'utf8',
  });
  assert.equal(`${check.stdout}${check.stderr}`, '');
});

test('one that drains is not ready, and says so until its last stream has ended', async (t) => {
  const { tcpPort, client, port } = await startPlace(t);
  const visitor = await connectTo(t, tcpPort);
  await echoOnce(visitor, 'hello');
  assert.equal(await ask(port, '/readyz'), '200 ok');
  client.kill('SIGTERM');
  await eventually(2500, 'it says that it drains', async () => {
    assert.equal(await ask(port, '/readyz'), '503 the client drains');
  });
  assert.equal(await ask(port, '/healthz'), '200 ok');
  visitor.end();
  assert.equal((await client.expectEnd()).code, 0);
});

test('an address that is taken ends the client, and is named', async (t) => {
  const { port } = await startPlace(t);
  const output = await runProgram(t, {
    command: process.execPath,
    args: [
      ...[ENTRY, 'client', '--url', 'ws://127.0.0.1:9', '--upstream', `${HOST}=http://127.0.0.1:9`],
      ...['--metrics-addr', `127.0.0.1:${port}`],
    ],
    env: environment(),
    ms: 20_000,
  });
  assert.equal(output.code, 1);
  assert.match(output.stderr, new RegExp(`--metrics-addr 127\\.0\\.0\\.1:${port}`, 'u'));
});
