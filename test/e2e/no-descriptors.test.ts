// Goal: who has no descriptor left to dial with says so, serves those who are there, and goes on
// when there are some again. Method: real processes, whose limit prlimit lowers below what they
// have open and raises again; a network that is cut, so that a link is to be dialled.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { startRelay } from '../support/cut-relay.ts';
import { eventually } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { runProgram, type TestProcess } from '../support/process.ts';
import { skipOrFail } from '../support/programs.ts';
import { startClient, startServer, startTunnel } from '../support/tunnel.ts';
import { startUdp, visitUdp } from '../support/udp.ts';
import { connectTo, echoOnce, get, startEcho, startHttp } from '../support/upstream.ts';

/** Fewer than any process has open. */
const NONE = 8;
const ENOUGH = 1024;
/** The longest back-off (README, 4), and a busy machine. */
const BACK_MS = 13_000 + 5000;

/** The limit that can be raised again by whoever lowered it. */
async function allow(t: TestContext, process: TestProcess, descriptors: number): Promise<void> {
  const args = ['--pid', String(process.pid), `--nofile=${descriptors}:`];
  const run = await runProgram(t, { command: 'prlimit', args });
  assert.equal(run.code, 0, run.stderr);
}

/** A line of the log of whoever could not connect to an upstream. */
const isNamed = (line: string): boolean =>
  line.includes('"code":"EMFILE"') &&
  line.includes('"msg":"no descriptor is left to connect with"');

test('a client without a descriptor for upstreams and links says so, and comes back', async (t) => {
  if (process.platform !== 'linux') return skipOrFail(t, 'limits are set by prlimit, of Linux');
  const server = await startServer(t, { shards: 1 });
  const relay = await startRelay(t, server.controlPort);
  const [port, echo] = [await freePort(), await startEcho(t)];
  const site = await startHttp(t, (_request, response) => response.end('served'));
  const client = await startClient(t, server, {
    url: `ws://127.0.0.1:${relay.port}`,
    args: ['--tcp', `${port}=127.0.0.1:${echo}`, '--upstream', `a.test=http://127.0.0.1:${site}`],
  });
  const ask = async () => (await get(t, { port: server.httpPort, host: 'a.test' })).status;
  const early = await connectTo(t, port);
  assert.equal(await echoOnce(early, 'before'), 'before');
  await allow(t, client, NONE);
  for (let asked = 0; asked < 3; asked += 1) assert.equal(await ask(), 502);
  await client.line('why', isNamed);
  assert.equal(await echoOnce(early, 'meanwhile'), 'meanwhile');
  await allow(t, client, ENOUGH);
  assert.equal(await ask(), 200);
  assert.equal(client.stderr.filter(isNamed).length, 1, 'once in a while');
  await allow(t, client, NONE);
  relay.cut();
  await client.line('a second try', (line) =>
    /"detail":"no descriptor is left to dial [^"]*\(EMFILE\)","attempts":3/u.test(line),
  );
  await allow(t, client, ENOUGH);
  await eventually(BACK_MS, 'visitors are served again', async () => {
    assert.equal(await ask(), 200);
    assert.equal(await echoOnce(await connectTo(t, port), 'after'), 'after');
  });
});

test('a client without a descriptor for a flow of UDP says so, and serves later ones', async (t) => {
  if (process.platform !== 'linux') return skipOrFail(t, 'limits are set by prlimit, of Linux');
  const [port, echo] = [await freePort(), await startUdp(t)];
  const tunnel = await startTunnel(t, ['--udp', `${port}=127.0.0.1:${echo.port}`], { shards: 1 });
  await allow(t, tunnel.client, NONE);
  const early = await visitUdp(t, port);
  early.send('early');
  await tunnel.client.line('why', isNamed);
  await allow(t, tunnel.client, ENOUGH);
  const late = await visitUdp(t, port);
  assert.equal(String(await late.ask('late')), 'late');
});

test('an exit node without a descriptor for a forward says so, and forwards again', async (t) => {
  if (process.platform !== 'linux') return skipOrFail(t, 'limits are set by prlimit, of Linux');
  const [port, echo] = [await freePort(), await startEcho(t)];
  const rule = ['--client-forwarding', `127.0.0.1:${echo}`];
  const server = await startServer(t, { shards: 1, args: rule });
  await startClient(t, server, { args: ['--local', `${port}:127.0.0.1:${echo}`] });
  const early = await connectTo(t, port);
  assert.equal(await echoOnce(early, 'before'), 'before');
  await allow(t, server.process, NONE);
  const late = await connectTo(t, port);
  const closed = new Promise((resolve) => late.on('error', () => undefined).on('close', resolve));
  await server.process.line('why', isNamed);
  await closed;
  assert.equal(await echoOnce(early, 'meanwhile'), 'meanwhile');
  await allow(t, server.process, ENOUGH);
  assert.equal(await echoOnce(await connectTo(t, port), 'after'), 'after');
});
