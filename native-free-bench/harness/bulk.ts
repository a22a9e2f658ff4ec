// Downloads without an end that are read as fast as they come, in a process of its own, so that
// what reads them does not delay what is measured beside.
//
// Answers each message of the parent with a BulkCount. Must not know: what stands behind the port.

import type { BulkCount } from './bulk-event.ts';
import { open, readCheaply, WANT } from './load.ts';

const [port = 0, connections = 0] = process.argv.slice(2).map(Number);
const bytes = Array.from({ length: connections }, () => 0);
let lost = 0;

const sockets = await open({ target: { port }, connections }, WANT.DOWNLOAD);
for (const [index, socket] of sockets.entries()) {
  socket.on('error', () => socket.destroy());
  socket.on('close', () => {
    lost += 1;
  });
  readCheaply(socket, (count) => {
    bytes[index] = (bytes[index] ?? 0) + count;
  });
}
process.on('message', tell);
process.on('disconnect', () => process.exit(0));
tell();

function tell(): void {
  const count: BulkCount = { atMs: performance.timeOrigin + performance.now(), bytes, lost };
  process.send?.(count);
}
