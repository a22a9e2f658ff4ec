import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ERRORS } from '../../src/base/errors.ts';
import { type ForwardLink, LocalIngress } from '../../src/shard/local-ingress.ts';
import { Meters } from '../../src/shard/meters.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { dataFrame, openUnanswered, RawPeer, REQUEST, valueFrame } from '../mux/raw-peer.ts';
import { undoAfter } from '../support/cleanup.ts';
import { eventually } from '../support/deadline.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { LogLines } from '../support/log-lines.ts';
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
    ...{ server: 0, forwarding: 'open', streamsCount: 0 },
    openForward: (_target, _from, sink) => peer.session.open(REQUEST, sink),
  });
  ingress.admit();
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
  assert.deepEqual(found, ['SLW_STREAM_NO_LINK']);
  assert.equal(ingress.connectionsCount, 1);
  assert.equal(open.ours.destroyed, false, 'it was idle for no time at all');
  ingress.sweep(clock.nowMs() + 1_000);
  assert.equal(open.ours.destroyed, true, 'and for its time by now');
});

test('who waits as links are full goes on once there is room, first come, first served', async (t) => {
  const meters = new Meters();
  undoAfter(t, () => meters.close());
  const clock = new FakeClock();
  const lines = new LogLines('shard');
  const link = { ...linkOn(new RawPeer()), forwarding: 'full' as ForwardLink['forwarding'] };
  const ingress = new LocalIngress({
    ...{ limits: LIMITS, links: () => [link], log: lines.log, clock, meters },
  });
  const found: [string, unknown][] = [];
  const wait = async (name: string): Promise<void> => {
    const { ours } = await createSocketPair(t);
    ingress.whenLinked(ours, (what) => {
      found.push([name, what]);
      link.forwarding = 'full';
    });
  };
  await wait('first');
  await wait('second');
  ingress.sweep(clock.nowMs());
  assert.deepEqual(found, [], 'full as it is');
  link.forwarding = 'open';
  ingress.sweep(clock.nowMs());
  assert.deepEqual(found, [['first', link]]);
  link.forwarding = 'open';
  await wait('third');
  assert.deepEqual(found.slice(1), [['second', link]]);
  const { ours } = await createSocketPair(t);
  ingress.accept(TARGET, ours);
  clock.advance(5_000);
  ingress.sweep(clock.nowMs());
  assert.deepEqual(found.slice(2), [['third', 'SLW_STREAM_LIMIT']]);
  assert.equal(lines.all('forward refused')[0]?.code, 'SLW_STREAM_LIMIT');
});

function linkOn(peer: RawPeer): ForwardLink {
  return {
    ...{ server: 0, forwarding: 'open', streamsCount: 0 },
    openForward: (_target, _from, sink) => peer.session.open(REQUEST, sink),
  };
}

for (const way of ['plain', 'SOCKS'] as const) {
  test(`a ${way} connection whose stream was open is not given another`, async (t) => {
    const meters = new Meters();
    undoAfter(t, () => meters.close());
    const peer = new RawPeer();
    const ingress = new LocalIngress({
      ...{ limits: LIMITS, links: () => [linkOn(peer)], log: SILENT_LOG },
      ...{ clock: new FakeClock(), meters },
    });
    const { ours } = await createSocketPair(t);
    const closed = eventOf(ours, 'close');
    if (way === 'plain') ingress.accept(TARGET, ours);
    const { stream } = way === 'SOCKS' ? openUnanswered(peer) : {};
    const id = peer.written(FRAME.OPEN)[0]?.stream ?? 0;
    peer.deliver(valueFrame(FRAME.OPENED, id, 0));
    if (stream !== undefined) {
      // As the SOCKS front does once the server has answered.
      const relay = ingress.relay(TARGET, ours);
      stream.sink = relay;
      relay.join(stream);
    }
    peer.deliver(dataFrame(id, 1000));
    peer.deliver(valueFrame(FRAME.RST, id, ERRORS.SLW_LINK_DRAINING.wire));
    await closed;
    assert.equal(peer.written(FRAME.OPEN).length, 1);
  });
}

test('a connection that a leaving server refused twice is not opened a third time', async (t) => {
  const meters = new Meters();
  undoAfter(t, () => meters.close());
  const peer = new RawPeer();
  const ingress = new LocalIngress({
    ...{ limits: LIMITS, links: () => [linkOn(peer)], log: SILENT_LOG },
    ...{ clock: new FakeClock(), meters },
  });
  const { ours } = await createSocketPair(t);
  const closed = eventOf(ours, 'close');
  ingress.accept(TARGET, ours);
  for (const count of [1, 2]) {
    const opens = peer.written(FRAME.OPEN);
    assert.equal(opens.length, count);
    const id = opens.at(-1)?.stream ?? 0;
    peer.deliver(valueFrame(FRAME.RST, id, ERRORS.SLW_LINK_DRAINING.wire));
  }
  await closed;
  assert.equal(peer.written(FRAME.OPEN).length, 2);
});
