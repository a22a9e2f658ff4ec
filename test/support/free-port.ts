// Ports for programs that cannot choose one themselves and tell it.
//
// The port was free a moment ago; another program may take it before it is used. Invariant: no port
// is given twice in one process. Must not know: who will listen.

import { once } from 'node:events';
import net from 'node:net';

const GIVEN = new Set<number>();
const ATTEMPTS_MAX = 20;

export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    server.close();
    await once(server, 'close');
    if (address === null || typeof address === 'string' || GIVEN.has(address.port)) continue;
    GIVEN.add(address.port);
    return address.port;
  }
  throw new Error('no free port');
}
