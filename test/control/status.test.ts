// Goal: the document of the contract, key by key. Method: a registry with two clients and the sums
// of their links.

import assert from 'node:assert/strict';
import { hostname } from 'node:os';
import { test } from 'node:test';
import { SampleBook } from '../../src/bridge/sample-book.ts';
import { Registry } from '../../src/control/registry.ts';
import { describeStatus } from '../../src/control/status.ts';
import { linkSample, shardSample } from '../bridge/shard-sample.ts';
import { serverConfig } from '../support/configs.ts';
import { PLAIN } from './registry-bench.ts';

const STARTED_MS = Date.UTC(2026, 0, 2, 3, 4, 5);

test('names every client, what it serves and what went through, as visitors see it', async () => {
  const registry = new Registry({ ...PLAIN, wallMs: () => STARTED_MS + 60_000 });
  const hello = { instance: 'i', agent: 'sluiceway/0.9.1', remoteAddress: '192.0.2.1:77' };
  // It was started before: its older instance is replaced.
  registry.hello({ ...hello, link: '9-9', client: 'alpha', instance: 'old' }, 0);
  registry.hello({ ...hello, link: '0-1', client: 'alpha' }, 0);
  registry.hello({ ...hello, link: '1-1', client: 'alpha' }, 1);
  registry.hello({ ...hello, link: '0-2', client: 'beta', agent: 'other/2' }, 0);
  const offers = [
    { name: 'a.example', label: 'a.example=http://127.0.0.1:3000' },
    { name: 'tcp:2222', label: 'tcp:2222=127.0.0.1:22' },
  ];
  await registry.register('0-1', offers, 1);
  const book = new SampleBook();
  const links = [
    linkSample('0-1', { roundTripMs: 4.3219, streams: 2, bytesIn: 10, bytesOut: 1 }),
    linkSample('1-1', { roundTripMs: 7, streams: 3, bytesIn: 20, bytesOut: 2 }),
  ];
  book.set(0, shardSample({ links }), 'scrape');
  const status = describeStatus({
    registry,
    totals: book.totals(),
    config: serverConfig({ shards: '3' }),
    version: '0.1.0',
    startedMs: STARTED_MS,
  });
  assert.deepEqual(status, {
    info: {
      version: '0.1.0',
      mode: 'http,tcp,udp',
      hostname: hostname(),
      startTime: '2026-01-02T03:04:05.000Z',
      shards: 3,
    },
    clients: [
      {
        clientID: 'alpha',
        remoteAddr: '192.0.2.1:77',
        since: '2026-01-02T03:05:05.000Z',
        version: '0.9.1',
        links: 2,
        upstreams: ['a.example=http://127.0.0.1:3000', 'tcp:2222=127.0.0.1:22'],
        tunnels: ['a.example', 'tcp:2222'],
        streams: 5,
        bytesIn: 3,
        bytesOut: 30,
        rttMs: 4.32,
        restarts: 1,
      },
      {
        clientID: 'beta',
        remoteAddr: '192.0.2.1:77',
        since: '2026-01-02T03:05:05.000Z',
        version: 'other/2',
        links: 1,
        upstreams: [],
        tunnels: [],
        streams: 0,
        bytesIn: 0,
        bytesOut: 0,
        rttMs: 0,
        restarts: 0,
      },
    ],
  });
});

test('the mode says what visitors can come by', () => {
  const registry = new Registry(PLAIN);
  const totals = new SampleBook().totals();
  const modeOf = (flags: Readonly<Record<string, string>>): string => {
    const config = serverConfig({ 'http-addr': 'off', ...flags });
    return describeStatus({ registry, totals, config, version: '1', startedMs: 0 }).info.mode;
  };
  assert.equal(modeOf({}), 'tcp,udp');
  assert.equal(modeOf({ 'udp-ports': 'off' }), 'tcp');
  assert.equal(modeOf({ 'tcp-ports': 'off', 'udp-ports': '5353' }), 'udp');
});
