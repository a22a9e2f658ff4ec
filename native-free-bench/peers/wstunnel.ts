// wstunnel: one WebSocket for each visitor.
//
// Plain ws:// as the other links of a run. Taken from PATH or the folder of peers; build.sh cannot
// fetch it. Must not know: load.

import { freePort } from '../harness/children.ts';
import type { Peer } from './peer.ts';

export const wstunnel: Peer = {
  name: 'wstunnel',
  programs: ['wstunnel'],
  versionArg: '--version',
  async start({ origins, through, run }) {
    const [control, raw, http] = [await freePort(), await freePort(), await freePort()];
    const server = run('wstunnel', ['server', `ws://127.0.0.1:${control}`]);
    const client = run('wstunnel', [
      ...['client', '-R', `tcp://127.0.0.1:${raw}:127.0.0.1:${origins.raw}`],
      ...['-R', `tcp://127.0.0.1:${http}:127.0.0.1:${origins.http}`],
      `ws://127.0.0.1:${await through(control)}`,
    ]);
    return { ports: { raw, http }, server: [server], client: [client] };
  },
};
