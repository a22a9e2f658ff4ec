// Goal: two addresses are in each other's way exactly where the system says so. Method: real
// listeners on one port, by every pair of addresses that every machine has.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { isOverlapping } from '../../src/base/listen-overlap.ts';

const HOSTS = [
  ...['0.0.0.0', '127.0.0.1', '127.0.0.2', '::', '0:0:0:0:0:0:0:0', '::1'],
  ...['::ffff:127.0.0.1', '::ffff:0.0.0.0'],
];

/** Undefined where it cannot be opened. */
async function open(host: string, port: number): Promise<net.Server | undefined> {
  const server = net.createServer().listen({ host, port });
  const isOpen = await once(server, 'listening').then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') return false;
      throw error;
    },
  );
  return isOpen ? server : undefined;
}

async function hasIpv6(): Promise<boolean> {
  try {
    (await open('::1', 0))?.close();
    return true;
  } catch {
    // EADDRNOTAVAIL or EAFNOSUPPORT: nothing to compare with.
    return false;
  }
}

async function isRefused(t: TestContext, one: string, other: string): Promise<boolean> {
  const first = await open(one, 0);
  assert.ok(first !== undefined);
  t.after(() => first.close());
  const second = await open(other, (first.address() as net.AddressInfo).port);
  second?.close();
  return second === undefined;
}

test('two addresses overlap where two listeners cannot have one port', async (t) => {
  if (process.platform !== 'linux' || !(await hasIpv6())) {
    t.skip('other systems let a listener in beside one of all addresses, or have no IPv6');
    return;
  }
  for (const one of HOSTS) {
    for (const other of HOSTS) {
      const refused = await isRefused(t, one, other);
      assert.equal(isOverlapping(one, other), refused, `${one} and ${other}`);
    }
  }
});

test('a name overlaps itself and all of both families, and no address that it may not be', () => {
  assert.ok(isOverlapping('localhost', 'localhost'));
  assert.ok(isOverlapping('::', 'localhost'));
  for (const host of ['127.0.0.1', '::1', '0.0.0.0', 'other.example']) {
    assert.ok(!isOverlapping('localhost', host), host);
  }
});
