// The link between client and server over real loopback sockets with the real handshake: both
// roles, every way of masking, plain and TLS.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { MaskKey } from '../../src/link/mask-key.ts';
import { WsLink } from '../../src/link/ws-link.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { CONTROL_BODY_BYTES_MAX, FRAME_BYTES_MAX, FRAME_BYTES_MIN } from '../../src/wire/limits.ts';
import { FrameRecorder } from '../compliance/frame-recorder.ts';
import { type LinkPair, testLink } from '../compliance/link-suite.ts';
import { createUpgradedPair } from './ws-pair.ts';

interface Variant {
  readonly mask: MaskKey;
  readonly isTls: boolean;
  readonly near: 'client' | 'server';
}

async function createPair(t: TestContext, { mask, isTls, near }: Variant): Promise<LinkPair> {
  const pair = await createUpgradedPair(t, isTls);
  const client = new WsLink({ ...pair.client, mask });
  const server = new WsLink({ ...pair.server, mask: 'none' });
  return near === 'client' ? { near: client, far: server } : { near: server, far: client };
}

const VARIANTS: readonly Variant[] = [
  { mask: 'zero', isTls: false, near: 'client' },
  { mask: 'random', isTls: false, near: 'client' },
  { mask: 'random', isTls: false, near: 'server' },
  { mask: 'zero', isTls: true, near: 'client' },
  { mask: 'zero', isTls: true, near: 'server' },
];

for (const variant of VARIANTS) {
  const { mask, isTls, near } = variant;
  testLink({
    name: `${isTls ? 'wss' : 'ws'}, ${near} to ${near === 'client' ? 'server' : 'client'}, ${mask} key`,
    goodbye: 'SLW_LINK_ENDED',
    createPair: (t) => createPair(t, variant),
  });
}

test('a batch and a long control body stay within the smallest message a peer accepts', async (t) => {
  const { near, far } = await createPair(t, { mask: 'zero', isTls: false, near: 'client' });
  near.start({ sink: new FrameRecorder(), frameBytesMax: FRAME_BYTES_MIN });
  const sink = new FrameRecorder();
  far.start({ sink, frameBytesMax: FRAME_BYTES_MIN });
  for (let stream = 1; stream <= 15; stream += 1) {
    near.writeBody(FRAME.DATA, stream, Buffer.alloc(FRAME_BYTES_MIN - 1, stream));
  }
  near.writeBody(FRAME.REGISTER, 0, Buffer.alloc(CONTROL_BODY_BYTES_MAX));
  for (let stream = 1; stream <= 5000; stream += 1) near.writeValue(FRAME.FIN, stream, 0);
  near.writeBody(FRAME.DATA, 1, Buffer.alloc(FRAME_BYTES_MIN));
  await sink.frameCount(5017);
  assert.deepEqual([sink.wireErrors, sink.closes], [[], []]);
});

test('a peer that reads slowly is sent short frames', async (t) => {
  const { client, server } = await createUpgradedPair(t);
  const near = new WsLink({ ...client, mask: 'zero' });
  near.start({ sink: new FrameRecorder(), frameBytesMax: FRAME_BYTES_MAX });
  assert.equal(near.frameBytesMax, FRAME_BYTES_MAX);
  let received = 0;
  server.socket.on('data', (piece: Buffer) => {
    received += piece.length;
    server.socket.pause();
    setTimeout(() => server.socket.resume(), 20);
  });
  let sent = 0;
  // The kernel's own buffers come first, some MiB of them on loopback.
  while (near.frameBytesMax === FRAME_BYTES_MAX) {
    if (near.isCongested) await new Promise((resolve) => setTimeout(resolve, 20));
    else {
      near.writeBody(FRAME.DATA, 1, Buffer.alloc(FRAME_BYTES_MIN * 4));
      sent += FRAME_BYTES_MIN * 4;
    }
  }
  assert.ok(near.frameBytesMax < FRAME_BYTES_MAX / 2, `${near.frameBytesMax}`);
  assert.ok(sent > received && !client.socket.destroyed);
});
