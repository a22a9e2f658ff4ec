// Goal: a flow follows its upstream's name to another address, when it is not answered where it
// was; that a name has none is told of. Method: real sockets on loopback, whose addresses a look-up
// of the test gives; streams of a session in memory, time given by the test.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { DatagramMeter } from '../../src/shard/datagram-meter.ts';
import { UdpUpstreams } from '../../src/shard/udp-upstreams.ts';
import { frameDatagram } from '../../src/wire/datagram.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { bodyFrame, RawPeer } from '../mux/raw-peer.ts';
import { undoAfter } from '../support/cleanup.ts';
import { eventually } from '../support/deadline.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { LogLines } from '../support/log-lines.ts';
import { startUdp } from '../support/udp.ts';

const WAIT_MS = 5000;
const NAME = 'wireguard';
const LOOPBACK = '127.0.0.1';
const OLD = '127.0.0.2';
const NEW = '127.0.0.3';

class Bench {
  readonly clock = new FakeClock();
  readonly meter = new DatagramMeter();
  readonly log = new LogLines('shard');
  readonly peer: RawPeer;
  readonly upstreams: UdpUpstreams;
  /** What the name has now; none: it is not known. */
  addresses: readonly string[] = [OLD];
  lookUps = 0;
  sent = 0;

  constructor(t: TestContext, port: number, host = NAME) {
    this.upstreams = new UdpUpstreams({
      ...{ limits: { udpIdleTimeoutMs: 120_000 }, clock: this.clock, meter: this.meter },
      ...{ log: this.log.log, onFailure: () => undefined, lookUp: () => this.#lookUp() },
    });
    const upstream = { name: 'udp:5353', label: '', host, port, tls: false } as const;
    this.peer = new RawPeer({
      onOpen: (stream) =>
        this.upstreams.serve(stream, { ...upstream, proxyProtocol: 'off' }, undefined),
    });
    undoAfter(t, () => this.upstreams.closeAll());
  }

  send(stream: number): void {
    this.sent += 1;
    this.peer.deliver(bodyFrame(FRAME.DATA, stream, frameDatagram(Buffer.from('hello'))));
  }

  /** So many seconds with a datagram in each, and what follows from each. */
  async pass(stream: number, seconds: number): Promise<void> {
    for (let second = 0; second < seconds; second += 1) {
      this.send(stream);
      this.clock.advance(1000);
      this.upstreams.sweep(this.clock.nowMs());
      await new Promise(setImmediate);
    }
  }

  /** Datagrams that came back, counted by frames. */
  answered(): number {
    return this.peer.written(FRAME.DATA).length;
  }

  ended(): number {
    return this.peer.written(FRAME.FIN).length;
  }

  async #lookUp(): Promise<readonly string[]> {
    this.lookUps += 1;
    if (this.addresses.length === 0)
      throw Object.assign(new Error('not known'), { code: 'ENOTFOUND' });
    return this.addresses;
  }
}

test('an unanswered flow ends when its upstream has moved, and the next gets there', async (t) => {
  const moved = await startUdp(t, undefined, 0, NEW);
  const bench = new Bench(t, moved.port);
  const first = bench.peer.open(0);
  await bench.pass(first, 8);
  assert.equal(bench.ended(), 0, 'it is where it was');
  bench.addresses = [];
  await bench.pass(first, 8);
  assert.equal(bench.ended(), 0, 'nobody knows where it is');
  bench.addresses = ['127.0.0.4', OLD];
  await bench.pass(first, 8);
  assert.equal(bench.ended(), 0, 'it may be where it was');
  bench.addresses = [NEW];
  await bench.pass(first, 8);
  assert.equal(bench.ended(), 1);
  assert.equal(moved.received, 0);
  assert.ok(bench.lookUps <= 1 + 32 / 5, `looked up ${bench.lookUps} times in 32 s`);
  bench.send(bench.peer.open(1));
  await eventually(WAIT_MS, 'it is reached', async () => assert.equal(moved.received, 1));
});

test('a flow that is answered stays where it is, and so does one that is silent', async (t) => {
  const upstream = await startUdp(t, undefined, 0, OLD);
  const bench = new Bench(t, upstream.port);
  const stream = bench.peer.open(0);
  bench.addresses = [OLD];
  for (let count = 1; count <= 12; count += 1) {
    bench.send(stream);
    await eventually(WAIT_MS, 'an answer', async () => assert.equal(bench.answered(), count));
    bench.addresses = [NEW];
    bench.clock.advance(1000);
    bench.upstreams.sweep(bench.clock.nowMs());
  }
  for (let second = 0; second < 60; second += 1) {
    bench.clock.advance(1000);
    bench.upstreams.sweep(bench.clock.nowMs());
  }
  assert.deepEqual([bench.lookUps, bench.ended()], [1, 0]);
});

test('an upstream whose name has no address is told of once a minute', async (t) => {
  const bench = new Bench(t, 53);
  bench.addresses = [];
  const fail = async (index: number): Promise<void> => {
    bench.send(bench.peer.open(index));
    await eventually(WAIT_MS, 'a reset', async () =>
      assert.equal(bench.peer.written(FRAME.RST).length, index + 1),
    );
  };
  for (let index = 0; index < 5; index += 1) await fail(index);
  const told = () => bench.log.all('no way to the upstream');
  const said = told().map(({ level, tunnel, host, code }) => [level, tunnel, host, code]);
  assert.deepEqual(said, [['error', 'udp:5353', NAME, 'ENOTFOUND']]);
  assert.equal(new Map(bench.meter.sample().dropped).get('upstream'), 5);
  bench.clock.advance(60_000);
  await fail(5);
  assert.equal(told().length, 2);
});

test('datagrams of visitors count in, and answers out, as at the exit node', async (t) => {
  const upstream = await startUdp(t, (datagram, say) => {
    if (bench.sent === 3) say(datagram);
  });
  const bench = new Bench(t, upstream.port, LOOPBACK);
  const stream = bench.peer.open(0);
  const passed = (): Record<string, number> => Object.fromEntries(bench.meter.sample().passed);
  for (let count = 1; count <= 2; count += 1) bench.send(stream);
  await eventually(WAIT_MS, 'both', async () => assert.equal(upstream.received, 2));
  assert.deepEqual(passed(), { in: 2, out: 0 });
  bench.send(stream);
  await eventually(WAIT_MS, 'an answer', async () => assert.equal(bench.answered(), 1));
  assert.deepEqual(passed(), { in: 3, out: 1 });
});
