// Goal: while the other side is away nobody is served, and who is away longer than 35 s is known to
// be by both sides that run; traffic is back within the longest back-off after it can be, whatever
// was away: the client, stopped for a minute; the network, for ten seconds and for a minute, or for
// a minute what one side sends; the server, which has moved to another address. Method: real
// processes in namespaces of their own; nftables drops, names that change.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '../support/deadline.ts';
import { createNetns, type Netns } from '../support/netns.ts';
import { startProcess, type TestProcess } from '../support/process.ts';
import { scratchFolder } from '../support/programs.ts';
import { startClient, startServer, type TestServer } from '../support/tunnel.ts';

const HOST = 'site.example.com';
/** Promised (README, 4); a busy machine has some more. */
const BACK_MS = 13_000 + 5000;
/** A link is dead 30 s after its last byte, as ticks and pings see it. */
const DEAD_WITHIN_MS = 35_000;
const LONG_MS = 60_000;
const SHORT_MS = 10_000;

const SITE = `require('http').createServer((q, r) => r.end('here')).listen(3000, '127.0.0.1', () => console.log('ready'))`;
/** Asks once for the site, and says the status, or 0 for none. */
const ASK = `const say = (status) => { console.log(status); process.exit(); };
  const q = require('http').get({ port: process.argv[1], host: '127.0.0.1', timeout: 4000,
  headers: { host: '${HOST}' } }, (r) => say(r.statusCode));
  q.on('timeout', () => q.destroy()).on('error', () => say(0));`;

async function startSite(t: TestContext, netns: Netns): Promise<void> {
  const site = startProcess(t, { name: 'site', ...netns.inside(process.execPath, ['-e', SITE]) });
  await site.line('the site is ready', (line) => line === 'ready');
}

/** The status of an answer; 0: none in time. */
async function ask(netns: Netns, { httpPort }: TestServer): Promise<number> {
  return Number(await netns.run(process.execPath, '-e', ASK, String(httpPort)));
}

/** How long it takes until the site is served. */
async function untilServed(netns: Netns, server: TestServer): Promise<number> {
  const startMs = performance.now();
  while (performance.now() - startMs < BACK_MS) {
    if ((await ask(netns, server)) === 200) return performance.now() - startMs;
    await sleep(200);
  }
  throw new Error(`not back within ${BACK_MS} ms`);
}

interface Place {
  readonly netns: Netns;
  readonly server: TestServer;
  readonly client: TestProcess;
}

async function startPlace(t: TestContext): Promise<Place | undefined> {
  const netns = await createNetns(t);
  if (netns === undefined) return undefined;
  await startSite(t, netns);
  const server = await startServer(t, { netns });
  const args = ['--upstream', `${HOST}=http://127.0.0.1:3000`];
  const client = await startClient(t, server, { netns, args });
  assert.equal(await ask(netns, server), 200);
  return { netns, server, client };
}

/** Drops what comes from the server (`sport`), and what goes there. */
async function cutCable(
  { netns, server }: Place,
  sides: readonly ('sport' | 'dport')[],
): Promise<void> {
  await netns.run('nft', 'add table inet cable');
  const chain = '{ type filter hook output priority 0; }';
  await netns.run('nft', `add chain inet cable out ${chain}`);
  for (const side of sides) {
    await netns.run('nft', `add rule inet cable out tcp ${side} ${server.controlPort} drop`);
  }
}

async function mendCable(t: TestContext, { netns, server }: Place): Promise<void> {
  await netns.run('nft', 'delete table inet cable');
  const ms = await untilServed(netns, server);
  t.diagnostic(`served again after ${Math.round(ms)} ms`);
}

/** Until `awayMs` are over nobody is served; when they are long, both know that the link died. */
async function spendOutage(
  { netns, server }: Place,
  awayMs: number,
  runs: readonly TestProcess[],
): Promise<void> {
  const over = sleep(awayMs);
  // The link is not known to be dead yet: the visitor waits.
  assert.equal(await ask(netns, server), 0, 'something was away');
  if (awayMs > DEAD_WITHIN_MS) {
    const isDead = (line: string): boolean => line.includes('SLW_LINK_DEAD');
    for (const run of runs) await run.line('the link is dead', isDead, DEAD_WITHIN_MS);
    // Of several links the others may be found dead a second later.
    await eventually(DEAD_WITHIN_MS, 'visitors are told so', async () =>
      assert.equal(await ask(netns, server), 503),
    );
  }
  await over;
}

test('outages', { concurrency: true }, async (t) => {
  const outages = [
    t.test('the client is stopped for a minute', async (t) => {
      const place = await startPlace(t);
      if (place === undefined) return;
      process.kill(place.client.pid, 'SIGSTOP');
      await spendOutage(place, LONG_MS, [place.server.process]);
      process.kill(place.client.pid, 'SIGCONT');
      const ms = await untilServed(place.netns, place.server);
      t.diagnostic(`served again after ${Math.round(ms)} ms`);
    }),
    ...[SHORT_MS, LONG_MS].map((awayMs) =>
      t.test(`the network is away for ${awayMs / 1000} s`, async (t) => {
        const place = await startPlace(t);
        if (place === undefined) return;
        await cutCable(place, ['sport', 'dport']);
        await spendOutage(place, awayMs, [place.server.process, place.client]);
        await mendCable(t, place);
      }),
    ),
    ...(['server', 'client'] as const).map((who) =>
      t.test(`what the ${who} sends is away for a minute`, async (t) => {
        const place = await startPlace(t);
        if (place === undefined) return;
        await cutCable(place, [who === 'server' ? 'sport' : 'dport']);
        // Who hears nothing finds it out. The other hears of that, or that its own is not answered.
        const deaf = who === 'server' ? place.client : place.server.process;
        await spendOutage(place, LONG_MS, [deaf]);
        await mendCable(t, place);
      }),
    ),
    t.test('the server has another address', async (t) => {
      const netns = await createNetns(t);
      if (netns === undefined) return;
      const addresses = ['10.77.0.1', '10.77.0.2'] as const;
      await netns.ip(
        ...['link add out type bridge', 'link set out up'],
        ...addresses.map((address) => `addr add ${address}/24 dev out`),
      );
      const table = path.join(scratchFolder(t), 'names.json');
      const put = (address: string): void =>
        writeFileSync(table, JSON.stringify({ 'exit.test': [address] }));
      put(addresses[0]);
      const dns = startProcess(t, {
        name: 'dns',
        ...netns.inside(process.execPath, ['test/fixtures/dns.ts', '53', `@${table}`]),
      });
      await dns.line('the name server is ready', (line) => line === 'ready');
      await startSite(t, netns);
      const controlAt = (address: string): string[] => [
        ...['--control-addr', `${address}:8123`, '--no-auto-tls'],
      ];
      const first = await startServer(t, { netns, args: controlAt(addresses[0]) });
      await startClient(t, first, {
        ...{ netns, url: 'ws://exit.test:8123' },
        args: ['--upstream', `${HOST}=http://127.0.0.1:3000`],
      });
      assert.equal(await ask(netns, first), 200);
      const second = await startServer(t, { netns, args: controlAt(addresses[1]) });
      put(addresses[1]);
      await first.process.stop();
      const ms = await untilServed(netns, second);
      t.diagnostic(`served at the new address after ${Math.round(ms)} ms`);
    }),
  ];
  await Promise.all(outages);
});
