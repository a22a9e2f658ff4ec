// Where the client's own file servers listen, by platform; that they serve is tested end to end.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { socketIn } from '../../src/client/folder-upstreams.ts';

test('a socket lies in its folder, and on Windows it is a pipe, which Node listens on there', () => {
  assert.equal(socketIn('/tmp/sluiceway-aB3', 0, 'linux'), '/tmp/sluiceway-aB3/0.sock');
  const place = 'C:\\Users\\ann\\Temp\\sluiceway-aB3';
  assert.equal(socketIn(place, 1, 'win32'), '\\\\.\\pipe\\sluiceway-aB3-1');
});
