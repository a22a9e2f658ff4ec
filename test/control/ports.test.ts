// Goal: a port that anybody has is not shared with them. Method: real listeners, with and without
// SO_REUSEPORT.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { claimPort, supportsReusePort } from '../../src/control/ports.ts';
import { freePort } from '../support/free-port.ts';

const HOST = '127.0.0.1';

async function occupy(t: TestContext, reusePort: boolean): Promise<number> {
  const server = net.createServer();
  t.after(() => server.close());
  server.listen({ host: HOST, port: 0, reusePort });
  await once(server, 'listening');
  return (server.address() as net.AddressInfo).port;
}

test('a free port is claimed and free again; port 0 is always free', async () => {
  const port = await freePort();
  await claimPort(HOST, port);
  await claimPort(HOST, port);
  await claimPort(HOST, 0);
});

test('a port in use is refused, also when its owner would share it', async (t) => {
  for (const reusePort of [false, await supportsReusePort()]) {
    const port = await occupy(t, reusePort);
    await assert.rejects(claimPort(HOST, port), { code: 'SLW_TUNNEL_PORT_TAKEN' });
  }
});

test('an address that is not ours is refused with the reason', async () => {
  await assert.rejects(claimPort('192.0.2.1', await freePort()), { code: 'SLW_LISTEN_FAILED' });
});
