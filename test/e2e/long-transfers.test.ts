// Goal: what moves, or may be silent, is never ended for how long it takes. Method: every deadline
// of HTTP is a second or two, and an upload in small pieces, events with long pauses and a silent
// WebSocket take several times as long; one TCP stream carries much more than every window, both
// ways at once, by SHA-256. SLUICEWAY_SLOW_SECONDS and SLUICEWAY_TRANSFER_MIB make them longer.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import type net from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as pass } from 'node:timers/promises';
import { WebSocket, WebSocketServer } from 'ws';
import { undoAfter } from '../support/cleanup.ts';
import { within } from '../support/deadline.ts';
import { seededNoise } from '../support/digest.ts';
import { startTunnel, tcpTunnel } from '../support/tunnel.ts';
import { connectTo, openGet, startTcp } from '../support/upstream.ts';

const SLOW_SECONDS = Number(process.env.SLUICEWAY_SLOW_SECONDS ?? 9);
const TRANSFER_MIB = Number(process.env.SLUICEWAY_TRANSFER_MIB ?? 256);
const HOST = 'slow.example.com';
const MIB = 1024 * 1024;
const NOISE = seededNoise(6, 4 * MIB);
/** All far below what the slow ones take. */
const DEADLINES = [
  ...['--header-timeout', '1s', '--body-idle-timeout', '2s', '--keep-alive-timeout', '2s'],
  ...['--upstream-response-timeout', '2s'],
];
/** 64 KiB a second, in pieces. */
const PIECE_BYTES = 16 * 1024;
const PIECE_EVERY_MS = 250;
/** Longer than each of the deadlines. */
const EVENT_EVERY_MS = 3000;
const WAIT_MS = 20_000;
/** A mebibyte a second at the least, on a machine that does other things. */
const TRANSFER_MS_MAX = 30_000 + TRANSFER_MIB * 1000;

test(`${TRANSFER_MIB} MiB each way on one stream`, async (t) => {
  const served = Promise.withResolvers<Exchange>();
  const upstream = await startTcp(t, (socket) => served.resolve(exchange(socket, 1)));
  const port = await tcpTunnel(t, upstream);
  const visitor = await connectTo(t, port);
  const startMs = performance.now();
  const both = Promise.all([exchange(visitor, 2), served.promise]);
  const [one, other] = await within(TRANSFER_MS_MAX, 'both have got all', both);
  const seconds = (performance.now() - startMs) / 1000;
  t.diagnostic(`${(TRANSFER_MIB / seconds).toFixed(0)} MiB/s each way`);
  assert.equal(one.got, other.sent, 'what the visitor got');
  assert.equal(other.got, one.sent, 'what the upstream got');
});

interface Exchange {
  readonly sent: string;
  readonly got: string;
}

/** Sends pieces of noise, and takes what comes, until both have ended. */
async function exchange(socket: net.Socket, step: number): Promise<Exchange> {
  const [sent, got] = [createHash('sha256'), createHash('sha256')];
  socket.on('data', (piece: Buffer) => got.update(piece));
  const ended = once(socket, 'end');
  for (let count = 0; count < TRANSFER_MIB; count += 1) {
    const from = ((count * step * 4099) % 3) * MIB + count;
    const piece = NOISE.subarray(from, from + MIB);
    sent.update(piece);
    if (!socket.write(piece)) await once(socket, 'drain');
  }
  socket.end();
  await ended;
  return { sent: sent.digest('hex'), got: got.digest('hex') };
}

/** Takes uploads, tells events and echoes WebSocket messages. */
async function startUpstream(t: TestContext): Promise<number> {
  const server = http.createServer({ requestTimeout: 0 }, (request, response) => {
    if (request.url === '/upload') {
      const hash = createHash('sha256');
      request.on('data', (piece: Buffer) => hash.update(piece));
      request.on('end', () => response.end(hash.digest('hex')));
      return;
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.flushHeaders();
    let count = 0;
    const timer = setInterval(() => {
      count += 1;
      response.write(`data: ${count}\n\n`);
      if (count * EVENT_EVERY_MS < SLOW_SECONDS * 1000) return;
      clearInterval(timer);
      response.end();
    }, EVENT_EVERY_MS);
    response.once('close', () => clearInterval(timer));
  });
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(data)));
  undoAfter(t, () => {
    for (const socket of sockets.clients) socket.terminate();
    server.closeAllConnections();
    server.close();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  return address.port;
}

/** What was sent and what the upstream says that it got. */
async function upload(port: number): Promise<readonly [string, string]> {
  const sent = createHash('sha256');
  const request = http.request({
    ...{ host: '127.0.0.1', port, method: 'POST', path: '/upload', agent: false },
    headers: { host: HOST },
  });
  const responded = once(request, 'response') as Promise<[http.IncomingMessage]>;
  const pieces = (SLOW_SECONDS * 1000) / PIECE_EVERY_MS;
  for (let count = 0; count < pieces; count += 1) {
    const piece = NOISE.subarray(count, count + PIECE_BYTES);
    sent.update(piece);
    request.write(piece);
    await pass(PIECE_EVERY_MS);
  }
  request.end();
  const [response] = await within(WAIT_MS, 'an answer to the upload', responded);
  assert.equal(response.statusCode, 200);
  let got = '';
  for await (const piece of response.setEncoding('latin1')) got += String(piece);
  return [sent.digest('hex'), got];
}

async function readEvents(t: TestContext, port: number): Promise<void> {
  const response = await openGet(t, { port, host: HOST, path: '/events' });
  assert.equal(response.statusCode, 200);
  let text = '';
  for await (const piece of response.setEncoding('latin1')) text += String(piece);
  const count = Math.ceil((SLOW_SECONDS * 1000) / EVENT_EVERY_MS);
  const events = Array.from({ length: count }, (_, index) => `data: ${index + 1}\n\n`);
  assert.equal(text, events.join(''), 'each event');
  assert.ok(response.complete);
}

async function beSilent(t: TestContext, port: number): Promise<void> {
  const visitor = new WebSocket(`ws://127.0.0.1:${port}/`, { headers: { Host: HOST } });
  undoAfter(t, () => {
    visitor.terminate();
  });
  await within(WAIT_MS, 'the WebSocket opens', once(visitor, 'open'));
  await pass(SLOW_SECONDS * 1000);
  visitor.send('after');
  const [answer] = await within(WAIT_MS, 'an echo', once(visitor, 'message'));
  assert.equal(String(answer), 'after');
}

test(`what takes ${SLOW_SECONDS} s, with deadlines of one and two`, async (t) => {
  const upstream = await startUpstream(t);
  const args = ['--upstream', `${HOST}=http://127.0.0.1:${upstream}`];
  const { httpPort } = await startTunnel(t, args, { args: DEADLINES });
  const [[sent, got]] = await Promise.all([
    upload(httpPort),
    readEvents(t, httpPort),
    beSilent(t, httpPort),
  ]);
  assert.equal(got, sent, 'the upload');
});
