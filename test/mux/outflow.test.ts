// Goal: a session measures its line with PINGs that every peer answers, tells times to those that
// do so, and holds bulk back by them, while control and small pieces pass. Method: a raw peer that
// answers as old and as new ones do, by a clock moved by hand.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FLIGHT_BYTES_START, PACE_MS, SMALL_BYTES_MAX } from '../../src/mux/flight.ts';
import { isMark, isTime, timeValue } from '../../src/mux/line-marks.ts';
import { Outflow } from '../../src/mux/outflow.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { MIB } from '../../src/wire/limits.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createLinkPair, type MemoryLink } from '../support/memory-link.ts';
import { openOurs, RawPeer, valueFrame } from './raw-peer.ts';

/** Answers every PING that it has not answered, with times or without. */
class Answerer {
  readonly #peer: RawPeer;
  #answered = 0;

  constructor(peer: RawPeer) {
    this.#peer = peer;
  }

  answer(tellsTimes: boolean): void {
    const pings = this.#peer.written(FRAME.PING).slice(this.#answered);
    this.#answered += pings.length;
    for (const { content } of pings) {
      const time = timeValue(this.#peer.clock.nowMs());
      if (tellsTimes) this.#peer.deliver(valueFrame(FRAME.PONG, 0, time));
      this.#peer.deliver(valueFrame(FRAME.PONG, 0, Number(content)));
    }
  }
}

function sentBytes(peer: RawPeer): number {
  return peer.written(FRAME.DATA).reduce((sum, { content }) => sum + (content as Buffer).length, 0);
}

test('a mark is answered with the time ahead of it, any other PING with its value alone', () => {
  const peer = new RawPeer();
  peer.clock.advance(1234);
  for (const value of [0, 5, 0x7fff_ffff, 0xc000_0000, 0xffff_ffff]) {
    peer.deliver(valueFrame(FRAME.PING, 0, value));
    assert.deepEqual(peer.written(FRAME.PONG).at(-1)?.content, value);
  }
  assert.equal(peer.written(FRAME.PONG).length, 5);
  peer.deliver(valueFrame(FRAME.PING, 0, 0x8000_0007));
  const [time, answer] = peer.written(FRAME.PONG).slice(5);
  assert.equal(time?.content, timeValue(peer.clock.nowMs()));
  assert.equal(isTime(Number(time?.content)), true);
  assert.equal(answer?.content, 0x8000_0007);
});

test('the first PING is a mark, and measures the round trip as well', () => {
  const peer = new RawPeer();
  const [ping] = peer.written(FRAME.PING);
  assert.equal(isMark(Number(ping?.content)), true);
  peer.clock.advance(40);
  new Answerer(peer).answer(true);
  assert.equal(peer.session.roundTripMs, 40);
});

test('bulk to a peer that tells no times goes as far as credit and link allow', () => {
  const peer = new RawPeer({ congestionBytes: 4 * MIB });
  new Answerer(peer).answer(false);
  openOurs(peer, 2 * MIB).stream?.write(Buffer.alloc(MIB));
  assert.equal(sentBytes(peer), MIB);
});

test('bulk to a peer that tells times waits for its answers; small pieces do not', () => {
  const peer = new RawPeer({ congestionBytes: 4 * MIB });
  const answerer = new Answerer(peer);
  answerer.answer(true);
  const bulk = openOurs(peer, 2 * MIB);
  const keys = openOurs(peer, 2 * MIB);
  assert.equal(bulk.stream?.write(Buffer.alloc(MIB)), false);
  const first = sentBytes(peer);
  assert.ok(first > FLIGHT_BYTES_START / 2 && first <= FLIGHT_BYTES_START, `${first} bytes`);
  assert.equal(keys.stream?.write(Buffer.alloc(64)), true);
  assert.equal(sentBytes(peer), first + 64);
  for (let key = 0; key < 500; key += 1) keys.stream?.write(Buffer.alloc(64));
  assert.ok(sentBytes(peer) < first + SMALL_BYTES_MAX + 64, 'and they are bounded');
  for (let turn = 0; turn < 100 && !bulk.calls.includes('writable'); turn += 1) {
    peer.clock.advance(20);
    answerer.answer(true);
  }
  assert.deepEqual(bulk.calls, ['opened', 'writable']);
  assert.equal(sentBytes(peer), MIB + 501 * 64);
});

test('a peer that begins to tell times while much is under way is waited for, not forgotten', () => {
  const peer = new RawPeer({ congestionBytes: 4 * MIB });
  const answerer = new Answerer(peer);
  const bulk = openOurs(peer, 2 * MIB);
  bulk.stream?.write(Buffer.alloc(MIB));
  assert.equal(sentBytes(peer), MIB);
  answerer.answer(true);
  assert.equal(bulk.stream?.write(Buffer.alloc(100_000)), false);
  for (let turn = 0; turn < 100; turn += 1) {
    peer.clock.advance(20);
    answerer.answer(true);
  }
  assert.equal(sentBytes(peer), MIB + 100_000);
});

/** A line of `bytesPerMs`, answer by answer, until the session paces what it sends. */
function slow(peer: RawPeer, answerer: Answerer, bytesPerMs: number): void {
  for (let turn = 0; turn < 200; turn += 1) {
    peer.clock.advance((peer.link.queuedBytes + 1) / bytesPerMs);
    peer.read();
    answerer.answer(true);
  }
}

test('a session that ends leaves no timer that sends', () => {
  const peer = new RawPeer({ congestionBytes: 8 * MIB });
  const answerer = new Answerer(peer);
  answerer.answer(true);
  const bulk = openOurs(peer, 8 * MIB);
  bulk.stream?.write(Buffer.alloc(8 * MIB));
  slow(peer, answerer, 100);
  const before = sentBytes(peer);
  assert.ok(before < 8 * MIB, 'bulk waits');
  peer.clock.advance(PACE_MS);
  peer.session.close('SLW_NONE');
  const frames = peer.written().length;
  peer.clock.advance(60_000);
  assert.equal(peer.written().length, frames);
});

test('a port, which counts what arrived itself, is not measured', () => {
  const [link] = createLinkPair(MIB) as [MemoryLink, MemoryLink];
  const port = Object.create(link, { kind: { value: 'port' } }) as MemoryLink;
  const outflow = new Outflow(port, new FakeClock(), () => assert.fail('nothing was held back'));
  assert.equal(outflow.mark(), 0);
  assert.equal(new Outflow(link, new FakeClock(), () => {}).mark() > 0, true);
});
