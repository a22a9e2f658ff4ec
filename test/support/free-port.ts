// Ports for programs that cannot choose one themselves and tell it.
//
// The port was free a moment ago; another program may take it before it is used. So they are not of
// those that the system gives to outgoing connections, of which tests that run at the same time
// have thousands, and each process begins at a place of its own. Invariant: no port is given twice
// in one process. Must not know: who will listen.

import net from 'node:net';

/** Below Linux' own choice (32768 to 60999), above what services are known by. */
const FIRST = 12_000;
const LAST = 31_999;
const ATTEMPTS_MAX = 200;
/** Processes that are started one after the other lie far apart. */
const STRIDE = 613;

let next = FIRST + ((process.pid * STRIDE) % (LAST - FIRST));

export function freePort(): Promise<number> {
  return freePorts(1);
}

/** The first of `count` ports in a row. */
export async function freePorts(count: number): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
    if (next + count > LAST) next = FIRST;
    const first = next;
    next += count;
    const ports = Array.from({ length: count }, (_, index) => first + index);
    const free = await Promise.all(ports.map(isFree));
    if (free.every(Boolean)) return first;
  }
  throw new Error('no free port');
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
