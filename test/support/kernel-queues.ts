// What the kernel holds of a connection on loopback: sent and not yet read by the other side.
//
// How much that may be is the kernel's choice, and differs by tens of MiB from one version to the
// next; what a program holds itself is only seen without it. Invariant: both directions and both
// ends are counted; 0 where there is no /proc. Must not know: who reads.

import { existsSync, readFileSync } from 'node:fs';
import type net from 'node:net';

const TABLE = '/proc/net/tcp';

/** Bytes of `socket` and of its other end, both over IPv4 on this machine. */
export function queuedBytes({ localPort = 0, remotePort = 0 }: net.Socket): number {
  if (!existsSync(TABLE)) return 0;
  let bytes = 0;
  for (const line of readFileSync(TABLE, 'latin1').split('\n').slice(1)) {
    const [, local = '', remote = '', , queues = ''] = line.trim().split(/\s+/u);
    const ports = [local, remote].map((end) => Number.parseInt(end.split(':')[1] ?? '', 16));
    const isNear = ports[0] === localPort && ports[1] === remotePort;
    const isFar = ports[0] === remotePort && ports[1] === localPort;
    if (!isNear && !isFar) continue;
    for (const queue of queues.split(':')) bytes += Number.parseInt(queue, 16);
  }
  return bytes;
}
