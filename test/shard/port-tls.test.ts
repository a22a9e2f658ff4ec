// Goal: a client is known by its certificate when the CA that is in use verified it, and never
// because another one did. Method: a real server and handshakes, with a CA that is replaced amid
// one.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import net, { type AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import tls, { type TLSSocket } from 'node:tls';
import { ControlPortTls } from '../../src/shard/port-tls.ts';
import { undoAfter } from '../support/cleanup.ts';
import { within } from '../support/deadline.ts';
import { ClientCa } from '../support/private-pki.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';
import { PAIR_A } from '../support/test-pairs.ts';

const WAIT_MS = 5000;

async function scene(t: TestContext, clientCa: string) {
  const portTls = new ControlPortTls({ ...PAIR_A, clientCa });
  const server = portTls.createServer({});
  assert.ok(server !== undefined);
  undoAfter(t, () => {
    server.closeAllConnections();
    server.close();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  /** Connects; `shake` goes on from there, and gives the name that the server knows. */
  const connect = async (own: { readonly cert: string; readonly key: string }) => {
    const accepted = once(server, 'connection');
    const socket = net.connect(port, '127.0.0.1');
    undoAfter(t, () => {
      socket.destroy();
    });
    await within(WAIT_MS, 'a connection', accepted);
    const shake = async (): Promise<string | undefined> => {
      const secured = once(server, 'secureConnection') as Promise<[TLSSocket]>;
      const pair = { cert: readFileSync(own.cert), key: readFileSync(own.key) };
      const secure = tls.connect({ socket, ca: PAIR_A.cert, servername: 'a.test', ...pair });
      undoAfter(t, () => {
        secure.destroy();
      });
      const [theirs] = await within(WAIT_MS, 'a handshake', secured);
      return portTls.identityOf(theirs);
    };
    return { shake };
  };
  return { portTls, connect };
}

test('a handshake that began under a removed CA gives no name', async (t) => {
  if (requirePrograms(t, ['openssl']) === undefined) return;
  const [old, next] = ['old', 'next'].map((name) => new ClientCa(scratchFolder(t), name));
  assert.ok(old !== undefined && next !== undefined);
  const oldPair = old.issue('one', '/CN=one');
  const nextPair = next.issue('two', '/CN=two');
  const { portTls, connect } = await scene(t, readFileSync(old.ca, 'utf8'));
  assert.equal(await (await connect(oldPair)).shake(), 'one');
  const [late, early] = [await connect(oldPair), await connect(nextPair)];
  portTls.replace({ ...PAIR_A, clientCa: readFileSync(next.ca, 'utf8') });
  assert.equal(await late.shake(), undefined, 'verified by a CA that is no more');
  assert.equal(await early.shake(), undefined, 'not verified by the one of then');
  assert.equal(await (await connect(nextPair)).shake(), 'two');
  assert.equal(await (await connect(oldPair)).shake(), undefined);
});
