// An HTTP proxy that answers every CONNECT with one status, and lets nobody through.
//
// Invariant: it has gone when the test has. Must not know: what its clients make of the answer.

import { once } from 'node:events';
import net from 'node:net';
import type { TestContext } from 'node:test';
import { undoAfter } from './cleanup.ts';

/** Its URL. */
export async function startRefusingProxy(t: TestContext, status: number): Promise<string> {
  const proxy = net.createServer((socket) => {
    socket.on('error', () => {
      // The dial was given up.
    });
    socket.once('data', () => {
      socket.end(`HTTP/1.1 ${status} No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno`);
    });
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  undoAfter(t, () => {
    proxy.close();
  });
  return `http://127.0.0.1:${(proxy.address() as net.AddressInfo).port}`;
}
