// What pours on one socket leaves the loop to others, however much the kernel takes at once.

import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { pour } from '../../native-free-bench/harness/pour.ts';

/** Takes as many writes at once as it is told, and then says that it is full. */
class Taker {
  destroyed = false;
  writes = 0;
  readonly #takes: number;
  #onDrain: () => void = () => undefined;

  constructor(takes: number) {
    this.#takes = takes;
  }

  on(_event: 'drain', push: () => void): void {
    this.#onDrain = push;
  }

  write(): boolean {
    this.writes += 1;
    if (this.writes > 10_000) this.destroyed = true;
    return this.writes % this.#takes !== 0;
  }

  drain(): void {
    this.#onDrain();
  }
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

test('a socket that takes all at once gets a mebibyte a turn', async () => {
  const taker = new Taker(Number.MAX_SAFE_INTEGER);
  const pieces = new Taker(Number.MAX_SAFE_INTEGER);
  pour(taker as unknown as Socket, Buffer.alloc(2 ** 20));
  pour(pieces as unknown as Socket, Buffer.alloc(2 ** 16));
  for (let turns = 1; turns < 5; turns += 1) {
    assert.deepEqual([taker.writes, pieces.writes], [turns, turns * 16]);
    await turn();
  }
  for (const each of [taker, pieces]) each.destroyed = true;
  await turn();
  assert.deepEqual([taker.writes, pieces.writes], [5, 80]);
});

test('a socket that is full gets more when it has drained', async () => {
  const taker = new Taker(2);
  pour(taker as unknown as Socket, Buffer.alloc(2 ** 16));
  assert.equal(taker.writes, 2);
  await turn();
  assert.equal(taker.writes, 2);
  taker.drain();
  assert.equal(taker.writes, 4);
  taker.destroyed = true;
});
