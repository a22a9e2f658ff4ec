// Ports for programs that cannot choose one themselves and tell it.
//
// The port was free a moment ago; another program may take it before it is used. So they are not of
// those that the system gives to outgoing connections, of which tests that run at the same time
// have thousands, and each process begins at a place of its own. Places may overlap: on Linux a
// port is claimed for as long as its process lives. Invariant: no port is given twice in one
// process, or to two that live. Must not know: who will listen.

import net from 'node:net';

/** Below Linux' own choice (32768 to 60999), above what services are known by. */
const FIRST = 12_000;
const LAST = 31_999;
const ATTEMPTS_MAX = 200;
/** Processes that are started one after the other lie far apart. */
const STRIDE = 613;

export class FreePorts {
  #next: number;

  constructor(first: number) {
    this.#next = first;
  }

  /** The first of `count` ports in a row. */
  async find(count: number): Promise<number> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
      if (this.#next + count > LAST) this.#next = FIRST;
      const first = this.#next;
      this.#next += count;
      const ports = Array.from({ length: count }, (_, index) => first + index);
      const free = await Promise.all(ports.map(isOurs));
      if (free.every(Boolean)) return first;
    }
    throw new Error('no free port');
  }
}

const own = new FreePorts(FIRST + ((process.pid * STRIDE) % (LAST - FIRST)));

export function freePort(): Promise<number> {
  return own.find(1);
}

export function freePorts(count: number): Promise<number> {
  return own.find(count);
}

/** Claimed first: whoever looks whether it is free has it for a moment, as seen by others. */
async function isOurs(port: number): Promise<boolean> {
  return (await isClaimed(port)) && (await isFree(port));
}

/** By an abstract socket, which the kernel gives to one, and takes back when that ends. */
function isClaimed(port: number): Promise<boolean> {
  if (process.platform !== 'linux') return Promise.resolve(true);
  return new Promise((resolve) => {
    const claim = net.createServer();
    claim.once('error', () => resolve(false));
    claim.listen(`\0sluiceway-test-port-${port}`, () => {
      claim.unref();
      resolve(true);
    });
  });
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
