// Goal: the first bytes of a connection tell a link from a visitor, however they are split, and
// never take a visitor for a link; who knocks has a place among visitors until it is a link or
// gone. Method: heads cut at every byte; real sockets, and a clock that the test moves.

import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { judgeHead, type Knock, LinkDoor } from '../../src/shard/link-door.ts';
import { within } from '../support/deadline.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createSocketPair, endOf, eventOf } from './socket-pair.ts';

const lines = (...texts: readonly string[]): Buffer =>
  Buffer.from([...texts, '', ''].join('\r\n'), 'latin1');

const LINK = lines(
  'GET /connect HTTP/1.1',
  'Host: exit.example.com',
  'Upgrade: websocket',
  'Sec-WebSocket-Protocol: sluiceway.1',
);

const LINKS: Readonly<Record<string, Buffer>> = {
  'a link': LINK,
  'with a query': lines('GET /connect?x HTTP/1.1', 'sec-websocket-protocol:sluiceway.1'),
  'with several protocols': lines(
    'GET /connect HTTP/1.1',
    'SEC-WEBSOCKET-PROTOCOL: a, sluiceway.1 ,b',
  ),
  'with bytes behind': Buffer.concat([LINK, Buffer.from('more')]),
};

const VISITORS: Readonly<Record<string, Buffer>> = {
  'another path': lines('GET / HTTP/1.1', 'Sec-WebSocket-Protocol: sluiceway.1'),
  'a longer path': lines('GET /connections HTTP/1.1', 'Sec-WebSocket-Protocol: sluiceway.1'),
  'a path below': lines('GET /connect/x HTTP/1.1', 'Sec-WebSocket-Protocol: sluiceway.1'),
  'another method': lines('POST /connect HTTP/1.1', 'Sec-WebSocket-Protocol: sluiceway.1'),
  'lower case': lines('get /connect HTTP/1.1', 'Sec-WebSocket-Protocol: sluiceway.1'),
  'no protocol': lines('GET /connect HTTP/1.1', 'Upgrade: websocket'),
  'another protocol': lines('GET /connect HTTP/1.1', 'Sec-WebSocket-Protocol: sluiceway.10'),
  'a protocol in another field': lines(
    'GET /connect HTTP/1.1',
    'X: sec-websocket-protocol: sluiceway.1',
  ),
  'a protocol in the body': Buffer.concat([
    lines('GET /connect HTTP/1.1', 'Content-Length: 40'),
    lines('Sec-WebSocket-Protocol: sluiceway.1'),
  ]),
  'no HTTP': Buffer.from('\x16\x03\x01hello'),
};

for (const [what, bytes] of Object.entries(LINKS)) {
  test(`${what}, cut anywhere, is a link's at its last byte`, () => {
    const end = bytes.indexOf('\r\n\r\n') + 4;
    for (let length = 0; length < end; length += 1) {
      assert.equal(judgeHead(bytes.subarray(0, length)), 'more', `${length} bytes`);
    }
    assert.equal(judgeHead(bytes.subarray(0, end)), 'link');
    assert.equal(judgeHead(bytes), 'link');
  });
}

for (const [what, bytes] of Object.entries(VISITORS)) {
  test(`${what}, cut anywhere, is never a link`, () => {
    for (let length = 0; length <= bytes.length; length += 1) {
      assert.notEqual(judgeHead(bytes.subarray(0, length)), 'link', `${length} bytes`);
    }
    assert.equal(judgeHead(bytes), 'visitor');
  });
}

test('a head that never ends is a visitor, who is told so', () => {
  const long = Buffer.concat([Buffer.from('GET /connect?'), Buffer.alloc(16 * 1024, 'x')]);
  assert.equal(judgeHead(long), 'visitor');
});

const UPGRADE_MS = 10_000;
const WAIT_MS = 5000;

/** A door, and whoever knocked there; nobody upgrades but the test. */
function createDoor(connectionsMax = 10) {
  const clock = new FakeClock();
  const knocks: { readonly socket: Socket; readonly knock: Knock }[] = [];
  const door = new LinkDoor({
    ...{ schemes: ['http'], clock, connectionsMax, upgradeTimeoutMs: UPGRADE_MS },
    limits: { headerTimeoutMs: 1000 },
    onLink: (socket, knock) => {
      socket.on('error', () => {
        // 'close' follows.
      });
      knocks.push({ socket, knock });
    },
  });
  return { clock, door, knocks };
}

/** Somebody who sends a link's request; `settled` is about its place among visitors. */
async function comeIn(t: TestContext, door: LinkDoor) {
  const pair = await createSocketPair(t);
  const place: { state: 'held' | 'left' } = { state: 'held' };
  const settled = new Promise<void>((resolve) => {
    const onSettled = (): void => {
      assert.equal(place.state, 'held', 'its place is left once');
      place.state = 'left';
      resolve();
    };
    const onVisitor = (): void => assert.fail('a visitor');
    door.admit(pair.ours, { first: LINK }, { onVisitor, onSettled });
  });
  return { ...pair, place, settled: within(WAIT_MS, 'its place is left', settled) };
}

test('who knocks has a visitor’s place until it is a link', async (t) => {
  const { door, knocks, clock } = createDoor();
  const { ours, place, settled } = await comeIn(t, door);
  assert.equal(knocks.length, 1);
  assert.deepEqual([place.state, door.waitingCount], ['held', 1]);
  knocks[0]?.knock.onUpgraded();
  await settled;
  assert.equal(door.waitingCount, 0);
  clock.advance(UPGRADE_MS);
  door.sweep(clock.nowMs());
  assert.equal(ours.destroyed, false, 'a link has no such deadline');
});

test('who knocks and is no link by the deadline is cut, and leaves its place then', async (t) => {
  const { door, clock } = createDoor();
  const { ours, theirs, place, settled } = await comeIn(t, door);
  clock.advance(UPGRADE_MS - 1);
  door.sweep(clock.nowMs());
  assert.deepEqual([ours.destroyed, place.state], [false, 'held']);
  clock.advance(1);
  door.sweep(clock.nowMs());
  const { bytes } = await endOf(theirs);
  assert.equal(bytes.length, 0);
  await settled;
  assert.equal(door.waitingCount, 0);
});

test('who knocks and goes leaves its place', async (t) => {
  const { door } = createDoor();
  const { theirs, settled } = await comeIn(t, door);
  theirs.resetAndDestroy();
  await settled;
  assert.equal(door.waitingCount, 0);
});

test('beyond the connections of a shard, links included, who knocks is cut', async (t) => {
  const { door, knocks } = createDoor(1);
  const first = await comeIn(t, door);
  knocks[0]?.knock.onUpgraded();
  const second = await comeIn(t, door);
  await second.settled;
  await endOf(second.theirs);
  assert.equal(knocks.length, 1);
  const closed = eventOf(first.ours, 'close');
  first.theirs.resetAndDestroy();
  await closed;
  await comeIn(t, door);
  assert.equal(knocks.length, 2, 'the place of the one that ended');
});
