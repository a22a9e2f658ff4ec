import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ForwardLink, LocalIngress } from '../../src/shard/local-ingress.ts';
import { Meters } from '../../src/shard/meters.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { RawPeer, REQUEST } from '../mux/raw-peer.ts';
import { undoAfter } from '../support/cleanup.ts';
import { eventually } from '../support/deadline.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { SILENT_LOG } from '../support/silent-log.ts';
import { createSocketPair, eventOf } from './socket-pair.ts';

const TARGET = { host: 'db.example', port: 5432 };
const LIMITS = {
  tcpIdleTimeoutMs: 1_000,
  halfCloseTimeoutMs: 1_000,
  upstreamConnectTimeoutMs: 1_000,
};

test('a FIN that came before there was a link reaches the target', async (t) => {
  const meters = new Meters();
  undoAfter(t, () => meters.close());
  const clock = new FakeClock();
  const peer = new RawPeer();
  const links: ForwardLink[] = [];
  const ingress = new LocalIngress({
    ...{ limits: LIMITS, links: () => links, log: SILENT_LOG },
    ...{ clock, meters },
  });
  const { ours, theirs } = await createSocketPair(t);
  const ended = eventOf(ours, 'end');
  ingress.accept(TARGET, ours);
  theirs.end();
  await ended;
  links.push({
    ...{ server: 0, canForward: true, streamsCount: 0 },
    openForward: (_target, _from, sink) => peer.session.open(REQUEST, sink),
  });
  ingress.onLinkUp();
  await eventually(5000, 'the FIN', async () => assert.equal(peer.written(FRAME.FIN).length, 1));
  ours.destroy();
});

test('a drain turns those away who wait for a link, and leaves what is open', async (t) => {
  const meters = new Meters();
  undoAfter(t, () => meters.close());
  const clock = new FakeClock();
  const ingress = new LocalIngress({
    ...{ limits: LIMITS, links: () => [], log: SILENT_LOG },
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
