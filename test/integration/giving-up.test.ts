// Goal: --once and --max-retry give up a server and no stream: others go on serving, a server that
// drains has its time, and the client ends when nothing is left. Method: one process, real threads
// and sockets; servers that are away are ports on which nobody listens.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LOOPBACK } from '../support/configs.ts';
import { within } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import {
  type LocalNode,
  startLocalClient,
  startNode,
  untilLinks,
} from '../support/local-tunnel.ts';
import { connectTo, echoBytes, startEcho } from '../support/upstream.ts';

const EVENT_MS = 10_000;
const WAYS = [{ once: true }, { 'max-retry': '1' }] as const;

function urlOf(port: number): string {
  return `ws://${LOOPBACK}:${port}`;
}

async function endNode({ node }: LocalNode): Promise<void> {
  node.stop();
  await within(EVENT_MS, 'the node ends', node.closed);
}

for (const way of WAYS) {
  const [name] = Object.keys(way);

  test(`--${name}: a server that is away ends nothing while another serves`, async (t) => {
    const echo = await startEcho(t);
    const [port, away] = [await freePort(), await freePort()];
    const node = await startNode(t, { complains: true });
    const { log, ended } = await startLocalClient(t, node, {
      flags: {
        ...{ url: [urlOf(away), urlOf(node.controlPort)], tcp: `${port}=127.0.0.1:${echo}` },
        ...way,
      },
      complains: true,
    });
    await log.line('server given up', { url: new RegExp(`:${away}/`, 'u') });
    const visitor = await connectTo(t, port);
    assert.equal((await echoBytes(visitor, Buffer.from('served'))).toString(), 'served');
    await endNode(node);
    const { exitCode, message } = await ended();
    assert.equal(exitCode, 1);
    assert.match(message ?? '', new RegExp(`:${node.controlPort}/connect: `, 'u'));
  });

  test(`--${name}: streams of a server that drains go on`, async (t) => {
    const echo = await startEcho(t);
    const port = await freePort();
    const node = await startNode(t, { flags: { shards: '2', 'drain-timeout': '20s' } });
    const { client, log, ended } = await startLocalClient(t, node, {
      flags: { tcp: `${port}=127.0.0.1:${echo}`, ...way },
      complains: true,
    });
    await untilLinks(node, 2);
    const visitor = await connectTo(t, port);
    await echoBytes(visitor, Buffer.from('before'));
    node.node.drain();
    // What begins with the server's word is the first.
    for (const attempts of [2, 3]) {
      await log.line('link failed', { code: 'SLW_DIAL_FAILED', attempts });
    }
    assert.equal((await echoBytes(visitor, Buffer.from('during'))).toString(), 'during');
    assert.equal(
      await Promise.race([client.closed, Promise.resolve('still running')]),
      'still running',
    );
    visitor.end();
    assert.deepEqual(await within(EVENT_MS, 'the node ends', node.node.closed), { exitCode: 0 });
    assert.equal((await ended()).exitCode, 1);
  });
}

test('--max-retry 1 makes a retry after all links are lost together', async (t) => {
  const node = await startNode(t, { flags: { shards: '2' }, complains: true });
  const { log, ended } = await startLocalClient(t, node, {
    flags: { upstream: 'site.example=http://127.0.0.1:1', 'max-retry': '1' },
    complains: true,
  });
  await untilLinks(node, 2);
  await endNode(node);
  const { exitCode, message } = await ended();
  assert.equal(exitCode, 1);
  assert.match(message ?? '', /gave up after 1 retries/);
  // One more where a link outlived the first.
  assert.ok(log.all('link failed').some(({ code }) => code === 'SLW_DIAL_FAILED'));
});
