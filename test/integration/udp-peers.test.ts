// Goal: a side that does not know UDP tunnels is never made to serve one, and whoever asks for one
// is told why. Method: a server and a client of the test's own, which name no feature, against the
// real other side.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import { FRAME } from '../../src/wire/frame.ts';
import {
  decodeRegistered,
  encodeHello,
  encodeRegister,
  type Registered,
} from '../../src/wire/hello.ts';
import { bodyFrame } from '../mux/raw-peer.ts';
import { undoAfter } from '../support/cleanup.ts';
import { LOOPBACK, TOKEN } from '../support/configs.ts';
import { readBodies } from '../support/control-bodies.ts';
import { within } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { startLocalClient, startNode } from '../support/local-tunnel.ts';
import { PLAIN_LIMITS, startPlainServer } from '../support/plain-server.ts';

const WAIT_MS = 10_000;

test('a server that names no feature gets no UDP tunnel, and the user is told', async (t) => {
  const registered: string[] = [];
  const controlPort = await startPlainServer(t, (tunnels) => {
    registered.push(...tunnels.map(({ name }) => name));
    return tunnels.map(({ name }) => ({ name, code: '', reason: '' }));
  });
  const flags = { udp: '5353=127.0.0.1:53', tcp: '2222=127.0.0.1:22' };
  const options = { flags, waits: false, complains: true };
  const client = await startLocalClient(t, { controlPort }, options);
  const refusal = await client.log.line('tunnel refused');
  assert.equal(refusal.tunnel, 'udp:5353');
  assert.equal(refusal.code, 'SLW_TUNNEL_KIND');
  assert.match(String(refusal.reason), /knows no UDP tunnels; update it/u);
  await client.log.line('tunnel up', { tunnel: 'tcp:2222' });
  assert.deepEqual(registered, ['tcp:2222']);
});

test('a client that names no feature may register other tunnels, and no UDP tunnel', async (t) => {
  const node = await startNode(t, { complains: true });
  const socket = new WebSocket(`ws://${LOOPBACK}:${node.controlPort}/connect`, 'sluiceway.1', {
    headers: { authorization: `Bearer ${TOKEN}` },
  });
  undoAfter(t, () => socket.terminate());
  await once(socket, 'open');
  const [udp, tcp] = [`udp:${await freePort()}`, `tcp:${await freePort()}`];
  const answer = new Promise<Registered>((resolve) => {
    readBodies(socket, (type, body) => {
      if (type === FRAME.WELCOME) {
        const tunnels = [udp, tcp].map((name) => ({ name, label: name }));
        socket.send(bodyFrame(FRAME.REGISTER, 0, encodeRegister({ call: 1, tunnels })));
      } else if (type === FRAME.REGISTERED) resolve(decodeRegistered(body));
    });
  });
  const hello = { versions: [1], features: ['other'], client: 'c', instance: 'i', agent: 'old/1' };
  socket.send(bodyFrame(FRAME.HELLO, 0, encodeHello({ ...hello, limits: PLAIN_LIMITS })));
  const { results } = await within(WAIT_MS, 'the answer', answer);
  const codes = new Map(results.map(({ name, code }) => [name, code]));
  assert.equal(codes.get(udp), 'SLW_TUNNEL_KIND');
  assert.equal(codes.get(tcp), '');
});
