// Goal: whoever waits is settled once, by its reader, its end, its deadline or its death, and from
// then on nothing of the room is left on its socket. Method: real sockets, times that the test
// chooses.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { type FirstReader, type Settled, WaitingRoom } from '../../src/shard/waiting-room.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createSocketPair, eventOf } from './socket-pair.ts';

const EVENTS = ['data', 'end', 'close', 'error'] as const;

/** Says `whole` at the first full stop. */
class Sentence implements FirstReader<'whole'> {
  text = '';

  read(piece: Buffer): 'whole' | 'more' {
    this.text += piece.toString();
    return this.text.includes('.') ? 'whole' : 'more';
  }
}

function listenersOf(socket: Socket): number[] {
  return EVENTS.map((event) => socket.listenerCount(event));
}

function createRoom() {
  const clock = new FakeClock();
  const times = { timeoutMs: 100 };
  return { clock, times, room: new WaitingRoom<'whole'>(clock, () => times.timeoutMs) };
}

interface Entered {
  readonly reader: Sentence;
  readonly outcomes: Settled<'whole'>[];
  readonly settled: Promise<void>;
}

function enter(room: WaitingRoom<'whole'>, socket: Socket, first?: Buffer): Entered {
  const reader = new Sentence();
  const outcomes: Settled<'whole'>[] = [];
  const settled = new Promise<void>((resolve) => {
    const before = listenersOf(socket);
    const onSettled = (outcome: Settled<'whole'>): void => {
      assert.deepEqual(listenersOf(socket), before, 'no listener is left');
      outcomes.push(outcome);
      resolve();
    };
    room.enter(socket, reader, onSettled, first);
  });
  return { reader, outcomes, settled };
}

test('pieces come in order until the verdict, and what comes behind is somebody else’s', async (t) => {
  const { room } = createRoom();
  const pair = await createSocketPair(t);
  const { reader, outcomes, settled } = enter(room, pair.ours, Buffer.from('fir'));
  assert.equal(room.size, 1);
  pair.theirs.write('st');
  await eventOf(pair.ours, 'data');
  pair.theirs.write('.');
  await settled;
  pair.ours.pause();
  assert.equal(room.size, 0);
  pair.theirs.write('second');
  const [rest] = await once(pair.ours.resume(), 'data');
  assert.equal(String(rest), 'second');
  room.sweep(Number.POSITIVE_INFINITY);
  assert.deepEqual([reader.text, outcomes], ['first.', ['whole']]);
});

test('what was read before may settle at once', async (t) => {
  const { room } = createRoom();
  const pair = await createSocketPair(t);
  const { outcomes } = enter(room, pair.ours, Buffer.from('all.'));
  assert.deepEqual([outcomes, room.size], [['whole'], 0]);
});

test('an end before the verdict is silence', async (t) => {
  const { room } = createRoom();
  const pair = await createSocketPair(t);
  const { outcomes, settled } = enter(room, pair.ours);
  pair.theirs.end('not whole');
  await settled;
  assert.deepEqual([outcomes, room.size], [['silent'], 0]);
});

test('a death is told once, and its error by nobody', async (t) => {
  const { room } = createRoom();
  const pair = await createSocketPair(t);
  const { outcomes, settled } = enter(room, pair.ours);
  pair.ours.destroy(new Error('reset'));
  await settled;
  room.sweep(Number.POSITIVE_INFINITY);
  assert.deepEqual([outcomes, room.size], [['closed'], 0]);
});

test('each has the time that held when it came, and who is late is silent', async (t) => {
  const { room, clock, times } = createRoom();
  const startMs = clock.nowMs();
  const first = await createSocketPair(t);
  const second = await createSocketPair(t);
  const one = enter(room, first.ours);
  clock.advance(50);
  times.timeoutMs = 1000;
  const two = enter(room, second.ours);
  const third = await createSocketPair(t);
  times.timeoutMs = 10;
  const three = enter(room, third.ours);
  room.sweep(startMs + 59);
  assert.deepEqual(three.outcomes, []);
  room.sweep(startMs + 60);
  assert.deepEqual(three.outcomes, ['silent'], 'a shorter time waits for nobody who came before');
  room.sweep(startMs + 99);
  assert.deepEqual([one.outcomes, two.outcomes], [[], []]);
  room.sweep(startMs + 100);
  assert.deepEqual([one.outcomes, two.outcomes], [['silent'], []]);
  room.sweep(startMs + 1049);
  assert.deepEqual(two.outcomes, []);
  room.sweep(startMs + 1050);
  assert.deepEqual([two.outcomes, room.size], [['silent'], 0]);
});
