// bore: one TCP connection for each visitor; one client program for each port.
//
// Its control port is fixed at 7835, so one bench at a time, and nothing can be put between client
// and server. Must not know: load.

import { freePort, untilListens } from '../harness/children.ts';
import type { Peer } from './peer.ts';

const CONTROL_PORT = 7835;

export const bore: Peer = {
  name: 'bore',
  programs: ['bore'],
  versionArg: '--version',
  noDistance: 'its control port is fixed, so no relay can stand in its place',
  async start({ origins, run }) {
    const [raw, http] = [await freePort(), await freePort()];
    const server = run('bore', ['server', '--bind-addr', '127.0.0.1']);
    await untilListens(CONTROL_PORT, server);
    const local = (origin: number, port: number) =>
      run('bore', [
        ...['local', '--local-host', '127.0.0.1', '--to', '127.0.0.1'],
        ...['--port', String(port), String(origin)],
      ]);
    const client = [local(origins.raw, raw), local(origins.http, http)];
    return { ports: { raw, http }, server: [server], client };
  },
};
