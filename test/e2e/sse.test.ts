// Server-sent events through an HTTP tunnel: each event arrives before the next one is sent, so
// nothing on the way may wait for more, within 50 ms, and the upstream learns when the visitor has
// gone.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import type http from 'node:http';
import test from 'node:test';
import { eventually, within } from '../support/deadline.ts';
import { httpTunnel } from '../support/tunnel.ts';
import { openGet, startHttp } from '../support/upstream.ts';

const HOST = 'events.example.com';
const EVENTS = 100;
/** From the upstream's write to the visitor; one in a while may meet a collection of garbage. */
const MEDIAN_MS_MAX = 50;
const SLOWEST_MS_MAX = 1000;

test('events arrive one by one, and the end of the visitor is seen', async (t) => {
  let opened: (response: http.ServerResponse) => void;
  const stream = new Promise<http.ServerResponse>((resolve) => {
    opened = resolve;
  });
  const port = await startHttp(t, (_request, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
    response.flushHeaders();
    opened(response);
  });
  const { httpPort } = await httpTunnel(t, HOST, port);

  const visitor = await openGet(t, { port: httpPort, host: HOST, path: '/events' });
  assert.equal(visitor.statusCode, 200);
  assert.equal(visitor.headers['content-type'], 'text/event-stream');
  visitor.setEncoding('utf8');
  const upstream = await within(10_000, 'the upstream is asked', stream);

  const tookMs: number[] = [];
  for (let index = 0; index < EVENTS; index += 1) {
    const event = `id: ${index}\ndata: event ${index}\n\n`;
    const arrived = once(visitor, 'data') as Promise<[string]>;
    const writtenMs = performance.now();
    upstream.write(event);
    const [text] = await within(10_000, `event ${index} arrives`, arrived);
    tookMs.push(performance.now() - writtenMs);
    assert.equal(text, event);
  }
  tookMs.sort((a, b) => a - b);
  const median = tookMs[EVENTS / 2] ?? Number.NaN;
  const slowest = tookMs.at(-1) ?? Number.NaN;
  t.diagnostic(`median ${median.toFixed(2)} ms, slowest ${slowest.toFixed(2)} ms`);
  assert.ok(median <= MEDIAN_MS_MAX, `median ${median} ms`);
  assert.ok(slowest <= SLOWEST_MS_MAX, `slowest ${slowest} ms`);

  // A FIN alone is a half-close, which may not cut the response; the next event meets a reset.
  visitor.destroy();
  await eventually(10_000, 'the upstream sees that the visitor has gone', async () => {
    upstream.write('data: is anyone there?\n\n');
    assert.ok(upstream.closed);
  });
});
