// Goal: one look a second however many look, none while nobody does; who does not read is cut, and
// who may no longer see is told. Method: a clock moved by hand, responses that note what they get.

import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { ServerResponse } from 'node:http';
import { test } from 'node:test';
import { LiveFeed, VIEWERS_MAX } from '../../src/control/live-feed.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { LogLines } from '../support/log-lines.ts';

class Viewer extends EventEmitter {
  readonly sent: string[] = [];
  writableLength = 0;
  state: 'open' | 'ended' | 'destroyed' = 'open';
  mayStay = true;

  writeHead(): this {
    return this;
  }

  write(text: string): boolean {
    this.sent.push(text);
    return true;
  }

  end(text: string): this {
    this.sent.push(text);
    return this.#leave('ended');
  }

  destroy(): this {
    return this.#leave('destroyed');
  }

  #leave(state: 'ended' | 'destroyed'): this {
    this.state = state;
    this.emit('close');
    return this;
  }
}

class Bench {
  readonly clock = new FakeClock();
  readonly log = new LogLines('control');
  looks = 0;
  firsts = 0;
  answer: () => Promise<string> = async () => `{"look":${this.looks}}`;
  readonly feed = new LiveFeed({
    look: () => {
      this.looks += 1;
      return this.answer();
    },
    onFirst: () => {
      this.firsts += 1;
    },
    ...{ clock: this.clock, log: this.log.log },
  });

  join(): Viewer {
    const viewer = new Viewer();
    const isIn = this.feed.join(viewer as unknown as ServerResponse, '{}', () => viewer.mayStay);
    if (!isIn) viewer.state = 'ended';
    return viewer;
  }

  async seconds(count: number): Promise<void> {
    for (let second = 0; second < count; second += 1) {
      this.clock.advance(1000);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

test('all get the same, one look a second, and none when all have left', async () => {
  const bench = new Bench();
  await bench.seconds(3);
  assert.equal(bench.looks, 0);
  const [first, second] = [bench.join(), bench.join()];
  await bench.seconds(3);
  assert.equal(bench.looks, 3);
  assert.deepEqual(first.sent.slice(1), [
    'data: {"look":1}\n\n',
    'data: {"look":2}\n\n',
    'data: {"look":3}\n\n',
  ]);
  assert.deepEqual(second.sent, first.sent);
  assert.match(first.sent[0] ?? '', /^retry: 2000\n\nevent: hello\ndata: \{\}\n\n$/u);
  first.destroy();
  second.destroy();
  await bench.seconds(5);
  assert.deepEqual([bench.looks, bench.firsts, bench.feed.viewersCount], [3, 1, 0]);
  bench.join();
  await bench.seconds(1);
  assert.deepEqual([bench.looks, bench.firsts], [4, 2], 'what was before is forgotten');
});

test('who does not read is cut, who may not stay is told, the others go on', async () => {
  const bench = new Bench();
  const [slow, over, good] = [bench.join(), bench.join(), bench.join()];
  await bench.seconds(1);
  slow.writableLength = 2 ** 21;
  over.mayStay = false;
  await bench.seconds(2);
  assert.deepEqual([slow.state, over.state, good.state], ['destroyed', 'ended', 'open']);
  assert.equal(over.sent.at(-1), 'event: over\ndata: \n\n');
  assert.equal(bench.feed.viewersCount, 1);
  assert.equal(good.sent.length, 4);
});

test('who may not stay is told once and keeps no place, reading or not', async () => {
  const bench = new Bench();
  const [over, stuck] = [bench.join(), bench.join()];
  await bench.seconds(1);
  // Neither tells that it is closed.
  over.emit = () => false;
  stuck.emit = () => false;
  over.mayStay = false;
  stuck.mayStay = false;
  stuck.writableLength = 10;
  await bench.seconds(3);
  assert.deepEqual([over.state, stuck.state, bench.feed.viewersCount], ['ended', 'destroyed', 0]);
  assert.equal(over.sent.filter((text) => text.startsWith('event: over')).length, 1);
});

test('looks never overlap, and one that fails is not the end', async () => {
  const bench = new Bench();
  const viewer = bench.join();
  const answers: ((json: string) => void)[] = [];
  bench.answer = () => new Promise((resolve) => answers.push(resolve));
  await bench.seconds(5);
  assert.equal(bench.looks, 1);
  answers[0]?.('{}');
  bench.answer = () => Promise.reject(new Error('no'));
  await bench.seconds(2);
  await bench.log.line('a look for the dashboard failed');
  bench.answer = async () => '{"back":1}';
  await bench.seconds(2);
  assert.equal(viewer.sent.at(-1), 'data: {"back":1}\n\n');
});

test('who comes while a look for those who left is under way does not double it', async () => {
  const bench = new Bench();
  const answers: ((json: string) => void)[] = [];
  bench.answer = () => new Promise((resolve) => answers.push(resolve));
  const first = bench.join();
  await bench.seconds(1);
  first.destroy();
  const second = bench.join();
  answers[0]?.('{}');
  bench.answer = async () => '{}';
  await bench.seconds(5);
  assert.ok(bench.looks === 5 || bench.looks === 6, `${bench.looks} looks in six seconds`);
  assert.equal(second.sent.length, bench.looks + 1);
  second.destroy();
  const { looks } = bench;
  await bench.seconds(3);
  assert.equal(bench.looks, looks);
});

test('there is an end to how many look, and to all of it', async () => {
  const bench = new Bench();
  const viewers = Array.from({ length: VIEWERS_MAX }, () => bench.join());
  assert.equal(bench.join().state, 'ended');
  bench.feed.close();
  assert.ok(viewers.every(({ state }) => state === 'destroyed'));
  await bench.seconds(2);
  assert.equal(bench.looks, 0);
});
