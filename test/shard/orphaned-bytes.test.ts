// Goal: what waits of TCP behind lost links is counted, in one sum for all of a shard, and beyond
// a bound dropped, of those first who take nothing. Method: relays on real sockets and splices,
// over sessions whose link a test cuts; sockets that nobody reads.

import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { ERRORS } from '../../src/base/errors.ts';
import { memoryPressure, PRESSURE } from '../../src/base/memory-pressure.ts';
import { type Holding, OrphanedBytes } from '../../src/shard/orphaned-bytes.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { valueFrame } from '../mux/raw-peer.ts';
import { eventually } from '../support/deadline.ts';
import { seededNoise } from '../support/digest.ts';
import { type Bench, MIB, visitorBench, wire } from './relay-bench.ts';
import { endOf } from './socket-pair.ts';
import { ANSWER, createSlowBench, FAR_ID, NEAR_ID } from './splice-bench.ts';

const NOISE = seededNoise(3, 12 * MIB);

interface Waiting {
  readonly bench: Bench;
  readonly ours: Socket;
  readonly theirs: Socket;
}

/** All of NOISE and a FIN have come for a visitor who reads nothing. */
async function waiting(t: TestContext): Promise<Waiting> {
  const at = await visitorBench(t);
  at.theirs.pause();
  at.bench.dataFromPeer(NOISE);
  at.bench.fromPeer(FRAME.FIN, 0);
  assert.ok(at.ours.writableLength > 0, 'the kernel took everything: send more');
  return at;
}

function watching(bytesMax: number, all: readonly Waiting[]): OrphanedBytes {
  const orphans = new OrphanedBytes(bytesMax);
  for (const { bench } of all) orphans.watch(bench.relays);
  return orphans;
}

const orphanedOf = ({ bench }: Waiting): number => bench.relay.orphanedBytes;

for (const [how, before] of [
  ['a lost link', () => {}],
  [
    'a reset, and then a lost link',
    ({ bench }: Waiting) => bench.fromPeer(FRAME.RST, wire('SLW_STREAM_RESET')),
  ],
  [
    'both FINs, and then a lost link',
    async ({ bench, ours, theirs }: Waiting) => {
      theirs.end();
      await eventually(5000, 'our FIN', async () => assert.ok(bench.stream.isEnded));
      assert.equal(ours.destroyed, false);
    },
  ],
] as const) {
  test(`what waits at a visitor's socket behind ${how} is counted until it is taken`, async (t) => {
    const at = await waiting(t);
    const { bench, theirs } = at;
    await before(at);
    assert.ok(bench.peer.session.memory.heldBytes > 0);
    assert.equal(orphanedOf(at), 0, 'on the account of its session');
    bench.peer.link.destroy();
    assert.equal(bench.peer.session.memory.heldBytes, 0);
    assert.ok(orphanedOf(at) >= at.ours.writableLength, `${orphanedOf(at)} bytes`);
    const orphans = watching(NOISE.length, [at]);
    orphans.sweep();
    const { how: end, bytes } = await endOf(theirs);
    assert.equal(end, 'FIN', 'below the bound nothing is dropped');
    assert.ok(bytes.equals(NOISE));
    await eventually(5000, 'the relay is gone', async () => assert.equal(bench.relays.size, 0));
    assert.equal(orphanedOf(at), 0);
  });
}

test('beyond the bound who took nothing is cut, the oldest first, and nobody else', async (t) => {
  const all = [await waiting(t), await waiting(t), await waiting(t)] as const;
  const [first, second, third] = all;
  for (const { bench } of [first, second]) bench.peer.link.destroy();
  watching(orphanedOf(first) + orphanedOf(second), all).sweep();
  assert.deepEqual([first.ours.destroyed, second.ours.destroyed], [false, false]);
  third.bench.peer.link.destroy();
  // The first reads now, and is spared for it.
  first.theirs.resume();
  const taken = orphanedOf(first);
  // A turn at a time, lest it has all of it.
  while (orphanedOf(first) === taken) await turn();
  first.theirs.pause();
  const over = watching(orphanedOf(first) + orphanedOf(third), all);
  over.sweep();
  assert.equal(second.ours.destroyed, true, 'which stood still');
  assert.deepEqual([first.ours.destroyed, third.ours.destroyed], [false, false]);
  assert.equal((await endOf(second.theirs)).how, 'ECONNRESET');
  for (const { theirs } of [first, third]) theirs.resetAndDestroy();
  await eventually(5000, 'they are gone', async () =>
    assert.deepEqual(all.map(orphanedOf), [0, 0, 0]),
  );
});

test('what waits for one visitor on several streams is given back as one', () => {
  const cut: string[] = [];
  const holdingsOf = (name: string, ...counts: number[]): Holding[] => {
    const holder = {};
    let isCut = false;
    return counts.map((bytes) => ({
      holder,
      get orphanedBytes() {
        return isCut ? 0 : bytes;
      },
      hasMoved: () => false,
      giveBack: () => {
        isCut = true;
        cut.push(name);
      },
    }));
  };
  const [first, second, third] = [
    holdingsOf('a', 10, 30, 20),
    holdingsOf('b', 40),
    holdingsOf('c', 5),
  ];
  const orphans = new OrphanedBytes(50);
  // The first one's streams are not next to one another.
  orphans.watch([...first.slice(0, 1), ...second, ...first.slice(1), ...third]);
  orphans.sweep();
  assert.deepEqual(cut, ['a'], 'its 60 of 105 are enough');
  orphans.sweep();
  assert.deepEqual(cut, ['a']);
});

test('an eighth of it is left while the process has no memory', async (t) => {
  t.after(() => {
    memoryPressure.level = PRESSURE.NONE;
  });
  const at = await waiting(t);
  at.bench.peer.link.destroy();
  const orphans = watching(orphanedOf(at) * 4, [at]);
  orphans.sweep();
  assert.equal(at.ours.destroyed, false);
  memoryPressure.level = PRESSURE.FULL;
  orphans.sweep();
  assert.equal((await endOf(at.theirs)).how, 'ECONNRESET');
});

for (const isReset of [false, true]) {
  const how = isReset ? 'a reset, and then a lost link' : 'a lost link';
  test(`what waits for another shard behind ${how} is counted, and dropped beyond the bound`, () => {
    const { near, far, partings } = createSlowBench();
    if (isReset) far.deliver(valueFrame(FRAME.RST, FAR_ID, ERRORS.SLW_STREAM_RESET.wire));
    const orphans = new OrphanedBytes(ANSWER.length);
    orphans.watch(partings);
    const bytes = () => [...partings].reduce((sum, end) => sum + end.orphanedBytes, 0);
    assert.equal(bytes(), 0, 'on the account of its session');
    far.link.destroy();
    assert.equal(bytes(), ANSWER.length);
    orphans.sweep();
    assert.deepEqual(near.written(FRAME.RST), []);
    const strict = new OrphanedBytes(ANSWER.length - 1);
    strict.watch(partings);
    strict.sweep();
    const [reset] = near.written(FRAME.RST);
    assert.equal(reset?.content, ERRORS.SLW_STREAM_MEMORY.wire);
    assert.deepEqual([bytes(), partings.size, near.session.streamsCount], [0, 0, 0]);
  });
}

test('so is what waits of a stream that both sides had ended', () => {
  const { near, far, partings } = createSlowBench();
  near.deliver(valueFrame(FRAME.FIN, NEAR_ID, 0));
  assert.ok(far.session.memory.heldBytes > 0);
  far.link.destroy();
  const [end] = partings;
  assert.equal(end?.orphanedBytes, ANSWER.length);
  near.deliver(valueFrame(FRAME.CREDIT, NEAR_ID, 100_000));
  assert.deepEqual([end?.orphanedBytes, partings.size], [0, 0]);
  assert.deepEqual(near.written(FRAME.RST), [], 'a whole answer, and a clean end');
});

test('an end from which nothing waits is watched by nobody', () => {
  const { near, far, partings } = createSlowBench();
  assert.equal(partings.size, 1);
  near.deliver(valueFrame(FRAME.CREDIT, NEAR_ID, 100_000));
  assert.equal(partings.size, 0, 'all was sent on');
  assert.equal(far.session.memory.heldBytes, 0);
});
