// The yardstick: a plain relay of one hop, as Node's documentation would write it.
//
// Runs as a process of its own, one port for each of the given targets (`TARGET`, or `TARGET=PORT`
// to listen on a port of one's choice), and sends its ports to the parent. Two of them in a row do
// what exit node and client do, without framing, credit or routes.

import { connect, createServer, type Server } from 'node:net';

const ways = process.argv.slice(2).map((way) => way.split('=').map(Number));
const servers = ways.map(([target = 0]) =>
  createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    const far = connect({ port: target, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    near.pipe(far);
    far.pipe(near);
    near.on('error', () => far.destroy());
    far.on('error', () => near.destroy());
  }),
);

await Promise.all(
  servers.map(
    (server, index) =>
      new Promise<void>((resolve) => server.listen(ways[index]?.[1] ?? 0, '127.0.0.1', resolve)),
  ),
);
process.send?.({ pid: process.pid, ports: servers.map(portOf) });
process.on('disconnect', () => process.exit(0));

function portOf(server: Server): number {
  const address = server.address();
  return address !== null && typeof address === 'object' ? address.port : 0;
}
