// A server of the test's own: it greets clients, names no feature, and answers what they register
// as the test says.
//
// Owns the port and the sockets. Invariant: one shard, and no stream is ever opened. Must not know:
// what is asserted.

import { once } from 'node:events';
import type { TestContext } from 'node:test';
import { WebSocketServer } from 'ws';
import { FRAME } from '../../src/wire/frame.ts';
import {
  decodeRegister,
  encodeRegistered,
  encodeWelcome,
  type Register,
  type Registered,
} from '../../src/wire/hello.ts';
import { bodyFrame } from '../mux/raw-peer.ts';
import { undoAfter } from './cleanup.ts';
import { LOOPBACK } from './configs.ts';
import { readBodies } from './control-bodies.ts';

export const PLAIN_LIMITS = { frame: 262_144, streams: 100, credit: 65_536 };

/** `answer` is told on which link, from 0, in the order that they came. Gives the port. */
export async function startPlainServer(
  t: TestContext,
  answer: (tunnels: Register['tunnels'], link: number) => Registered['results'],
): Promise<number> {
  const server = new WebSocketServer({
    host: LOOPBACK,
    port: 0,
    handleProtocols: () => 'sluiceway.1',
  });
  await once(server, 'listening');
  let links = 0;
  server.on('connection', (socket) => {
    undoAfter(t, () => socket.terminate());
    const link = links;
    links += 1;
    const welcome = { version: 1, features: [], node: 'n', shard: 0, shards: 1, agent: 'old/1' };
    readBodies(socket, (type, body) => {
      if (type === FRAME.HELLO) {
        const greeting = encodeWelcome({ ...welcome, limits: PLAIN_LIMITS });
        socket.send(bodyFrame(FRAME.WELCOME, 0, greeting));
      } else if (type === FRAME.REGISTER) {
        const { call, tunnels } = decodeRegister(body);
        const results = answer(tunnels, link);
        socket.send(bodyFrame(FRAME.REGISTERED, 0, encodeRegistered({ call, results })));
      }
    });
  });
  undoAfter(t, () => void server.close());
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}
