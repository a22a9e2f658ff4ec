// Goal: who speaks TLS and has gone is found out, also while the other side takes nothing; who
// waits is let wait; and a cut waits for nothing that a peer has to take first. Method: sockets
// over loopback with TLS on both ends, time given by the test.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { ERRORS } from '../../src/base/errors.ts';
import { Roster } from '../../src/base/roster.ts';
import { cutSocket, layTls, SocketRelay } from '../../src/shard/socket-relay.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { RawPeer, REQUEST } from '../mux/raw-peer.ts';
import { undoAfter } from '../support/cleanup.ts';
import { eventually, within } from '../support/deadline.ts';
import { PAIR_A } from '../support/test-pairs.ts';
import { createSocketPair } from './socket-pair.ts';

const WAIT_MS = 5000;
const TRUST = { ca: PAIR_A.cert, servername: 'a.test' };
const LIMITS = { tcpIdleTimeoutMs: 0, halfCloseTimeoutMs: 0, upstreamConnectTimeoutMs: 10_000 };
/** More than a stream may send before it was answered, and than kernels hold. */
const MUCH = Buffer.alloc(16 * 1024 * 1024);
/** A little longer than from probe to probe. */
const LOOK_AGAIN_MS = 61_000;

interface Ends {
  readonly ours: tls.TLSSocket;
  readonly theirs: tls.TLSSocket;
  /** Below theirs. */
  readonly wire: net.Socket;
}

/** As a shard has a visitor that was accepted. */
async function visitor(t: TestContext): Promise<Ends> {
  const pair = await createSocketPair(t);
  pair.ours.on('error', ignoreError);
  const ours = new tls.TLSSocket(pair.ours, { isServer: true, ...PAIR_A });
  const theirs = tls.connect({ socket: pair.theirs, ...TRUST });
  theirs.on('error', ignoreError);
  await within(WAIT_MS, 'a handshake', once(theirs, 'secureConnect'));
  return { ours, theirs, wire: pair.theirs };
}

/** As a shard has an upstream that was dialled. */
async function upstream(t: TestContext): Promise<Ends> {
  const accepted = Promise.withResolvers<Pick<Ends, 'theirs' | 'wire'>>();
  const server = net.createServer((wire) => {
    wire.on('error', ignoreError);
    const theirs = new tls.TLSSocket(wire, { isServer: true, ...PAIR_A });
    theirs.on('error', ignoreError);
    accepted.resolve({ theirs, wire });
    undoAfter(t, () => void wire.destroy());
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const ours = tls.connect({ port, host: '127.0.0.1', ...TRUST });
  undoAfter(t, () => void ours.destroy());
  await within(WAIT_MS, 'a handshake', once(ours, 'secureConnect'));
  server.close();
  return { ours, ...(await accepted.promise) };
}

function ignoreError(): void {
  // It is cut.
}

/** A relay of `ours` whose stream takes no more, and what was reset on its link. */
async function pausedRelay({ ours, theirs }: Ends): Promise<{
  readonly relay: SocketRelay;
  readonly relays: Roster<SocketRelay>;
  readonly resets: () => number[];
}> {
  const relays = new Roster<SocketRelay>();
  const relay = new SocketRelay({ socket: ours, limits: LIMITS, state: 'open', nowMs: 0, relays });
  const peer = new RawPeer();
  const stream = peer.session.open(REQUEST, relay);
  assert.ok(typeof stream !== 'string');
  relay.join(stream);
  theirs.write(MUCH);
  await eventually(WAIT_MS, 'no credit is left', async () => assert.ok(ours.isPaused()));
  relay.sweep(0);
  return {
    relay,
    relays,
    resets: () => peer.written(FRAME.RST).map(({ content }) => Number(content)),
  };
}

for (const [who, connect] of Object.entries({ visitor, upstream })) {
  test(`${who} over TLS that has gone is found out, also while nothing of it is taken`, async (t) => {
    const ends = await connect(t);
    const { relay, relays, resets } = await pausedRelay(ends);
    ends.wire.resetAndDestroy();
    let nowMs = 0;
    await eventually(WAIT_MS, 'the relay is gone', async () => {
      nowMs += LOOK_AGAIN_MS;
      relay.sweep(nowMs);
      assert.equal(relays.size, 0);
    });
    assert.deepEqual(resets(), [ERRORS.SLW_STREAM_RESET.wire]);
  });

  test(`${who} over TLS that waits, and has not gone, is let wait, and heard`, async (t) => {
    const ends = await connect(t);
    const { relay, relays, resets } = await pausedRelay(ends);
    for (let nowMs = LOOK_AGAIN_MS; nowMs < 50 * LOOK_AGAIN_MS; nowMs += LOOK_AGAIN_MS) {
      relay.sweep(nowMs);
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.deepEqual([relays.size, resets()], [1, []]);
    const heard = within(WAIT_MS, 'what follows', once(ends.theirs, 'data'));
    relay.onData(Buffer.from('still there'));
    assert.equal(String((await heard)[0]), 'still there');
  });
}

test('who was heard within the minute is not asked, as an answer may lie before its reset', async (t) => {
  const ends = await visitor(t);
  const { relay, relays } = await pausedRelay(ends);
  const heard = within(WAIT_MS, 'a word', once(ends.theirs, 'data'));
  relay.onData(Buffer.from('slowly'));
  await heard;
  // Taken, and known to be.
  await new Promise((resolve) => setImmediate(resolve));
  relay.sweep(LOOK_AGAIN_MS);
  const gone = within(WAIT_MS, 'the end', once(ends.wire, 'close'));
  ends.wire.resetAndDestroy();
  await gone;
  relay.sweep(LOOK_AGAIN_MS + 1000);
  for (let turns = 0; turns < 50; turns += 1) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(relays.size, 1);
  await eventually(WAIT_MS, 'the relay is gone', async () => {
    relay.sweep(3 * LOOK_AGAIN_MS);
    assert.equal(relays.size, 0);
  });
});

for (const [what, given] of Object.entries({
  'a TLS socket': (ours: tls.TLSSocket) => ours,
  'the connection below one': (_ours: tls.TLSSocket, wire: net.Socket) => wire,
})) {
  test(`${what} is cut also while the close_notify waits`, async (t) => {
    const pair = await createSocketPair(t);
    const ours = new tls.TLSSocket(pair.ours, { isServer: true, ...PAIR_A });
    ours.on('error', ignoreError);
    const theirs = tls.connect({ socket: pair.theirs, ...TRUST });
    theirs.on('error', ignoreError);
    await within(WAIT_MS, 'a handshake', once(theirs, 'secureConnect'));
    layTls(ours, pair.ours);
    // Kernels that are full to the byte: the record of the end is never written.
    ours._final = () => {};
    ours.end();
    assert.deepEqual([ours.writableLength, ours.writableFinished], [0, false]);
    // libuv refuses it beside a shutdown, and the descriptor would stay.
    pair.ours.resetAndDestroy = () => assert.fail('a reset beside a shutdown');
    const closed = within(WAIT_MS, 'the end', once(ours, 'close'));
    cutSocket(given(ours, pair.ours));
    await closed;
    assert.equal(pair.ours.destroyed, true);
  });
}
