// Goal: a visitor of one shard reaches a link of another, and a shard that goes loses its own
// streams only. Method: the meshes of two or three shards joined by real ports in one thread; links
// are sessions in memory.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { MessageChannel } from 'node:worker_threads';
import { systemClock } from '../../src/base/clock.ts';
import type { ShardSettings } from '../../src/bridge/shard-task.ts';
import type { Stream } from '../../src/mux/stream.ts';
import { Mesh } from '../../src/shard/mesh.ts';
import { FRAME, STREAM_ID_MAX } from '../../src/wire/frame.ts';
import { IDLE_FRAMES_MAX, STREAMS_OPENING_MAX } from '../../src/wire/limits.ts';
import { decodeOpen } from '../../src/wire/open.ts';
import { bodyFrame, RawPeer, RecordingSink, valueFrame } from '../mux/raw-peer.ts';
import { eventually } from '../support/deadline.ts';
import { LogLines } from '../support/log-lines.ts';
import { shardSettings } from './settings.ts';

const REQUEST = { tunnel: 'site', address: '192.0.2.1', port: 9, link: '1-1' };

/** A shard with one link, `<shard>-1`. */
class Shard {
  readonly link = new RawPeer();
  readonly log = new LogLines('shard');
  readonly mesh: Mesh;

  constructor(t: TestContext, shard: number, settings: Partial<ShardSettings> = {}, firstId = 0) {
    this.mesh = new Mesh({
      shard,
      ...(firstId > 0 ? { firstId } : {}),
      settings: shardSettings(settings),
      log: this.log.log,
      openLocal: (request, sink) => {
        if (request.link !== `${shard}-1`) return 'SLW_STREAM_NO_LINK';
        return this.link.session.open({ ...request, link: '' }, sink);
      },
    });
    t.after(() => this.mesh.close());
  }

  /** Waits until the client of the link has been asked to open so many streams. */
  opened(count: number): Promise<void> {
    return eventually(5000, `${count} streams on the link`, async () =>
      assert.equal(this.link.written(FRAME.OPEN).length, count),
    );
  }
}

function join(a: Shard, b: Shard, shardA: number, shardB: number): void {
  const { port1, port2 } = new MessageChannel();
  a.mesh.attach(shardB, port1);
  b.mesh.attach(shardA, port2);
}

function startTwo(t: TestContext): [Shard, Shard] {
  const shards: [Shard, Shard] = [new Shard(t, 0), new Shard(t, 1)];
  join(shards[0], shards[1], 0, 1);
  return shards;
}

function openFrom({ mesh }: Shard, request: Partial<typeof REQUEST> = {}, target = 1) {
  const sink = new RecordingSink();
  sink.isGreedy = true;
  const stream = mesh.open(target, { ...REQUEST, ...request }, sink);
  assert.ok(typeof stream !== 'string', String(stream));
  sink.stream = stream;
  return { sink, stream };
}

function until(what: string, check: () => void): Promise<void> {
  return eventually(5000, what, async () => check());
}

test('a stream reaches the link of the other shard, and its key stays in the process', async (t) => {
  const [near, far] = startTwo(t);
  const { sink, stream } = openFrom(near);
  await far.opened(1);
  const open = decodeOpen(far.link.written(FRAME.OPEN)[0]?.content as Buffer);
  assert.deepEqual([open.tunnel, open.address, open.port, open.link], ['site', '192.0.2.1', 9, '']);
  const id = far.link.written(FRAME.OPEN)[0]?.stream ?? 0;
  far.link.deliver(valueFrame(FRAME.OPENED, id, 100_000));
  stream.write(Buffer.from('request'));
  stream.end();
  await until('the request is there', () => {
    assert.equal(String(far.link.written(FRAME.DATA)[0]?.content), 'request');
    assert.equal(far.link.written(FRAME.FIN).length, 1);
  });
  far.link.deliver(bodyFrame(FRAME.DATA, id, Buffer.from('answer')));
  far.link.deliver(valueFrame(FRAME.FIN, id, 0));
  await until('the answer is there', () => assert.equal(sink.calls.at(-1), 'fin'));
  assert.deepEqual(
    sink.calls.filter((call) => call !== 'writable'),
    ['opened', 'fin'],
  );
  assert.equal(sink.bytes.toString(), 'answer');
  await until('no stream is left', () =>
    assert.deepEqual([near.mesh.streamsCount, far.mesh.streamsCount], [0, 0]),
  );
  assert.ok(near.mesh.receivedBytes > 0 && far.mesh.receivedBytes > 0);
});

test('a link that is gone meanwhile resets the stream with the reason', async (t) => {
  const [near] = startTwo(t);
  const { sink } = openFrom(near, { link: '1-99' });
  await until('the stream is reset', () => assert.deepEqual(sink.resets, ['SLW_STREAM_NO_LINK']));
  assert.equal(near.mesh.streamsCount, 0);
});

test('a visitor who takes nothing of what a lost link had brought is cut after a while', async (t) => {
  const [near, far] = startTwo(t);
  const { sink } = openFrom(near);
  sink.isGreedy = false;
  await far.opened(1);
  far.link.deliver(valueFrame(FRAME.OPENED, 2, 0));
  await until('the stream is answered', () => assert.deepEqual(sink.calls, ['opened']));
  // More than the visitor's window lets through.
  for (let frame = 0; frame < 6; frame += 1) {
    far.link.deliver(bodyFrame(FRAME.DATA, 2, Buffer.alloc(50_000)));
    if (frame === 4) await until('some of it waits', () => assert.ok(sink.heldBytes >= 200_000));
  }
  far.link.deliver(valueFrame(FRAME.FIN, 2, 0));
  far.link.link.destroy();
  const { halfCloseTimeoutMs } = shardSettings();
  far.mesh.tick(0);
  far.mesh.tick(halfCloseTimeoutMs - 1);
  assert.deepEqual([far.mesh.streamsCount, sink.resets], [1, []]);
  far.mesh.tick(halfCloseTimeoutMs);
  await until('it is cut', () => assert.deepEqual(sink.resets, ['SLW_STREAM_HALF_CLOSED']));
  assert.deepEqual([near.mesh.streamsCount, far.mesh.streamsCount], [0, 0]);
});

test('a shard without a port cannot be reached', (t) => {
  const shard = new Shard(t, 0);
  assert.equal(shard.mesh.canOpen(1), false);
  assert.equal(shard.mesh.open(1, REQUEST, new RecordingSink()), 'SLW_STREAM_NO_LINK');
});

test('a shard that goes loses the streams to it and no others', async (t) => {
  const shards = [new Shard(t, 0), new Shard(t, 1), new Shard(t, 2)] as const;
  join(shards[0], shards[1], 0, 1);
  join(shards[0], shards[2], 0, 2);
  const lost = openFrom(shards[0]);
  const kept = new RecordingSink();
  const keptStream = shards[0].mesh.open(2, { ...REQUEST, link: '2-1' }, kept) as Stream;
  await shards[1].opened(1);
  await shards[2].opened(1);
  shards[1].mesh.close();
  await until('the stream is reset', () => assert.equal(lost.sink.resets.length, 1));
  assert.equal(shards[0].mesh.canOpen(1), false);
  assert.equal(shards[0].mesh.canOpen(2), true);
  assert.deepEqual([kept.resets, keptStream.isEnded], [[], false]);
});

test('a port that goes on which nothing runs says why it went', async (t) => {
  const [near, far] = startTwo(t);
  far.mesh.close();
  await until('the port is closed', () =>
    assert.deepEqual(
      near.log.all('mesh port closed').map(({ code }) => code),
      ['SLW_LINK_DRAINING'],
    ),
  );
});

test('a shard that comes back is reached again, and the count of bytes never falls', async (t) => {
  const [near, far] = startTwo(t);
  const { sink } = openFrom(near);
  await far.opened(1);
  far.link.deliver(valueFrame(FRAME.OPENED, 2, 0));
  await until('the stream is answered', () => assert.deepEqual(sink.calls, ['opened']));
  const before = near.mesh.receivedBytes;
  assert.ok(before > 0);
  const again = new Shard(t, 1);
  // Its port may come before the old one is seen to close.
  join(near, again, 0, 1);
  assert.ok(near.mesh.receivedBytes >= before, 'fell when the port was replaced');
  assert.deepEqual(sink.resets, ['SLW_LINK_REPLACED']);
  openFrom(near);
  await again.opened(1);
  assert.ok(near.mesh.receivedBytes >= before);
  assert.equal(near.mesh.canOpen(1), true);
});

// Ids that are left when a port begins: few enough for the next tick to renew it.
const NEARLY_SPENT = STREAM_ID_MAX - 1000;
type Opened = ReturnType<typeof openFrom>;

for (const [who, near, far] of [
  ['the shard that renews', NEARLY_SPENT, 0],
  ['the other shard', 0, NEARLY_SPENT + 1],
] as const) {
  test(`ids of ${who} nearly spent: another port, and no stream is lost`, async (t) => {
    const shards = [new Shard(t, 0, {}, near), new Shard(t, 1, {}, far)] as const;
    join(shards[0], shards[1], 0, 1);
    const [opener, answerer] = near > 0 ? shards : ([shards[1], shards[0]] as const);
    const target = near > 0 ? 1 : 0;
    const before = openFrom(opener, { link: `${target}-1` }, target);
    await answerer.opened(1);
    for (const { mesh } of shards) mesh.tick(systemClock.nowMs());
    // More in all than the old port had ids for; the first ones cross its successor on their way.
    const openMany = (): Opened[] =>
      Array.from({ length: 300 }, () => openFrom(opener, { link: `${target}-1` }, target));
    const after = openMany();
    await answerer.opened(1 + after.length);
    after.push(...openMany());
    await answerer.opened(1 + after.length);
    for (const { mesh } of shards) mesh.tick(systemClock.nowMs());
    const open = answerer.link.written(FRAME.OPEN);
    assert.equal(new Set(open.map(({ stream }) => stream)).size, 1 + after.length);
    // The stream on the old port goes on, and ends as one does.
    before.stream.write(Buffer.from('late'));
    const first = open[0]?.stream ?? 0;
    answerer.link.deliver(valueFrame(FRAME.OPENED, first, 100_000));
    await until('its bytes are there', () =>
      assert.equal(String(answerer.link.written(FRAME.DATA)[0]?.content), 'late'),
    );
    const counted = opener.mesh.receivedBytes;
    answerer.link.deliver(bodyFrame(FRAME.DATA, first, Buffer.from('answer')));
    before.stream.end();
    answerer.link.deliver(valueFrame(FRAME.FIN, first, 0));
    await until('it ends', () => assert.equal(before.sink.calls.at(-1), 'fin'));
    assert.equal(before.sink.bytes.toString(), 'answer');
    for (const { sink } of after) assert.deepEqual(sink.resets, []);
    for (const { stream } of after.splice(0, 300)) stream.reset('SLW_STREAM_RESET');
    await until('the old port is closed at both ends', () => {
      for (const { log } of shards) {
        assert.deepEqual(
          log.all('mesh port closed').map(({ code }) => code),
          ['SLW_LINK_IDS_SPENT'],
        );
      }
    });
    assert.ok(opener.mesh.receivedBytes >= counted);
    assert.equal(opener.mesh.streamsCount, after.length);
  });
}

test('visitors of a client that answers nobody leave those of others their way', async (t) => {
  // More than any link may have, and than it may have unanswered.
  const hung = STREAMS_OPENING_MAX + 100;
  const near = new Shard(t, 0, { streamsPerLinkMax: STREAMS_OPENING_MAX + 50 });
  const far = new Shard(t, 1, { streamsPerLinkMax: STREAMS_OPENING_MAX + 50 });
  join(near, far, 0, 1);
  const opened = Array.from({ length: hung }, () => openFrom(near));
  assert.equal(near.mesh.canOpen(1), true);
  const { sink } = openFrom(near, { link: '1-99' });
  await until('the last one is refused where its link would be', () =>
    assert.deepEqual(sink.resets, ['SLW_STREAM_NO_LINK']),
  );
  assert.equal(far.link.written(FRAME.OPEN).length, STREAMS_OPENING_MAX);
  // And those beyond the limit of the link are refused by it.
  const refused = opened.filter((one) => one.sink.resets.includes('SLW_STREAM_LIMIT'));
  assert.equal(refused.length, hung - STREAMS_OPENING_MAX);
});

test('a crowd that a link has no room for does not end the mesh', async (t) => {
  const [near] = startTwo(t);
  const crowd = IDLE_FRAMES_MAX + 100;
  const sinks = Array.from({ length: crowd }, () => openFrom(near, { link: '1-99' }).sink);
  await until('all are refused', () => assert.equal(sinks.at(-1)?.resets.length, 1));
  assert.deepEqual(new Set(sinks.flatMap(({ resets }) => resets)), new Set(['SLW_STREAM_NO_LINK']));
  assert.equal(near.mesh.canOpen(1), true);
});

test('a shard that stands still is asked for no more than waits for it, and loses nothing', async (t) => {
  const [near, far] = startTwo(t);
  const kept = openFrom(near);
  await far.opened(1);
  // Nothing crosses while this turn lasts, and ticks do not wait for it.
  const request = { tunnel: 'n'.repeat(500), link: '1-99' };
  const crowd: RecordingSink[] = [];
  while (near.mesh.canOpen(1) && crowd.length < 50_000) {
    crowd.push(openFrom(near, request).sink);
    if (crowd.length % 1000 === 0) near.mesh.tick(systemClock.nowMs());
  }
  near.mesh.tick(systemClock.nowMs());
  assert.ok(crowd.length < 20_000, `${crowd.length} wait`);
  const refused = near.mesh.open(1, { ...REQUEST, ...request }, new RecordingSink());
  assert.equal(refused, 'SLW_STREAM_LIMIT');
  assert.equal(near.mesh.streamsCount, 1 + crowd.length);
  await until('all are answered', () => assert.equal(near.mesh.streamsCount, 1));
  const codes = new Set(crowd.flatMap(({ resets }) => resets));
  assert.deepEqual(codes, new Set(['SLW_STREAM_NO_LINK']));
  assert.deepEqual([near.mesh.canOpen(1), kept.sink.resets], [true, []]);
  openFrom(near);
  await far.opened(2);
});

test('what waits beyond that, as every end does, does not end the mesh either', async (t) => {
  const [near, far] = startTwo(t);
  const opened: Stream[] = [];
  const request = { tunnel: 'n'.repeat(500), link: '1-99' };
  while (near.mesh.canOpen(1) && opened.length < 20_000) {
    opened.push(openFrom(near, request).stream);
  }
  for (const stream of opened) stream.reset('SLW_STREAM_RESET');
  near.mesh.tick(systemClock.nowMs());
  await until('all is read', () => assert.equal(near.mesh.canOpen(1), true));
  openFrom(near);
  await far.opened(1);
  assert.deepEqual(near.log.all('mesh port closed'), []);
});

test('a port that is lost while both shards live is warned of', async (t) => {
  const shard = new Shard(t, 0);
  const { port1, port2 } = new MessageChannel();
  shard.mesh.attach(1, port1);
  const noise = new ArrayBuffer(64);
  port2.postMessage(noise, [noise]);
  const lost = 'mesh port lost until one of its shards starts again';
  assert.match(String((await shard.log.line(lost)).code), /^SLW_WIRE_/u);
  assert.equal(shard.mesh.canOpen(1), false);
});

test('a mesh that is silent for days is not dead', async (t) => {
  const [near, far] = startTwo(t);
  near.mesh.tick(1e12);
  far.mesh.tick(1e12);
  openFrom(near);
  await far.opened(1);
});
