// Goal: a client that refuses is known for a while, by tunnel, and what is known is bounded.
// Method: time given by the test.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRouteClient, type RouteClient } from '../../src/shard/affinity.ts';
import { RefusingClients } from '../../src/shard/refusing-clients.ts';

const TUNNEL = 'udp:53';
const REFUSED = 'SLW_STREAM_REFUSED';

function clientOf(id: string): RouteClient {
  return createRouteClient(id, { streams: 0, bytesIn: 0, bytesOut: 0 });
}

test('a client refuses for 10 s from the last time on, in that tunnel', () => {
  const refusing = new RefusingClients();
  const [one, two] = [clientOf('one'), clientOf('two')];
  refusing.note(TUNNEL, one, REFUSED, 0);
  refusing.note(TUNNEL, two, REFUSED, 1000);
  refusing.note(TUNNEL, two, REFUSED, 5000);
  assert.equal(refusing.of('udp:54', 0), undefined);
  assert.deepEqual([...(refusing.of(TUNNEL, 9999)?.keys() ?? [])], [one, two]);
  assert.deepEqual([...(refusing.of(TUNNEL, 10_000)?.keys() ?? [])], [two]);
  assert.equal(refusing.of(TUNNEL, 15_000), undefined);
});

test('a link that is gone, and an end of any other kind, tells nothing of its client', () => {
  const refusing = new RefusingClients();
  const codes = [
    'SLW_NONE',
    'SLW_STREAM_NO_LINK',
    'SLW_LINK_DRAINING',
    'SLW_STREAM_RESET',
  ] as const;
  for (const code of codes) refusing.note(TUNNEL, clientOf('one'), code, 0);
  assert.equal(refusing.of(TUNNEL, 0), undefined);
});

test('clients of a tunnel, and tunnels, are bounded', () => {
  const refusing = new RefusingClients();
  for (let count = 0; count < 65; count += 1)
    refusing.note(TUNNEL, clientOf(`${count}`), REFUSED, 0);
  assert.equal(refusing.of(TUNNEL, 0)?.size, 1);
  const one = clientOf('one');
  for (let count = 0; count < 1000; count += 1) refusing.note(`tcp:${count}`, one, REFUSED, 0);
  assert.equal(refusing.of(TUNNEL, 0), undefined, 'all were forgotten');
  assert.ok(refusing.of('tcp:999', 0)?.has(one));
});
