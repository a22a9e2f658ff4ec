// Goal: a shard of a client that falls costs what it carried and no count. Method: a node and a
// client in this process, whose shard is told what its code cannot take, as a bug of ours would.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Dials } from '../../src/client/dials.ts';
import { LOOPBACK } from '../support/configs.ts';
import { eventually } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { startLocalClient, startNode } from '../support/local-tunnel.ts';
import { connectTo, echoOnce, startEcho } from '../support/upstream.ts';

const WAIT_MS = 15_000;

test('what a shard of a client had counted stays when it falls, though nobody had asked', async (t) => {
  const node = await startNode(t, { complains: true });
  const [port, metricsPort] = [await freePort(), await freePort()];
  const dial = t.mock.method(Dials.prototype, 'dial');
  const { log } = await startLocalClient(t, node, {
    flags: {
      ...{ tcp: `${port}=${LOOPBACK}:${await startEcho(t)}`, links: '1' },
      'metrics-addr': `${LOOPBACK}:${metricsPort}`,
    },
    complains: true,
  });
  const visitor = await connectTo(t, port);
  const cut = new Promise((resolve) => visitor.once('error', resolve));
  assert.equal(await echoOnce(visitor, 'before'), 'before');
  const [first] = dial.mock.calls;
  assert.ok(first?.this instanceof Dials && first.result !== undefined);
  first.this.bridgeOf(first.result)?.tell('withhold', undefined as never);
  await log.line('shard restarted');
  await cut;
  await eventually(WAIT_MS, 'the tunnel is back', async () => {
    assert.equal(await echoOnce(await connectTo(t, port), 'again'), 'again');
  });
  const page = await (await fetch(`http://${LOOPBACK}:${metricsPort}/metrics`)).text();
  const count = (series: string): number =>
    Number(page.split(`\nsluiceway_client_${series} `)[1]?.split('\n')[0]);
  const tunnel = `tunnel="tcp:${port}"`;
  assert.equal(count(`bytes_total{${tunnel},direction="in"}`), 'beforeagain'.length);
  assert.equal(count(`bytes_total{${tunnel},direction="out"}`), 'beforeagain'.length);
  assert.equal(count(`streams_total{${tunnel},result="SLW_STREAM_RESET"}`), 1);
  assert.equal(count('shard_restarts_total'), 1);
});
