// Goal: a client that refuses is known for a while, by tunnel, and what is known is bounded.
// Method: sweeps, a second each, by the test.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRouteClient, type RouteClient } from '../../src/shard/affinity.ts';
import { RefusingClients } from '../../src/shard/refusing-clients.ts';

const TUNNEL = 'udp:53';
const REFUSED = 'SLW_STREAM_REFUSED';

function clientOf(id: string): RouteClient {
  return createRouteClient(id, { streams: 0, bytesIn: 0, bytesOut: 0 });
}

test('a client refuses for ten sweeps from the last time on, in that tunnel', () => {
  const refusing = new RefusingClients();
  const [one, two] = [clientOf('one'), clientOf('two')];
  const sweep = (times: number): void => {
    for (let time = 0; time < times; time += 1) refusing.sweep();
  };
  const names = (): string[] => [...(refusing.of(TUNNEL)?.keys() ?? [])].map(({ mark }) => mark);
  refusing.note(TUNNEL, one, REFUSED);
  sweep(5);
  refusing.note(TUNNEL, two, REFUSED);
  assert.equal(refusing.of('udp:54'), undefined);
  sweep(4);
  assert.deepEqual(names(), [one.mark, two.mark]);
  refusing.note(TUNNEL, two, REFUSED);
  sweep(1);
  assert.deepEqual(names(), [two.mark]);
  sweep(8);
  assert.deepEqual(names(), [two.mark]);
  sweep(1);
  assert.equal(refusing.of(TUNNEL), undefined);
});

test('a link that is gone, and an end of any other kind, tells nothing of its client', () => {
  const refusing = new RefusingClients();
  const codes = [
    'SLW_NONE',
    'SLW_STREAM_NO_LINK',
    'SLW_LINK_DRAINING',
    'SLW_STREAM_RESET',
  ] as const;
  for (const code of codes) refusing.note(TUNNEL, clientOf('one'), code);
  assert.equal(refusing.of(TUNNEL), undefined);
});

test('clients of a tunnel, and tunnels, are bounded', () => {
  const refusing = new RefusingClients();
  for (let count = 0; count < 65; count += 1) refusing.note(TUNNEL, clientOf(`${count}`), REFUSED);
  assert.equal(refusing.of(TUNNEL)?.size, 1);
  const one = clientOf('one');
  for (let count = 0; count < 1000; count += 1) refusing.note(`tcp:${count}`, one, REFUSED);
  assert.equal(refusing.of(TUNNEL), undefined, 'all were forgotten');
  assert.ok(refusing.of('tcp:999')?.has(one));
});
