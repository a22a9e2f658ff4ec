// chisel: one SSH connection inside a WebSocket, visitors are its channels.
//
// Reverse tunnels only, for that is what an exit node does. Plain ws:// outside; the SSH inside
// encrypts all the same and cannot be turned off. Must not know: load.

import { freePort } from '../harness/children.ts';
import type { Peer } from './peer.ts';

export const chisel: Peer = {
  name: 'chisel',
  programs: ['chisel'],
  versionArg: '--version',
  async start({ origins, through, run }) {
    const [control, raw, http] = [await freePort(), await freePort(), await freePort()];
    const server = run('chisel', ['server', '--reverse', '--host=127.0.0.1', `--port=${control}`]);
    const client = run('chisel', [
      ...['client', '--max-retry-interval=1s', `http://127.0.0.1:${await through(control)}`],
      `R:127.0.0.1:${raw}:127.0.0.1:${origins.raw}`,
      `R:127.0.0.1:${http}:127.0.0.1:${origins.http}`,
    ]);
    return { ports: { raw, http }, server: [server], client: [client] };
  },
};
