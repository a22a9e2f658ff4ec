// Goal: traffic is back within ten seconds after it can be, whatever was away: the client, stopped
// for a minute; the network, for ten seconds and for a minute; the server, which has moved to
// another address. Method: real processes in namespaces of their own; nftables drops, names that
// change.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createNetns, type Netns } from '../support/netns.ts';
import { startProcess, type TestProcess } from '../support/process.ts';
import { scratchFolder } from '../support/programs.ts';
import { startClient, startServer, type TestServer } from '../support/tunnel.ts';

const HOST = 'site.example.com';
/** Promised; a busy machine has some more. */
const BACK_MS = 10_000 + 5000;
const LONG_MS = 60_000;
const SHORT_MS = 10_000;

const SITE = `require('http').createServer((q, r) => r.end('here')).listen(3000, '127.0.0.1', () => console.log('ready'))`;
/** Asks once for the site; the exit code says whether it was served. */
const ASK = `const q = require('http').get({ port: process.argv[1], host: '127.0.0.1', timeout: 4000,
  headers: { host: '${HOST}' } }, (r) => process.exit(r.statusCode === 200 ? 0 : 1));
  q.on('timeout', () => q.destroy()).on('error', () => process.exit(1));`;

async function startSite(t: TestContext, netns: Netns): Promise<void> {
  const site = startProcess(t, { name: 'site', ...netns.inside(process.execPath, ['-e', SITE]) });
  await site.line('the site is ready', (line) => line === 'ready');
}

async function isServed(netns: Netns, { httpPort }: TestServer): Promise<boolean> {
  const asked = netns.run(process.execPath, '-e', ASK, String(httpPort));
  return await asked.then(
    () => true,
    () => false,
  );
}

/** How long it takes until the site is served. */
async function untilServed(netns: Netns, server: TestServer): Promise<number> {
  const startMs = performance.now();
  while (performance.now() - startMs < BACK_MS) {
    if (await isServed(netns, server)) return performance.now() - startMs;
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
  assert.equal(await isServed(netns, server), true);
  return { netns, server, client };
}

test('outages', { concurrency: true }, async (t) => {
  const outages = [
    t.test('the client is stopped for a minute', async (t) => {
      const place = await startPlace(t);
      if (place === undefined) return;
      process.kill(place.client.pid, 'SIGSTOP');
      await sleep(LONG_MS);
      process.kill(place.client.pid, 'SIGCONT');
      const ms = await untilServed(place.netns, place.server);
      t.diagnostic(`served again after ${Math.round(ms)} ms`);
    }),
    ...[SHORT_MS, LONG_MS].map((awayMs) =>
      t.test(`the network is away for ${awayMs / 1000} s`, async (t) => {
        const place = await startPlace(t);
        if (place === undefined) return;
        const { netns, server } = place;
        const port = String(server.controlPort);
        await netns.run('nft', 'add table inet cable');
        const chain = '{ type filter hook output priority 0; }';
        await netns.run('nft', `add chain inet cable out ${chain}`);
        for (const side of ['sport', 'dport']) {
          await netns.run('nft', `add rule inet cable out tcp ${side} ${port} drop`);
        }
        await sleep(awayMs);
        await netns.run('nft', 'delete table inet cable');
        const ms = await untilServed(netns, server);
        t.diagnostic(`served again after ${Math.round(ms)} ms`);
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
      assert.equal(await isServed(netns, first), true);
      const second = await startServer(t, { netns, args: controlAt(addresses[1]) });
      put(addresses[1]);
      await first.process.stop();
      const ms = await untilServed(netns, second);
      t.diagnostic(`served at the new address after ${Math.round(ms)} ms`);
    }),
  ];
  await Promise.all(outages);
});
