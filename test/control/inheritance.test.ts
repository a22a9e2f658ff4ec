// Goal: inherited sockets go to the listener they were opened for, each once, and the rest is
// closed. Method: numbers in place of descriptors.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Inheritance } from '../../src/control/inheritance.ts';

const HTTP = { name: 'http', host: '127.0.0.1', port: 0 };

function inherit(): { inheritance: Inheritance; closed: number[] } {
  const closed: number[] = [];
  const sockets = [
    { ...HTTP, fds: [4, 5, 6] },
    { name: 'tcp:2222', host: '0.0.0.0', port: 2222, fds: [7] },
  ];
  return { inheritance: new Inheritance(sockets, (fd) => closed.push(fd)), closed };
}

test('as many shards as before get one each, and each once', () => {
  const { inheritance } = inherit();
  assert.deepEqual(
    [0, 1, 2].map((shard) => inheritance.take(HTTP, shard, 3)),
    [[4], [5], [6]],
  );
  assert.deepEqual(inheritance.take(HTTP, 1, 3), [], 'a shard that starts anew opens its own');
  assert.equal(inheritance.has(HTTP), false);
});

test('fewer shards share all of them out: none stays without a reader', () => {
  const { inheritance, closed } = inherit();
  assert.deepEqual(inheritance.take(HTTP, 0, 2), [4, 6]);
  assert.deepEqual(inheritance.take(HTTP, 1, 2), [5]);
  inheritance.closeRest();
  assert.deepEqual(closed, [7]);
});

test('a shard more than before has none, and opens its own', () => {
  const { inheritance } = inherit();
  assert.deepEqual(inheritance.take(HTTP, 3, 4), []);
  assert.deepEqual(inheritance.take(HTTP, 0, 4), [4]);
});

test('another address, port or name is not what was inherited', () => {
  const { inheritance, closed } = inherit();
  for (const change of [{ host: '0.0.0.0' }, { port: 80 }, { name: 'https' }]) {
    assert.equal(inheritance.has({ ...HTTP, ...change }), false);
    assert.deepEqual(inheritance.take({ ...HTTP, ...change }, 0, 1), []);
  }
  inheritance.closeRest();
  inheritance.closeRest();
  assert.deepEqual(closed, [4, 5, 6, 7], 'each is closed once');
});
