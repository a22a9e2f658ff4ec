// A fixed rate: waiting for the target counts from when each message was due, and being late of
// one's own does not count as the target's.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startPace } from '../../native-free-bench/command/paced-line.ts';
import { Tally } from '../../native-free-bench/command/tally.ts';
import { measurePacedEchoes } from '../../native-free-bench/harness/latency.ts';
import { pause } from '../../native-free-bench/harness/load.ts';
import { startTcp } from '../support/upstream.ts';

const STALL_MS = 300;

/** As a long collection of garbage would: no timer and no socket meanwhile. */
function stallThisProcess(): void {
  const endMs = performance.now() + STALL_MS;
  while (performance.now() < endMs);
}

test('what was due while this process stood still is no delay of the target', async () => {
  const tally = new Tally();
  tally.begin();
  const pace = startPace({
    ...{ connections: 1, perSecond: 100, tally },
    send: (_index, line) => queueMicrotask(() => line.answered()),
  });
  await pause(100);
  stallThisProcess();
  await pause(100);
  pace.stop();
  const { latency, answers } = tally.finish();
  assert.ok(answers > 30, `${answers} answers`);
  // 30 were due in the stall, of which the first one was sent when it was over.
  assert.ok((latency?.maxUs ?? 0) < (1000 * STALL_MS) / 2, `${latency?.maxUs} µs`);
});

test('the same of paced echoes of the harness', async (t) => {
  let got = 0;
  const port = await startTcp(t, (socket) => {
    socket.once('data', (first: Buffer) => {
      // Behind what it wants there may be an echo.
      socket.write(first.subarray(1));
      socket.on('data', (piece: Buffer) => {
        got += 1;
        socket.write(piece);
        // None is out by then: the next one is due 20 ms behind this one.
        if (got === 40) setTimeout(stallThisProcess, 5);
      });
    });
  });
  const load = { target: { port }, connections: 1, ms: 1_500, perSecond: 50 };
  const { p99Us, count } = await measurePacedEchoes(load);
  assert.ok(count > 60, `${count} echoes`);
  assert.ok(p99Us < (1000 * STALL_MS) / 2, `p99 ${p99Us} µs`);
});
