// Goal: a throttle lets its rate pass and no more, shares it equally, and never forgets who waits.
// Method: lanes that always want more, and a clock that the test moves, backwards too.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Stream } from '../../src/mux/stream.ts';
import { CreditLane, SendLane, Throttle } from '../../src/mux/throttle.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { RawPeer, RecordingSink } from './raw-peer.ts';

const RATE = 100_000;
const PIECE = 1000;

/** A stream with endless bytes to send. */
class Sender {
  sentBytes = 0;
  readonly lane: SendLane;

  constructor(throttle: Throttle) {
    this.lane = new SendLane(throttle, () => this.send());
  }

  send(): void {
    while (this.lane.admits(PIECE)) {
      const bytes = Math.min(PIECE, this.lane.shareBytes);
      this.lane.spend(bytes);
      this.sentBytes += bytes;
    }
  }
}

function sum(senders: readonly Sender[]): number {
  return senders.reduce((total, { sentBytes }) => total + sentBytes, 0);
}

test('a second is saved up, then the rate passes and no more', () => {
  for (const rate of [2000, RATE, 50_000_000]) {
    const clock = new FakeClock();
    const sender = new Sender(new Throttle(rate, clock));
    sender.send();
    assert.equal(sender.sentBytes, rate);
    clock.advance(60_000);
    const seconds = (sender.sentBytes - rate) / rate;
    assert.ok(seconds > 58 && seconds <= 60, `${seconds} s of ${rate} B/s in a minute`);
  }
});

test('streams that always want more get the same, whenever they came', () => {
  const clock = new FakeClock();
  const throttle = new Throttle(RATE, clock);
  const greedy = new Sender(throttle);
  greedy.send();
  const others = Array.from({ length: 9 }, () => new Sender(throttle));
  for (const sender of others) sender.send();
  const before = greedy.sentBytes;
  clock.advance(100_000);
  const shares = [greedy.sentBytes - before, ...others.map(({ sentBytes }) => sentBytes)];
  const equal = (RATE * 100) / 10;
  for (const share of shares) assert.ok(Math.abs(share - equal) < equal / 20, `${share} B`);
});

test('a newcomer does not overtake who waits', () => {
  const clock = new FakeClock();
  const throttle = new Throttle(RATE, clock);
  const first = new Sender(throttle);
  first.send();
  clock.advance(20);
  const second = new Sender(throttle);
  second.send();
  assert.equal(second.sentBytes, 0);
});

test('a clock that goes back costs the time it went and no more', () => {
  let nowMs = 1_000_000;
  const clock = new FakeClock();
  const throttle = new Throttle(RATE, {
    nowMs: () => nowMs,
    wallMs: () => 0,
    after: (delayMs, callback) => clock.after(delayMs, callback),
  });
  const sender = new Sender(throttle);
  sender.send();
  nowMs -= 500_000;
  clock.advance(25);
  assert.equal(sender.sentBytes, RATE);
  nowMs += 1000;
  clock.advance(25);
  assert.ok(sender.sentBytes > 1.98 * RATE && sender.sentBytes <= 2 * RATE);
});

test('credit is paid at the rate, and what ended unpaid is paid by those who come after', () => {
  const clock = new FakeClock();
  const throttle = new Throttle(RATE, clock);
  let paidBytes = 0;
  const lane = new CreditLane(throttle, (bytes) => {
    paidBytes += bytes;
  });
  lane.owe(RATE);
  assert.equal(paidBytes, RATE, 'what was saved up is there at once');
  lane.owe(3 * RATE);
  assert.equal(paidBytes, RATE);
  clock.advance(1000);
  assert.ok(paidBytes > 1.9 * RATE && paidBytes <= 2 * RATE, `${paidBytes} B after a second`);
  lane.close();
  assert.equal(throttle.waitingCount, 0);
  const sender = new Sender(throttle);
  sender.send();
  clock.advance(900);
  assert.equal(sender.sentBytes, 0, 'one second of the debt is kept');
  clock.advance(600);
  assert.ok(sender.sentBytes > 0 && sender.sentBytes <= RATE, `${sender.sentBytes} B`);
});

test('a stream that ends gives back the share it did not use, and nobody is left waiting', () => {
  const clock = new FakeClock();
  const throttle = new Throttle(RATE, clock);
  const idle = new SendLane(throttle, () => {});
  const greedy = new Sender(throttle);
  greedy.send();
  greedy.lane.close();
  assert.equal(idle.admits(PIECE), false);
  clock.advance(100);
  const { shareBytes } = idle;
  assert.ok(shareBytes > 0);
  idle.close();
  assert.equal(idle.shareBytes, 0);
  const waiter = new SendLane(throttle, () => assert.fail('served after its end'));
  while (waiter.claim(1)) waiter.spend(waiter.shareBytes);
  assert.equal(waiter.admits(PIECE), false);
  waiter.close();
  clock.advance(10_000);
  assert.equal(throttle.waitingCount, 0);
});

/** A stream under a throttle of 1,024 B/s whose clock moves by `stepMs` whenever it is read. */
function openStream(stepMs: number): { stream: Stream; sink: RecordingSink; peer: RawPeer } {
  const peer = new RawPeer();
  const sink = new RecordingSink();
  const request = { tunnel: 'a', address: '192.0.2.1', port: 1, link: '' };
  const stream = peer.session.open(request, sink);
  assert.ok(typeof stream !== 'string');
  let nowMs = 0;
  const clock = {
    nowMs: () => {
      nowMs += stepMs;
      return nowMs;
    },
    wallMs: () => 0,
    after: (delayMs: number, callback: () => void) => peer.clock.after(delayMs, callback),
  };
  stream.throttle(new Throttle(1024, clock), undefined);
  return { stream, sink, peer };
}

test('a writer is not told to wait for what has passed by the time it is told', () => {
  // 60 ms are 61 bytes: too few at the first look, enough at the second.
  const { stream, sink } = openStream(60);
  stream.write(Buffer.alloc(1024));
  for (let piece = 0; piece < 20; piece += 1) {
    const goesOn = stream.write(Buffer.alloc(100));
    assert.equal(goesOn, stream.queuedBytes === 0);
  }
  assert.ok(sink.calls.includes('writable'), 'the case did not come up');
});

test('what trickles in while it is used up is not sent in crumbs', () => {
  const { stream, peer } = openStream(1);
  stream.write(Buffer.alloc(1024));
  assert.equal(stream.write(Buffer.alloc(50_000)), false);
  const before = peer.link.queuedBytes;
  assert.equal(stream.queuedBytes, 50_000, 'nothing has left');
  peer.clock.advance(25);
  assert.equal(peer.link.queuedBytes, before, 'nor for a share that is not worth a frame');
});

test('all who wait share one timer, and none is left when nobody waits', () => {
  const clock = new FakeClock();
  let timers = 0;
  let live = 0;
  const throttle = new Throttle(RATE, {
    nowMs: () => clock.nowMs(),
    wallMs: () => 0,
    after(delayMs, callback) {
      timers += 1;
      live += 1;
      const timer = clock.after(delayMs, () => {
        live -= 1;
        callback();
      });
      return {
        cancel() {
          live -= 1;
          timer.cancel();
        },
      };
    },
  });
  const senders = Array.from({ length: 100 }, () => new Sender(throttle));
  for (const sender of senders) sender.send();
  assert.deepEqual([timers, live], [1, 1]);
  clock.advance(1000);
  assert.equal(live, 1);
  assert.ok(sum(senders) > RATE);
  for (const { lane } of senders) lane.close();
  assert.equal(live, 0);
});

test('a stream under two throttles keeps to the narrower, and its bytes count in both', () => {
  for (const [first, second] of [
    [RATE, RATE * 4],
    [RATE * 4, RATE],
  ] as const) {
    const clock = new FakeClock();
    const wide = new Throttle(second, clock);
    let sentBytes = 0;
    const send = (): void => {
      while (lane.admits(PIECE)) {
        const bytes = Math.min(PIECE, lane.shareBytes);
        lane.spend(bytes);
        sentBytes += bytes;
      }
    };
    const inner = new SendLane(new Throttle(first, clock), () => send());
    const lane = new SendLane(wide, () => send(), inner);
    send();
    clock.advance(10_000);
    const seconds = sentBytes / RATE;
    assert.ok(seconds > 10 && seconds < 12, `${seconds} s of the narrower rate in 11 s`);
  }
});

test('what a stream owes to two throttles is charged to both when it ends', () => {
  const clock = new FakeClock();
  const [near, far] = [new Throttle(RATE, clock), new Throttle(RATE, clock)];
  const lane = new CreditLane(near, () => {}, new CreditLane(far, () => {}));
  lane.owe(RATE);
  lane.owe(RATE);
  lane.close();
  assert.equal(near.freeBytes, 0);
  assert.equal(far.freeBytes, 0);
  clock.advance(1500);
  assert.ok(near.freeBytes <= RATE / 2 && far.freeBytes <= RATE / 2, 'both are paid for');
});

test('another rate holds for those who wait already', () => {
  const clock = new FakeClock();
  const throttle = new Throttle(RATE, clock);
  const sender = new Sender(throttle);
  sender.send();
  throttle.setRate(RATE * 10);
  clock.advance(1000);
  const faster = sender.sentBytes - RATE;
  assert.ok(faster > RATE * 9 && faster <= RATE * 10, `${faster} B in a second`);
  throttle.setRate(RATE / 10);
  const before = sender.sentBytes;
  clock.advance(10_000);
  const slower = sender.sentBytes - before;
  assert.ok(slower > RATE * 0.9 && slower < RATE * 1.2, `${slower} B in ten seconds`);
});
