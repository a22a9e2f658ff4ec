// The relay that puts a round trip between two ends: it delays, and holds nothing up beyond that.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Children } from '../../native-free-bench/harness/children.ts';
import { pause } from '../../native-free-bench/harness/load.ts';
import { startDelay } from '../../native-free-bench/harness/plain.ts';
import { within } from '../support/deadline.ts';
import { connectTo, startTcp } from '../support/upstream.ts';

const ONE_WAY_MS = 1_500;
/** More than the kernel keeps for two sockets. */
const BYTES = 32 * 1024 * 1024;

test('what is due goes on as soon as its reader reads, whatever came meanwhile', async (t) => {
  const children = new Children();
  t.after(() => children.stop());
  const served = Promise.withResolvers<(text: string) => void>();
  const origin = await startTcp(t, (socket) => {
    socket.write(Buffer.alloc(BYTES));
    served.resolve((text) => void socket.write(text));
  });
  const socket = await connectTo(t, await startDelay(children, origin, 2 * ONE_WAY_MS));
  const say = await within(10_000, 'the relay dials', served.promise);
  const startMs = performance.now();
  // All is due by now, and stands before a reader that does not read.
  await pause(1.5 * ONE_WAY_MS);
  say('more');
  await pause(100);
  let got = 0;
  socket.on('data', (piece: Buffer) => {
    got += piece.length;
    if (got >= BYTES) socket.emit('whole');
  });
  await within(10_000, 'all that was due', once(socket, 'whole'));
  const tookMs = performance.now() - startMs - 1.5 * ONE_WAY_MS;
  assert.ok(tookMs < ONE_WAY_MS / 2, `${tookMs} ms`);
});
