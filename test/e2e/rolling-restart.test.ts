// Goal: two exit nodes behind a balancer are restarted one after the other, as docs/operating/
// drain.md says, and no request fails, those included that run when their node is told to end.
// Method: one client with a `--url` for each, 200 requests a second through a balancer that asks
// /readyz, and an upstream that takes seconds for some of them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBalancer } from '../support/balancer.ts';
import { eventually } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { RequestLoad } from '../support/request-load.ts';
import { type Ports, spawnClient, startServer } from '../support/tunnel.ts';
import { startHttp } from '../support/upstream.ts';

const HOST = 'site.example.com';
const EVERY_MS = 5;
/** Above what the balancer needs to notice, ten times over. */
const DRAIN_DELAY = '1500ms';
/** One request in so many outlives the delay. */
const SLOW_EVERY = 20;
const SLOW_MS = 2500;
/** Promised (README, 4); a busy machine has some more. */
const BACK_MS = 10_000 + 10_000;
/** Before a node is told to end it serves as many, so that it has some in flight. */
const REQUESTS_LEAST = 100;

async function freshPorts(): Promise<Ports> {
  return { control: await freePort(), http: await freePort(), admin: await freePort() };
}

test('two servers are restarted in turn under load: no request fails', async (t) => {
  let inFlightSlow = 0;
  const upstream = await startHttp(t, (request, response) => {
    if (Number(request.url?.slice(1)) % SLOW_EVERY !== 0) return void response.end('hello');
    inFlightSlow += 1;
    setTimeout(() => {
      inFlightSlow -= 1;
      response.end('hello');
    }, SLOW_MS);
  });
  const ports = [await freshPorts(), await freshPorts()];
  const start = (at: Ports) => startServer(t, { ports: at, drainDelay: DRAIN_DELAY });
  const servers = await Promise.all(ports.map(start));
  const balancer = await startBalancer(t, servers, `/readyz?tunnel=${HOST}`);
  const [first, second] = servers;
  assert.ok(first !== undefined && second !== undefined);
  spawnClient(t, first, {
    args: [
      ...['--url', `ws://127.0.0.1:${second.controlPort}`],
      ...['--upstream', `${HOST}=http://127.0.0.1:${upstream}`],
    ],
  });
  const allServe = () =>
    eventually(BACK_MS, 'both are ready, and serve', async () => {
      for (const { health, requests } of balancer.backends) {
        assert.equal(health, 'up');
        assert.ok(load === undefined || requests > REQUESTS_LEAST, `${requests} requests`);
      }
    });
  let load: RequestLoad | undefined;
  await allServe();
  load = new RequestLoad(t, { port: balancer.port, host: HOST, everyMs: EVERY_MS });
  for (const [index, at] of ports.entries()) {
    await allServe();
    assert.ok(inFlightSlow > 0, 'some requests run for long');
    const ending = await servers[index]?.process.stop('SIGTERM');
    assert.equal(ending?.code, 0);
    servers[index] = await start(at);
    // The client has dialled it again, visitors have come to it.
    await allServe();
  }
  await load.stop();
  t.diagnostic(`${load.sent} requests, ${load.failures.length} failed, 2 servers restarted`);
  assert.deepEqual(load.failures, []);
});
