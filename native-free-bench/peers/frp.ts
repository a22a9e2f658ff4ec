// frp: streams of yamux over one connection, TCP ports and HTTP by host; plain and over TLS.
//
// Its defaults, but for TLS, which is on from 0.50 and off in the plain variant here, as the other
// links of a run are plain. Must not know: load.

import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { freePort } from '../harness/children.ts';
import type { Peer, Site, Started } from './peer.ts';

export const frp: Peer = variant('frp', false);
export const frpTls: Peer = variant('frp TLS', true);

function variant(name: string, isTls: boolean): Peer {
  return {
    name,
    programs: ['frps', 'frpc'],
    versionArg: '--version',
    start: (site) => startFrp(site, isTls),
  };
}

async function startFrp(site: Site, isTls: boolean): Promise<Started> {
  const { origins, through, host, folder, run } = site;
  const [control, byHost] = [await freePort(), await freePort()];
  const [raw, http] = [await freePort(), await freePort()];
  const serverFile = path.join(folder, 'frps.toml');
  const clientFile = path.join(folder, 'frpc.toml');
  writeFileSync(
    serverFile,
    [
      'bindAddr = "127.0.0.1"',
      'proxyBindAddr = "127.0.0.1"',
      `bindPort = ${control}`,
      `vhostHTTPPort = ${byHost}`,
    ].join('\n'),
  );
  writeFileSync(
    clientFile,
    `serverAddr = "127.0.0.1"
serverPort = ${await through(control)}
loginFailExit = false
transport.tls.enable = ${isTls}
${proxy('raw', 'tcp', origins.raw, `remotePort = ${raw}`)}
${proxy('http', 'tcp', origins.http, `remotePort = ${http}`)}
${proxy('host', 'http', origins.http, `customDomains = ["${host}"]`)}
`,
  );
  const server = run('frps', ['-c', serverFile]);
  const client = run('frpc', ['-c', clientFile]);
  return { ports: { raw, http, byHost }, server: [server], client: [client] };
}

function proxy(...[name, type, port, rest]: [string, string, number, string]): string {
  return `
[[proxies]]
name = "${name}"
type = "${type}"
localIP = "127.0.0.1"
localPort = ${port}
${rest}`;
}
