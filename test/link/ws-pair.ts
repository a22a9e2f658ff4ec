// Two sockets joined by the real handshake over loopback, plain or TLS, for links and raw peers.
//
// Invariant: both sockets are gone after the test. Must not know: frames.

import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import type { TestContext } from 'node:test';
import { acceptUpgrade, dialWebSocket, type Upgraded } from '../../src/link/ws-handshake.ts';
import { CERT, KEY } from '../config/tls-pair.ts';
import { undoAfter } from '../support/cleanup.ts';
import { within } from '../support/deadline.ts';

export interface UpgradedPair {
  readonly client: Upgraded;
  readonly server: Upgraded;
}

const LOOPBACK = '127.0.0.1';

/** Listens, and answers every upgrade. */
export async function startUpgrades(
  t: TestContext,
  onUpgraded: (upgraded: Upgraded) => void,
  tls: boolean | { readonly cert: string; readonly key: string } = false,
): Promise<string> {
  const isTls = tls !== false;
  const pair = tls === true ? { cert: CERT, key: KEY } : tls;
  const server = isTls ? https.createServer({ ...pair }) : http.createServer();
  server.on('upgrade', (request, socket, head) => acceptUpgrade(request, socket, head, onUpgraded));
  server.listen(0, LOOPBACK);
  await once(server, 'listening');
  undoAfter(t, () => {
    server.close();
  });
  const address = server.address();
  const port = address !== null && typeof address === 'object' ? address.port : 0;
  return `${isTls ? 'wss' : 'ws'}://${LOOPBACK}:${port}/connect`;
}

export async function createUpgradedPair(t: TestContext, isTls = false): Promise<UpgradedPair> {
  const accepted = Promise.withResolvers<Upgraded>();
  const url = await startUpgrades(t, accepted.resolve, isTls);
  const dialled = Promise.withResolvers<Upgraded>();
  dialWebSocket(
    { url, token: 'token', agent: 'test', ca: isTls ? CERT : undefined },
    { onUpgraded: dialled.resolve, onFailure: dialled.reject },
  );
  const both = Promise.all([dialled.promise, accepted.promise]);
  const [client, server] = await within(10_000, 'a handshake', both);
  undoAfter(t, () => {
    client.socket.destroy();
    server.socket.destroy();
  });
  return { client, server };
}
