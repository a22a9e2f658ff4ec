// Goal: a visitor's datagrams are one flow until it is silent, and what is dropped is counted by
// its reason; errors of the network end nothing. Method: real sockets on loopback, a link in memory
// whose peer the test plays, time given by the test.

import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { type Network, readNetwork } from '../../src/base/network.ts';
import { NetworkSet, networkTable } from '../../src/base/network-set.ts';
import { AllowLists } from '../../src/shard/allow-lists.ts';
import { DatagramMeter } from '../../src/shard/datagram-meter.ts';
import { UdpIngress, type UdpIngressOptions } from '../../src/shard/ingress-udp.ts';
import { frameDatagram } from '../../src/wire/datagram.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { bodyFrame, RawPeer, valueFrame } from '../mux/raw-peer.ts';
import { undoAfter } from '../support/cleanup.ts';
import { eventually } from '../support/deadline.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { startUdp, type UdpVisitor, visitUdp } from '../support/udp.ts';
import { Bench as RouterBench } from './router-bench.ts';

const TUNNEL = 'udp:5353';
const LIMITS = {
  udpFlowsMax: 100,
  udpFlowsPerAddressMax: 0,
  udpNewFlowsPerSecondMax: 1000,
  udpIdleTimeoutMs: 120_000,
};
const WAIT_MS = 5000;
const UNREACHABLE = 35;

function networkOf(text: string): Network {
  const read = readNetwork(text);
  return typeof read === 'string' ? assert.fail(read) : read;
}

class Bench {
  readonly clock = new FakeClock();
  readonly meter = new DatagramMeter();
  readonly peer = new RawPeer();
  readonly lists = new AllowLists({});
  readonly ingress: UdpIngress;
  idles = 0;
  port = 0;

  constructor(changes: Partial<UdpIngressOptions> = {}) {
    const client = { name: 'client' };
    this.ingress = new UdpIngress({
      router: {
        admits: () => true,
        openStream: (tunnel, visitor, sink) => {
          const stream = this.peer.session.open({ tunnel, ...visitor, link: '' }, sink);
          const way = { edits: undefined, budget: undefined, client: client as never };
          return typeof stream === 'string' ? stream : { stream, way };
        },
        noteEnd: () => undefined,
      },
      ...{ limits: LIMITS, clock: this.clock, lists: this.lists, proxies: undefined },
      ...{ meter: this.meter, access: undefined },
      onIdle: () => {
        this.idles += 1;
      },
      ...changes,
    });
  }

  async open(t: TestContext): Promise<UdpVisitor> {
    const request = { name: TUNNEL, host: '127.0.0.1', port: 0, reusePort: true };
    const { port, fds } = await this.ingress.open(request);
    undoAfter(t, () => this.ingress.closeAll());
    assert.deepEqual(fds, []);
    this.port = port;
    return await visitUdp(t, port);
  }

  /** Moves time, and lets the shard look at its flows each second. */
  pass(seconds: number): void {
    for (let second = 0; second < seconds; second += 1) {
      this.clock.advance(1000);
      this.ingress.sweep(this.clock.nowMs());
    }
  }

  frames(type: number) {
    return this.peer.written().filter((frame) => frame.type === type);
  }

  /** Waits until the peer got so many frames of a type. */
  async until(type: number, count: number): Promise<void> {
    await eventually(WAIT_MS, `${count} frames ${type}`, async () => {
      assert.equal(this.frames(type).length, count);
    });
  }

  answer(stream: number, text: string | Buffer): void {
    this.peer.deliver(bodyFrame(FRAME.DATA, stream, frameDatagram(Buffer.from(text))));
  }

  opened(stream: number): void {
    this.peer.deliver(valueFrame(FRAME.OPENED, stream, 0));
  }

  finish(stream: number): void {
    this.peer.deliver(valueFrame(FRAME.FIN, stream, 0));
  }

  dropped(reason: string): number {
    return new Map(this.meter.sample().dropped).get(reason) ?? -1;
  }
}

test('a port that is opened again while it could not be opened is known, and closes', async (t) => {
  const { ingress } = new Bench();
  const taken = await startUdp(t);
  const request = { name: TUNNEL, host: '127.0.0.1', port: 0, reusePort: true };
  const first = assert.rejects(ingress.open({ ...request, port: taken.port }));
  ingress.close(TUNNEL);
  const second = ingress.open(request);
  undoAfter(t, () => ingress.closeAll());
  await first;
  const { port } = await second;
  assert.equal((await ingress.open(request)).port, port, 'it is the same');
  ingress.close(TUNNEL);
  await eventually(WAIT_MS, 'nobody has it', async () => {
    const next = dgram.createSocket('udp4');
    undoAfter(t, () => {
      next.close();
    });
    next.bind(port, '127.0.0.1');
    await once(next, 'listening');
  });
});

test('a flow whose visitor did not go on ends after 30 s', async (t) => {
  const bench = new Bench();
  const visitor = await bench.open(t);
  visitor.send('query');
  await bench.until(FRAME.DATA, 1);
  bench.opened(2);
  bench.answer(2, 'answer');
  await visitor.until(1);
  // The first look after a datagram notes it.
  bench.pass(30);
  assert.equal(bench.frames(FRAME.FIN).length, 0);
  bench.pass(1);
  assert.equal(bench.frames(FRAME.FIN).length, 1);
  assert.equal(bench.ingress.flowsCount, 1, 'until the peer has ended it too');
  bench.finish(2);
  assert.equal(bench.ingress.flowsCount, 0);
  assert.equal(bench.idles, 1);
  assert.equal(bench.peer.session.streamsCount, 0);
});

test('a flow whose visitor goes on has all of --udp-idle-timeout', async (t) => {
  const bench = new Bench();
  const visitor = await bench.open(t);
  visitor.send('one');
  await bench.until(FRAME.DATA, 1);
  bench.opened(2);
  bench.answer(2, 'answer');
  await visitor.until(1);
  visitor.send('two');
  await bench.until(FRAME.DATA, 2);
  bench.pass(100);
  bench.answer(2, 'it is a sign of life');
  await visitor.until(2);
  bench.pass(120);
  assert.equal(bench.frames(FRAME.FIN).length, 0);
  bench.pass(1);
  assert.equal(bench.frames(FRAME.FIN).length, 1);
  assert.equal(bench.frames(FRAME.OPEN).length, 1);
});

test('what comes for a flow that is ending begins a new one', async (t) => {
  const bench = new Bench();
  const visitor = await bench.open(t);
  visitor.send('one');
  await bench.until(FRAME.DATA, 1);
  bench.opened(2);
  bench.pass(40);
  visitor.send('two');
  await bench.until(FRAME.OPEN, 2);
  bench.opened(4);
  bench.answer(2, 'too late');
  bench.answer(4, 'in time');
  await visitor.until(1);
  assert.deepEqual(visitor.got.map(String), ['in time']);
});

test('a peer that never ends a flow is reset, and one that ends it is answered', async (t) => {
  const bench = new Bench();
  const visitor = await bench.open(t);
  visitor.send('one');
  await bench.until(FRAME.DATA, 1);
  bench.opened(2);
  bench.pass(45);
  assert.equal(bench.frames(FRAME.RST).length, 1);
  assert.equal(bench.ingress.flowsCount, 0);
  visitor.send('two');
  await bench.until(FRAME.OPEN, 2);
  bench.opened(4);
  bench.finish(4);
  assert.equal(bench.frames(FRAME.FIN).length, 2);
  assert.equal(bench.ingress.flowsCount, 0);
  assert.equal(bench.peer.session.streamsCount, 0);
});

test('a datagram that the kernel cannot send is counted, and the flow goes on', async (t) => {
  const bench = new Bench();
  const visitor = await bench.open(t);
  visitor.send('one');
  await bench.until(FRAME.DATA, 1);
  bench.opened(2);
  bench.answer(2, Buffer.alloc(65_530));
  await eventually(WAIT_MS, 'it is counted', async () => assert.equal(bench.dropped('send'), 1));
  bench.answer(2, 'short');
  await visitor.until(1);
  assert.deepEqual(visitor.got.map(String), ['short']);
});

test('a visitor that has gone ends nobody else, and nothing is sent to it by itself', async (t) => {
  const bench = new Bench();
  const gone = await bench.open(t);
  gone.send('one');
  await bench.until(FRAME.DATA, 1);
  gone.socket.close();
  bench.opened(2);
  for (let count = 0; count < 3; count += 1) bench.answer(2, 'nobody is there');
  const visitor = await visitUdp(t, bench.port);
  visitor.send('two');
  await bench.until(FRAME.OPEN, 2);
  bench.opened(4);
  bench.answer(4, 'here');
  await visitor.until(1);
});

test('in a drain nobody new comes in, and silent flows end soon', async (t) => {
  const bench = new Bench();
  const visitor = await bench.open(t);
  visitor.send('one');
  await bench.until(FRAME.DATA, 1);
  bench.opened(2);
  bench.ingress.drain(false);
  bench.answer(2, 'under way');
  await visitor.until(1);
  (await visitUdp(t, bench.port)).send('new');
  await eventually(WAIT_MS, 'it is dropped', async () =>
    assert.equal(bench.dropped('draining'), 1),
  );
  bench.pass(3);
  assert.equal(bench.frames(FRAME.FIN).length, 1);
});

test('a port that a successor has is closed at once, and its flows end', async (t) => {
  const bench = new Bench();
  const visitor = await bench.open(t);
  visitor.send('one');
  await bench.until(FRAME.DATA, 1);
  bench.ingress.drain(true);
  await bench.until(FRAME.FIN, 1);
  visitor.send('two');
  bench.opened(2);
  bench.finish(2);
  assert.equal(bench.ingress.flowsCount, 0);
});

test('who is no longer on the list is cut', async (t) => {
  const bench = new Bench();
  const visitor = await bench.open(t);
  visitor.send('one');
  await bench.until(FRAME.DATA, 1);
  bench.lists.replace({ allowIps: [networkOf('192.0.2.0/24')] });
  assert.equal(bench.ingress.cutDenied(), 1);
  assert.equal(bench.frames(FRAME.FIN).length, 1);
  visitor.send('two');
  const visitors = (): number => new Map(bench.lists.sample()).get('visitors') ?? 0;
  await eventually(WAIT_MS, 'it is denied', async () => assert.equal(visitors(), 2));
  assert.equal(bench.frames(FRAME.OPEN).length, 1);
});

test('who is denied from now on is cut', async (t) => {
  const bench = new Bench();
  const visitor = await bench.open(t);
  visitor.send('one');
  await bench.until(FRAME.DATA, 1);
  bench.lists.replace({ denied: networkTable([networkOf('192.0.2.0/24')]) });
  assert.equal(bench.ingress.cutDenied(), 0);
  bench.lists.replace({ denied: networkTable([networkOf('127.0.0.0/8')]) });
  assert.equal(bench.ingress.cutDenied(), 1);
  assert.equal(bench.frames(FRAME.FIN).length, 1);
});

test('peers of --accept-proxy-protocol, and a tunnel without a link, are counted', async (t) => {
  const proxied = new Bench({ proxies: new NetworkSet([networkOf('127.0.0.0/8')]) });
  (await proxied.open(t)).send('one');
  await eventually(WAIT_MS, 'counted', async () => assert.equal(proxied.dropped('proxy'), 1));
  const router = {
    admits: () => true,
    openStream: () => 'SLW_STREAM_NO_LINK' as const,
    noteEnd: () => undefined,
  };
  const alone = new Bench({ router });
  (await alone.open(t)).send('one');
  await eventually(WAIT_MS, 'counted', async () => assert.equal(alone.dropped('refused'), 1));
  assert.equal(alone.ingress.flowsCount, 0);
});

test('a datagram that is cut by the end of its stream is never given', async (t) => {
  const bench = new Bench();
  const visitor = await bench.open(t);
  visitor.send('one');
  await bench.until(FRAME.DATA, 1);
  bench.opened(2);
  const framed = frameDatagram(Buffer.from('a long answer'));
  bench.peer.deliver(bodyFrame(FRAME.DATA, 2, framed.subarray(0, -1)));
  bench.finish(2);
  visitor.send('two');
  await bench.until(FRAME.OPEN, 2);
  bench.opened(4);
  bench.answer(4, 'whole');
  await visitor.until(1);
  assert.deepEqual(visitor.got.map(String), ['whole']);
});

/** A port that two clients serve, of whom `bad` refuses each flow as soon as it is opened. */
class PairBench {
  readonly routed: RouterBench;
  readonly bench: Bench;
  readonly #refused = new Set<number>();

  constructor(t: TestContext) {
    this.routed = new RouterBench(t);
    this.bench = new Bench({ router: this.routed.router });
    for (const link of ['good/1', 'bad/1']) this.routed.apply('add', TUNNEL, link);
  }

  /** The clients of all flows so far, of which there are `count` then. */
  async flows(count: number): Promise<string[]> {
    const { opener } = this.routed;
    await eventually(WAIT_MS, `${count} flows`, async () =>
      assert.equal(opener.streams.length, count),
    );
    for (const [at, { id }] of opener.streams.entries()) {
      if (opener.chosen[at]?.link !== 'bad/1' || this.#refused.has(id)) continue;
      this.#refused.add(id);
      opener.peer.deliver(valueFrame(FRAME.RST, id, UNREACHABLE));
    }
    return opener.chosen.map(({ link }) => link);
  }
}

test('of two clients one that refuses flows is passed over for a while, then asked', async (t) => {
  const pair = new PairBench(t);
  const visitors = [await pair.bench.open(t)];
  for (let more = 0; more < 9; more += 1) visitors.push(await visitUdp(t, pair.bench.port));
  let chosen: string[] = [];
  for (const [at, visitor] of visitors.entries()) {
    visitor.send('one');
    chosen = await pair.flows(at + 1);
  }
  const refused = chosen.filter((link) => link === 'bad/1').length;
  assert.equal(refused, 1, `one visitor has found out: ${chosen}`);
  const at = chosen.indexOf('bad/1');
  visitors[at]?.send('again');
  assert.equal((await pair.flows(11)).at(-1), 'good/1', 'who was refused is served by the other');
  for (let second = 0; second < 10; second += 1) pair.routed.router.sweep();
  (await visitUdp(t, pair.bench.port)).send('later');
  assert.equal((await pair.flows(12)).at(-1), 'bad/1');
});

test('and is asked all the same when nobody else has room', async (t) => {
  const pair = new PairBench(t);
  pair.routed.opener.full.add('good/1');
  const visitor = await pair.bench.open(t);
  for (let count = 1; count <= 3; count += 1) {
    visitor.send('one');
    assert.equal((await pair.flows(count)).at(-1), 'bad/1');
  }
});
