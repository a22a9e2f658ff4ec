// HAProxy, two hops in TCP mode: the yardstick of a plain relay in C, not a tunnel.
//
// The first process stands for the client, the second for the exit node: as many hops as a tunnel,
// without framing or credit. Must not know: load.

import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { freePort } from '../harness/children.ts';
import type { Peer } from './peer.ts';

/** Two descriptors a connection must fit a limit of 20,000 open files. */
const CONNECTIONS_MAX = 5_000;

export const haproxy: Peer = {
  name: 'haproxy x2',
  programs: ['haproxy'],
  versionArg: '-v',
  async start({ origins, through, folder, run }) {
    const hop = async (name: string, raw: number, http: number) => {
      const ports = { raw: await freePort(), http: await freePort() };
      const file = path.join(folder, `${name}.cfg`);
      writeFileSync(
        file,
        configuration([
          [ports.raw, raw],
          [ports.http, http],
        ]),
      );
      return { ports, child: run('haproxy', ['-db', '-f', file]) };
    };
    const inner = await hop('inner', origins.raw, origins.http);
    const way = [await through(inner.ports.raw), await through(inner.ports.http)] as const;
    const outer = await hop('outer', ...way);
    return { ports: outer.ports, server: [outer.child], client: [inner.child] };
  },
};

function configuration(ways: readonly (readonly [from: number, to: number])[]): string {
  const listeners = ways.map(
    ([from, to]) => `listen port-${from}
  bind 127.0.0.1:${from} backlog 4096
  server origin 127.0.0.1:${to}
`,
  );
  return `global
  maxconn ${CONNECTIONS_MAX}
defaults
  mode tcp
  timeout connect 10s
  timeout client 1h
  timeout server 1h
${listeners.join('')}`;
}
