// Goal: the page of the contract, with a bounded number of series whatever visitors send. Method: a
// shard's own meters under hostile hosts and methods, rendered and read back; promtool where it is
// installed.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { SampleBook } from '../../src/bridge/sample-book.ts';
import { type ControlCounts, Metrics } from '../../src/control/metrics.ts';
import { Meters } from '../../src/shard/meters.ts';
import { linkSample, requestSample, shardSample } from '../bridge/shard-sample.ts';
import { seededRandom } from '../support/digest.ts';
import { requirePrograms } from '../support/programs.ts';

const COUNTS: ControlCounts = {
  tunnelClients: new Map(),
  clients: 2,
  links: 5,
  connects: new Map([['client-a', 3]]),
  authFailures: new Map([['wrong', 4]]),
  controlRequests: new Map([
    ['200 /status', 6],
    ['404 _other', 7],
  ]),
  memory: { level: 0, limitBytes: 1e9 },
  shardRestarts: 1,
  acmeOrders: new Map([['ok', 2]]),
  logDropped: 2,
  certificates: new Map([['control', 1_800_000_000]]),
  tokenLimited: [['ci', 'streams-max', 3]],
  reloads: new Map([['ok', 1]]),
  version: '0.1.0',
};

function filledBook(): SampleBook {
  const book = new SampleBook();
  const sample = shardSample({
    tunnels: [
      {
        tunnel: 'tcp:2222',
        streams: 3,
        bytesIn: 100,
        bytesOut: 200,
        results: [
          ['SLW_NONE', 8],
          ['SLW_STREAM_REFUSED', 1],
        ],
        reopened: 1,
      },
      { tunnel: 'a.example', streams: 1, bytesIn: 1, bytesOut: 2, results: [], reopened: 0 },
    ],
    requests: [requestSample('a.example', 'GET', 9)],
    links: [
      linkSample('0-1', { roundTripMs: 20, queuedBytes: 10 }),
      linkSample('0-2', { roundTripMs: 250, queuedBytes: 5 }),
    ],
    stalled: { held: 4, waiting: 5 },
    meshBytes: 77,
    protocolErrors: [['SLW_WIRE_FLOOD', 1]],
    acceptErrors: [['EMFILE', 2]],
    logDropped: 3,
    inFlight: [['a.example', 2]],
    limited: [['request-body', 6]],
    denied: [['allow-ips', 7]],
  });
  book.set(0, sample, 'scrape');
  return book;
}

/** Series of a page: name and labels to value. */
function seriesOf(page: string): Map<string, number> {
  const lines = page.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => {
      const cut = line.lastIndexOf(' ');
      return [line.slice(0, cut), Number(line.slice(cut + 1))];
    }),
  );
}

async function render(book: SampleBook, counts = COUNTS): Promise<string> {
  return (await new Metrics(book, () => counts).render()).text;
}

test('every name of the contract is there, with its labels and its value', async () => {
  const series = seriesOf(await render(filledBook()));
  const request = 'code="200",host="a.example",method="GET"';
  const expected: readonly (readonly [string, number])[] = [
    ['http_controlplane_connected_gauge', 2],
    ['tcp_controlplane_connected_gauge', 2],
    ['http_controlplane_requests_total{code="200",path="/status"}', 6],
    ['tcp_controlplane_requests_total{code="404",path="_other"}', 7],
    [`http_dataplane_requests_total{${request}}`, 9],
    [`http_dataplane_request_duration_seconds_count{${request}}`, 9],
    [`http_dataplane_request_duration_seconds_sum{${request}}`, 0.009],
    ['tcp_dataplane_connections_gauge{port="2222"}', 3],
    ['tcp_dataplane_connections_total{port="2222"}', 11],
    ['sluiceway_clients', 2],
    ['sluiceway_links', 5],
    ['sluiceway_streams_open{tunnel="tcp:2222"}', 3],
    ['sluiceway_streams_total{tunnel="tcp:2222",result="ok"}', 8],
    ['sluiceway_streams_total{tunnel="tcp:2222",result="SLW_STREAM_REFUSED"}', 1],
    ['sluiceway_bytes_total{tunnel="tcp:2222",direction="in"}', 200],
    ['sluiceway_bytes_total{tunnel="tcp:2222",direction="out"}', 100],
    ['sluiceway_client_connects_total{client="client-a"}', 3],
    ['sluiceway_streams_stalled{reason="visitor"}', 4],
    ['sluiceway_streams_stalled{reason="link"}', 5],
    ['sluiceway_link_queue_bytes', 15],
    ['sluiceway_link_rtt_seconds', 0.25],
    ['sluiceway_mesh_bytes_total', 77],
    ['sluiceway_auth_failures_total{reason="wrong"}', 4],
    ['sluiceway_protocol_errors_total{code="SLW_WIRE_FLOOD"}', 1],
    ['sluiceway_accept_errors_total{code="EMFILE"}', 2],
    ['sluiceway_http_requests_in_flight{tunnel="a.example"}', 2],
    ['sluiceway_limited_total{limit="request-body"}', 6],
    ['sluiceway_denied_total{list="allow-ips"}', 7],
    ['sluiceway_token_limited_total{token="ci",limit="streams-max"}', 3],
    ['sluiceway_certificate_not_after_seconds{name="control"}', 1_800_000_000],
    ['sluiceway_acme_orders_total{result="ok"}', 2],
    ['sluiceway_config_reloads_total{result="ok"}', 1],
    ['sluiceway_shard_restarts_total', 1],
    ['sluiceway_shard_loop_delay_seconds{shard="0",quantile="0.99"}', 0.002],
    ['sluiceway_log_dropped_total', 5],
    [`sluiceway_build_info{version="0.1.0",node="${process.version}"}`, 1],
  ];
  for (const [name, value] of expected) assert.equal(series.get(name), value, name);
  const buckets = [...series].filter(([name]) => name.includes('_seconds_bucket'));
  assert.deepEqual(
    buckets.map(([, value]) => value),
    buckets.map(() => 9),
  );
  assert.ok(buckets.some(([name]) => name.includes('le="+Inf"')));
});

test('an exit node that has counted nothing still has a page', async () => {
  const none = new Map<string, number>();
  const counts = { ...COUNTS, connects: none, authFailures: none, controlRequests: none };
  const series = seriesOf(await render(new SampleBook(), counts));
  assert.equal(series.get('sluiceway_link_rtt_seconds'), 0);
  for (const [name, value] of series) assert.ok(Number.isFinite(value), `${name} is ${value}`);
});

test('hostile hosts and methods add a bounded number of series', async (t) => {
  const seed = 5;
  t.diagnostic(`seed ${seed}`);
  const random = seededRandom(seed);
  const meters = new Meters();
  t.after(() => meters.close());
  meters.tunnel('a.example');
  const book = new SampleBook();
  const sample = () => shardSample(meters.sample('scrape'));
  book.set(0, sample(), 'scrape');
  const before = await render(book);
  for (let index = 0; index < 10_000; index += 1) {
    const noise = Array.from({ length: 12 }, () => String.fromCharCode(random() * 0x10_000));
    // A host that no tunnel matches is counted without a name.
    meters.onRequest(undefined, noise.join(''), 404, random() * 100);
    meters.onRequest('a.example', `GET${noise.join('')}`, 200, random() * 100);
  }
  book.set(0, sample(), 'scrape');
  const after = await render(book);
  // A histogram is one series: its buckets are bounded by their table.
  const count = (page: string) =>
    [...seriesOf(page).keys()].filter((name) => !name.includes('_bucket{')).length;
  assert.ok(count(after) - count(before) <= 20, `${count(after) - count(before)} new series`);
  assert.ok(after.length < 1024 * 1024);
});

test('promtool finds nothing to complain of', async (t) => {
  const programs = requirePrograms(t, ['promtool']);
  if (programs === undefined) return;
  const page = await render(filledBook());
  const { status, stdout, stderr } = spawnSync(programs.promtool, ['check', 'metrics'], {
    input: page,
  });
  // The gauges of the contract carry the type in their names, as existing dashboards want them.
  const complaints = `${stdout}${stderr}`.split('\n').filter((line) => {
    return line !== '' && !/^(?:http|tcp)_\w+_gauge /.test(line);
  });
  assert.deepEqual(complaints, [], `status ${status}`);
});
