// rathole: one TCP connection for each visitor, dialled by the client on request.
//
// Its defaults, plain TCP between the two. Must not know: load.

import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { freePort } from '../harness/children.ts';
import type { Peer } from './peer.ts';

export const rathole: Peer = {
  name: 'rathole',
  programs: ['rathole'],
  versionArg: '--version',
  async start({ origins, through, folder, run }) {
    const [control, raw, http] = [await freePort(), await freePort(), await freePort()];
    const serverFile = path.join(folder, 'server.toml');
    const clientFile = path.join(folder, 'client.toml');
    writeFileSync(
      serverFile,
      `[server]
bind_addr = "127.0.0.1:${control}"
default_token = "bench-token"
[server.services.raw]
bind_addr = "127.0.0.1:${raw}"
[server.services.http]
bind_addr = "127.0.0.1:${http}"
`,
    );
    writeFileSync(
      clientFile,
      `[client]
remote_addr = "127.0.0.1:${await through(control)}"
default_token = "bench-token"
[client.services.raw]
local_addr = "127.0.0.1:${origins.raw}"
[client.services.http]
local_addr = "127.0.0.1:${origins.http}"
`,
    );
    const server = run('rathole', ['--server', serverFile]);
    const client = run('rathole', ['--client', clientFile]);
    return { ports: { raw, http }, server: [server], client: [client] };
  },
};
