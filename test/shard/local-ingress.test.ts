import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LocalIngress } from '../../src/shard/local-ingress.ts';
import { Meters } from '../../src/shard/meters.ts';
import { undoAfter } from '../support/cleanup.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { SILENT_LOG } from '../support/silent-log.ts';
import { createSocketPair } from './socket-pair.ts';

const TARGET = { host: 'db.example', port: 5432 };

test('a drain turns those away who wait for a link, and leaves what is open', async (t) => {
  const meters = new Meters();
  undoAfter(t, () => meters.close());
  const clock = new FakeClock();
  const ingress = new LocalIngress({
    limits: {
      tcpIdleTimeoutMs: 1_000,
      halfCloseTimeoutMs: 1_000,
      upstreamConnectTimeoutMs: 1_000,
    },
    links: () => [],
    log: SILENT_LOG,
    ...{ clock, meters },
  });
  const open = await createSocketPair(t);
  ingress.relay(TARGET, open.ours);
  // So that nothing is new to it.
  ingress.sweep(clock.nowMs());
  const waiting = await createSocketPair(t);
  const found: unknown[] = [];
  ingress.whenLinked(waiting.ours, (link) => found.push(link));
  assert.equal(ingress.connectionsCount, 2);
  ingress.drain();
  assert.deepEqual(found, [undefined]);
  assert.equal(ingress.connectionsCount, 1);
  assert.equal(open.ours.destroyed, false, 'it was idle for no time at all');
  ingress.sweep(clock.nowMs() + 1_000);
  assert.equal(open.ours.destroyed, true, 'and for its time by now');
});
