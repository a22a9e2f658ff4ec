// The service behind the tunnel, as cheap as can be: fixed HTTP answers, and raw bulk and echoes.
//
// Runs as a process of its own and sends its ports to the parent. The first byte of a raw
// connection says what it wants (load.ts). Must not know: who asks.

import { createServer, type Socket } from 'node:net';
import { readPool } from '../../src/base/read-pool.ts';
import { SocketReads } from '../../src/link/socket-reads.ts';
import { LineFeed, readLineWant } from './line-load.ts';
import { BULK_PATH, readCheaply, WANT } from './load.ts';
import { pour } from './pour.ts';

/** One write; with 64 KiB the origin took three times the CPU time, from what is measured. */
const CHUNK = Buffer.alloc(1024 * 1024, 0x63);
const BODY = 'x'.repeat(128);
const ANSWER = Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`);
const LAST = Buffer.from(
  `HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`,
);
const HEAD_END = Buffer.from('\r\n\r\n');
/** Without an end, as long as anybody reads. */
const BULK_HEAD = `HTTP/1.1 200 OK\r\nContent-Length: ${Number.MAX_SAFE_INTEGER}\r\n\r\n`;
const BULK_REQUEST = Buffer.from(`GET ${BULK_PATH} `);
const MB = 1e6;

/** One for each pace that was asked for. */
const feeds = new Map<string, LineFeed>();

const raw = createServer({ noDelay: true }, (socket) => {
  socket.on('error', () => socket.destroy());
  socket.once('data', (first: Buffer) => start(socket, first));
});
const http = createServer({ noDelay: true }, (socket) => {
  socket.on('error', () => socket.destroy());
  const onRead = (piece: Buffer): void => {
    // The generator sends a request only when the last one is answered.
    if (!piece.subarray(-4).equals(HEAD_END)) return;
    if (piece.subarray(0, BULK_REQUEST.length).equals(BULK_REQUEST)) {
      socket.write(BULK_HEAD);
      pour(socket, CHUNK);
    } else if (piece.includes('Connection: close')) socket.end(LAST);
    else socket.write(ANSWER);
  };
  new SocketReads(socket, { onRead });
});

function start(socket: Socket, first: Buffer): void {
  const want = String.fromCharCode(first[0] ?? 0);
  if (want === WANT.DOWNLOAD) pour(socket, CHUNK);
  else if (want === WANT.PATIENCE) {
    socket.write('.');
    socket.once('data', (next: Buffer) => start(socket, next));
  } else if (want === WANT.LINE) {
    socket.resume();
    feedOf(first.toString('latin1')).add(socket);
  } else if (want === WANT.UPLOAD) {
    let bytes = first.length - 1;
    readCheaply(socket, (count) => {
      bytes += count;
      for (; bytes >= MB; bytes -= MB) socket.write('.');
    });
  } else {
    if (first.length > 1) socket.write(first.subarray(1));
    new SocketReads(socket, { onRead: (piece) => socket.write(readPool.own(piece)) });
  }
}

function feedOf(want: string): LineFeed {
  const feed = feeds.get(want) ?? new LineFeed(readLineWant(want));
  feeds.set(want, feed);
  return feed;
}

raw.listen(0, '127.0.0.1', () => {
  http.listen(0, '127.0.0.1', () => {
    process.send?.({ raw: portOf(raw), http: portOf(http) });
  });
});
process.on('disconnect', () => process.exit(0));

function portOf(server: typeof raw): number {
  const address = server.address();
  return address !== null && typeof address === 'object' ? address.port : 0;
}
