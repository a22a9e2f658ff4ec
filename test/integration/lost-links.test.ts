// Goal: what waits for slow visitors of TCP behind a lost link is on the account of its shard, so
// that it is dropped once the process has no memory, and not before. Method: one process, a shard
// that is told so, visitors that read nothing while their client ends.

import assert from 'node:assert/strict';
import type net from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { PRESSURE } from '../../src/base/memory-pressure.ts';
import { ShardPool } from '../../src/bridge/pool.ts';
import { endOf } from '../shard/socket-pair.ts';
import { eventually } from '../support/deadline.ts';
import { seededNoise } from '../support/digest.ts';
import { freePort } from '../support/free-port.ts';
import { startLocalClient, startNode, untilLinks } from '../support/local-tunnel.ts';
import { connectTo, startTcp } from '../support/upstream.ts';

const MIB = 1024 * 1024;
const ANSWER = seededNoise(5, 12 * MIB);
/** Each has some 6 MiB and more waiting in the process, beside what the kernel takes. */
const VISITORS = 4;
/** A few sweeps. */
const SWEEPS_MS = 3000;
const WINDOW = { 'window-initial': '16MiB', 'window-max': '16MiB', 'session-memory-max': '512MiB' };

test('visitors of TCP pay for what waits behind a lost link once there is no memory', async (t) => {
  const asked = t.mock.method(ShardPool.prototype, 'bridges');
  const node = await startNode(t, { flags: { shards: '1', ...WINDOW } });
  const pool = asked.mock.calls[0]?.this;
  assert.ok(pool instanceof ShardPool);
  asked.mock.restore();
  const upstreams: net.Socket[] = [];
  const upstreamPort = await startTcp(t, (socket) => {
    upstreams.push(socket);
    socket.end(ANSWER);
  });
  const port = await freePort();
  const { client, ended } = await startLocalClient(t, node, {
    flags: { tcp: `${port}=127.0.0.1:${upstreamPort}`, 'drain-timeout': '1s' },
  });
  const visitors: net.Socket[] = [];
  for (let count = 0; count < VISITORS; count += 1) {
    const visitor = await connectTo(t, port);
    visitor.pause();
    visitors.push(visitor);
  }
  const bytes = `sluiceway_bytes_total{tunnel="tcp:${port}",direction="out"}`;
  await node.untilMetric(bytes, (count) => count === VISITORS * ANSWER.length);
  await eventually(5000, 'all is said', async () =>
    assert.ok(upstreams.every(({ writableFinished }) => writableFinished)),
  );
  client.drain();
  await ended();
  await untilLinks(node, 0);
  const gone = () => visitors.filter(({ destroyed }) => destroyed).length;
  await sleep(SWEEPS_MS);
  assert.equal(gone(), 0);
  pool.bridge(0)?.tell('pressure', { level: PRESSURE.FULL });
  await sleep(SWEEPS_MS);
  const ends = await Promise.all(visitors.map((visitor) => endOf(visitor)));
  const cut = ends.filter(({ how }) => how === 'ECONNRESET').length;
  const whole = ends.filter(({ how, bytes: got }) => how === 'FIN' && got.equals(ANSWER)).length;
  t.diagnostic(`${cut} were cut, ${whole} have all of it`);
  assert.ok(cut > 0, 'more than 8 MiB waited');
  assert.equal(cut + whole, VISITORS, 'nobody has a part of it for all');
});
