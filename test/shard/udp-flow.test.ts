// Goal: a flow that has ended leaves nothing behind, whatever its stream said last. Method: a
// session in memory whose peer the test plays, on either side of the tunnel.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ErrorCode } from '../../src/base/errors.ts';
import { QueueAccount } from '../../src/mux/datagram-queue.ts';
import type { Stream } from '../../src/mux/stream.ts';
import { DatagramMeter } from '../../src/shard/datagram-meter.ts';
import { UdpFlow } from '../../src/shard/udp-flow.ts';
import { frameDatagram } from '../../src/wire/datagram.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { bodyFrame, RawPeer, REQUEST, valueFrame } from '../mux/raw-peer.ts';

/** All but its last bytes: they do not come. */
const CUT = frameDatagram(Buffer.from('a datagram')).subarray(0, 3);

interface Scene {
  readonly peer: RawPeer;
  readonly flow: UdpFlow;
  readonly stream: Stream;
  readonly ends: ErrorCode[];
}

function startFlow(): { flow: UdpFlow; ends: ErrorCode[] } {
  const ends: ErrorCode[] = [];
  const flow = new UdpFlow({
    ...{ account: new QueueAccount(), meter: new DatagramMeter(), nowMs: 0, takes: 'in' },
    send: () => assert.fail('no datagram was whole'),
    onClose() {},
    onEnd: (code) => ends.push(code),
  });
  return { flow, ends };
}

/** As an exit node has them for visitors, and a client for its upstreams. */
const SIDES: Readonly<Record<string, () => Scene>> = {
  'of a visitor'() {
    const { flow, ends } = startFlow();
    const peer = new RawPeer();
    const stream = peer.session.open(REQUEST, flow);
    if (typeof stream === 'string') assert.fail(stream);
    flow.join(stream);
    peer.deliver(valueFrame(FRAME.OPENED, stream.id, 0));
    return { peer, flow, stream, ends };
  },
  'of an upstream'() {
    const { flow, ends } = startFlow();
    const opened: Stream[] = [];
    const peer = new RawPeer({
      onOpen(stream) {
        opened.push(stream);
        stream.sink = flow;
        flow.join(stream);
        stream.accept();
      },
    });
    peer.open();
    return { peer, flow, stream: opened[0] ?? assert.fail('not opened'), ends };
  },
};

for (const [side, start] of Object.entries(SIDES)) {
  for (const first of ['the peer', 'we'] as const) {
    test(`a flow ${side} is gone though FIN cut a datagram, when ${first} ended it`, () => {
      const { peer, flow, stream, ends } = start();
      if (first === 'we') flow.end(0);
      peer.deliver(bodyFrame(FRAME.DATA, stream.id, CUT));
      peer.deliver(valueFrame(FRAME.FIN, stream.id, 0));
      assert.equal(peer.written(FRAME.FIN).length, 1);
      assert.deepEqual(ends, ['SLW_NONE']);
      assert.equal(peer.session.streamsCount, 0);
      assert.equal(peer.session.memory.heldBytes, 0);
    });
  }
}
