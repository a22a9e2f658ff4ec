// Goal: system calls that fail, of a server, then of a client, cost those whom they were for, and
// the process goes on. Method: strace makes one of twenty calls fail while visitors ask, each over
// a connection of its own; what libuv itself ends the process for (its own pipes) is left alone.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { eventually } from '../support/deadline.ts';
import { attachStrace } from '../support/strace.ts';
import { startTunnel, type TestTunnel } from '../support/tunnel.ts';
import { get, startHttp } from '../support/upstream.ts';

const HOST = 'site.example.com';
const ASKED = 200;
/** Of a client not those of writing: they would be its links, and each a back-off. */
const CLIENT_FAULTS = ['connect:ENETUNREACH', 'openat:EMFILE'];
const SERVER_FAULTS = [...CLIENT_FAULTS, 'accept4:ECONNABORTED', 'writev:EPIPE'];
/** Promised (README, 4); a busy machine has some more. */
const BACK_MS = 13_000 + 5000;
const BODY = 'x'.repeat(100_000);

/** Statuses of requests that were asked one after the other; 0: none. */
async function ask(t: TestContext, { httpPort }: TestTunnel, count: number): Promise<number[]> {
  const statuses: number[] = [];
  for (let asked = 0; asked < count; asked += 1) {
    const answer = await get(t, { port: httpPort, host: HOST }).catch(() => undefined);
    assert.ok(answer === undefined || answer.status !== 200 || answer.body === BODY, 'cut, unseen');
    statuses.push(answer?.status ?? 0);
  }
  return statuses;
}

for (const [who, faults] of [
  ['server', SERVER_FAULTS],
  ['client', CLIENT_FAULTS],
] as const) {
  test(`system calls of the ${who} fail, and it goes on`, async (t) => {
    const site = await startHttp(t, (_request, response) => response.end(BODY));
    const tunnel = await startTunnel(t, ['--upstream', `${HOST}=http://127.0.0.1:${site}`]);
    const target = who === 'server' ? tunnel.process : tunnel.client;
    const inject = faults.flatMap((fault) => {
      const [call, error] = fault.split(':');
      return ['-e', `inject=${call}:error=${error}:when=10+20`];
    });
    const calls = ['-e', 'trace=accept4,connect,openat,writev'];
    const strace = await attachStrace(t, target.pid, [...calls, ...inject]);
    if (strace === undefined) return;
    const statuses = await ask(t, tunnel, ASKED);
    const injected = strace.stderr.filter((line) => line.includes('INJECTED'));
    await strace.stop();
    const served = statuses.filter((status) => status === 200).length;
    t.diagnostic(`${injected.length} calls failed, ${served} of ${ASKED} were served`);
    assert.ok(injected.length >= 5, strace.tail());
    assert.ok(served >= ASKED / 2, statuses.join(' '));
    assert.ok(tunnel.process.isRunning && tunnel.client.isRunning);
    // A link may have been among them: it is dialled again.
    await eventually(BACK_MS, 'all are served again', async () => {
      assert.deepEqual(new Set(await ask(t, tunnel, 50)), new Set([200]));
    });
  });
}
