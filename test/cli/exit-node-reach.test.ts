// Goal: a machine that is not up yet is asked again, and one that shows the wrong CA is not.
// Method: ports of this machine on which nobody listens, or somebody who says nothing.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import { reachServer } from '../../src/cli/exit-node-reach.ts';
import { freePort } from '../support/free-port.ts';
import { leafOf, newAuthority, serveCa } from '../support/private-pki.ts';

test('nobody, and somebody who is silent, are both not yet', async (t) => {
  const silent = net.createServer((socket) => t.after(() => socket.destroy()));
  t.after(() => silent.close());
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const { port } = silent.address() as net.AddressInfo;
  for (const at of [port, await freePort()]) {
    assert.equal(await reachServer(`wss://127.0.0.1:${at}/connect`, 'private', 200), undefined);
    assert.equal(await reachServer(`ws://127.0.0.1:${at}/connect`, 'none', 200), undefined);
  }
});

test('a CA that did not sign the server is an error, as it will not become right', async (t) => {
  const [ca, other] = await Promise.all([newAuthority(), newAuthority()]);
  const port = await serveCa(t, await leafOf(other), ca.cert);
  await assert.rejects(reachServer(`wss://127.0.0.1:${port}/connect`, 'private'), {
    code: 'SLW_TLS_REFUSED',
  });
});
