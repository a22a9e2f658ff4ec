// The client's page: every row, with its labels and its value.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SampleBook } from '../../src/bridge/sample-book.ts';
import type { LocalLink, LocalServer, LocalStatus } from '../../src/client/local-status.ts';
import { ClientMetrics, type ClientReading } from '../../src/client/metrics.ts';
import { shardSample } from '../bridge/shard-sample.ts';

const UP = 'wss://a.example:8123/connect';
const DOWN = 'wss://b.example:8123/connect';

function link(more: Partial<LocalLink>): LocalLink {
  const zero = { streams: 0, bytesIn: 0, bytesOut: 0 };
  return { link: 'l', state: 'up', serverShard: 0, rttMs: 0, ...zero, ...more };
}

function server(url: string, state: LocalServer['state'], more: Partial<LocalServer>): LocalServer {
  return { url, state, lastError: '', links: [], tunnels: [], ...more };
}

const STATUS: LocalStatus = {
  ...{ clientID: 'c', pid: 1, version: '9.9.9', since: '', state: 'running', forwards: [] },
  servers: [
    server(UP, 'connected', {
      links: [
        link({ rttMs: 30 }),
        link({ state: 'moved', rttMs: 12.5 }),
        link({ state: 'dialling', rttMs: 1 }),
        link({ state: 'leaving', rttMs: 1 }),
        link({ rttMs: 0 }),
      ],
      tunnels: [
        { name: 'a.test', label: 'a.test=…', state: 'up' },
        { name: 'tcp:22', label: '22', state: 'SLW_TUNNEL_TAKEN' },
      ],
    }),
    server(DOWN, 'connecting', {
      tunnels: [
        { name: 'a.test', label: 'a.test=…', state: 'waiting' },
        { name: 'tcp:22', label: '22', state: 'waiting' },
      ],
    }),
  ],
};

async function page(more: Partial<ClientReading> = {}, book = new SampleBook()) {
  const reading = (): ClientReading => ({
    ...{ status: STATUS, totals: book.totals(), failures: new Map(), health: new Map() },
    ...{ shardRestarts: 0, logDropped: 0, ...more },
  });
  const { text } = await new ClientMetrics(reading).render();
  const lines = text.split('\n').filter((line) => /^[a-z]/u.test(line));
  return new Map(
    lines.map((line) => {
      const cut = line.lastIndexOf(' ');
      return [line.slice('sluiceway_client_'.length, cut), Number(line.slice(cut + 1))];
    }),
  );
}

test('servers, links and tunnels are as they are now', async () => {
  const series = await page();
  assert.equal(series.get(`connected{server="${UP}"}`), 1);
  assert.equal(series.get(`connected{server="${DOWN}"}`), 0);
  assert.equal(series.get(`links{server="${UP}"}`), 3);
  assert.equal(series.get(`links{server="${DOWN}"}`), 0);
  assert.equal(series.get(`link_rtt_seconds{server="${UP}"}`), 0.0125);
  assert.equal(series.has(`link_rtt_seconds{server="${DOWN}"}`), false);
  assert.equal(series.get(`tunnel_up{tunnel="a.test",server="${UP}"}`), 1);
  assert.equal(series.get(`tunnel_up{tunnel="tcp:22",server="${UP}"}`), 0);
  assert.equal(series.get(`tunnel_up{tunnel="a.test",server="${DOWN}"}`), 0);
  assert.equal(series.get(`build_info{version="9.9.9",node="${process.version}"}`), 1);
});

test('a tunnel has its series before its first visitor, and keeps its counts', async () => {
  const book = new SampleBook();
  const before = await page({}, book);
  assert.equal(before.get('bytes_total{tunnel="a.test",direction="in"}'), 0);
  assert.equal(before.get('streams_open{tunnel="tcp:22"}'), 0);
  const results = [['SLW_NONE', 4] as const, ['SLW_STREAM_REFUSED', 2] as const];
  const traffic = {
    tunnel: 'a.test',
    streams: 3,
    bytesIn: 10,
    bytesOut: 2000,
    reopened: 0,
    results,
  };
  book.set(0, shardSample({ tunnels: [traffic] }), 'none');
  const after = await page({}, book);
  assert.equal(after.get('streams_open{tunnel="a.test"}'), 3);
  assert.equal(after.get('streams_total{tunnel="a.test",result="ok"}'), 4);
  assert.equal(after.get('streams_total{tunnel="a.test",result="SLW_STREAM_REFUSED"}'), 2);
  assert.equal(after.get('bytes_total{tunnel="a.test",direction="in"}'), 10);
  assert.equal(after.get('bytes_total{tunnel="a.test",direction="out"}'), 2000);
  book.retire(0);
  const gone = await page({}, book);
  assert.equal(gone.get('streams_open{tunnel="a.test"}'), 0);
  assert.equal(gone.get('streams_total{tunnel="a.test",result="SLW_STREAM_RESET"}'), 3);
  assert.equal(gone.get('bytes_total{tunnel="a.test",direction="out"}'), 2000);
});

test('what failed, what is ill, and what was lost', async () => {
  const book = new SampleBook();
  const counts = {
    protocolErrors: [['SLW_WIRE_WINDOW_EXCEEDED', 2]],
    logDropped: 3,
    datagrams: { passed: [['in', 7]], dropped: [['full', 5]] },
  } as const;
  book.set(0, shardSample(counts), 'none');
  const series = await page(
    {
      failures: new Map([[`${DOWN} SLW_DIAL_FAILED`, 6]]),
      health: new Map([
        ['a.test', true],
        ['tcp:22', false],
      ]),
      ...{ shardRestarts: 1, logDropped: 4 },
    },
    book,
  );
  assert.equal(series.get(`link_failures_total{server="${DOWN}",code="SLW_DIAL_FAILED"}`), 6);
  assert.equal(series.get('upstream_healthy{tunnel="a.test"}'), 1);
  assert.equal(series.get('upstream_healthy{tunnel="tcp:22"}'), 0);
  assert.equal(series.get('protocol_errors_total{code="SLW_WIRE_WINDOW_EXCEEDED"}'), 2);
  assert.equal(series.get('udp_datagrams_total{direction="in"}'), 7);
  assert.equal(series.get('udp_dropped_total{reason="full"}'), 5);
  assert.equal(series.get('shard_restarts_total'), 1);
  assert.equal(series.get('log_dropped_total'), 7);
});
