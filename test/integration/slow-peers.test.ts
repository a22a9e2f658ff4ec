// Goal: who does not finish what it says to the control port or the admin address is sent away in
// time, over TLS too, and others are served meanwhile. Method: a node in this process, raw sockets
// that are silent, slow with a head, or slow with a body.

import assert from 'node:assert/strict';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { undoAfter } from '../support/cleanup.ts';
import { LOOPBACK } from '../support/configs.ts';
import { within } from '../support/deadline.ts';
import { startNode } from '../support/local-tunnel.ts';

/** Promised is 10 s (`security.md`); Node looks every two. */
const LEAST_MS = 9000;
const MOST_MS = 16_000;
const BYTE_EVERY_MS = 500;

interface Fate {
  readonly afterMs: number;
  readonly got: string;
}

/** Says `text` byte by byte, and what the other side says to that until it closes. */
function speakSlowly(t: TestContext, socket: net.Socket, text: string): Promise<Fate> {
  const startMs = performance.now();
  let got = '';
  let at = 0;
  const timer = setInterval(() => {
    if (at < text.length && socket.writable) socket.write(text[at] ?? '');
    at += 1;
  }, BYTE_EVERY_MS);
  undoAfter(t, () => {
    clearInterval(timer);
    socket.destroy();
  });
  socket.on('data', (piece: Buffer) => {
    got += piece.toString('latin1');
  });
  socket.on('error', () => {
    // Cut: `close` follows.
  });
  const closed = new Promise<Fate>((resolve) => {
    socket.on('close', () => resolve({ afterMs: performance.now() - startMs, got }));
  });
  return within(MOST_MS, `'${text.slice(0, 20)}' is sent away`, closed);
}

const HEAD = `GET /healthz HTTP/1.1\r\nHost: a\r\nX-Filler: ${'x'.repeat(100)}\r\n\r\n`;
const BODY = `POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n`;

test('slow peers of the control port and the admin address are sent away in time', async (t) => {
  const node = await startNode(t);
  const secure = await startNode(t, { flags: { 'auto-tls': true } });
  const connect = (port: number): net.Socket => net.connect({ port, host: LOOPBACK });
  const ca = await (
    await fetch(`http://${LOOPBACK}:${secure.adminPort}/.well-known/ca.crt`)
  ).text();
  const shake = (port: number): net.Socket => tls.connect({ port, host: LOOPBACK, ca });
  const slow = [
    speakSlowly(t, connect(node.controlPort), HEAD),
    speakSlowly(t, connect(node.adminPort), HEAD),
    speakSlowly(t, shake(secure.controlPort), HEAD),
    speakSlowly(t, connect(node.controlPort), ''),
    speakSlowly(t, connect(node.adminPort), ''),
    speakSlowly(t, connect(secure.controlPort), ''),
  ];
  const body = connect(node.controlPort);
  body.write(BODY);
  const withBody = speakSlowly(t, body, 'x'.repeat(100));
  const answer = await fetch(`http://${LOOPBACK}:${node.controlPort}/healthz`);
  assert.equal(answer.status, 200, 'others are served meanwhile');
  const fates = await Promise.all(slow);
  for (const [index, { afterMs }] of fates.entries()) {
    assert.ok(afterMs >= LEAST_MS, `${index}: after ${Math.round(afterMs)} ms`);
  }
  for (const { got } of fates.slice(0, 3)) assert.match(got, /^HTTP\/1\.1 408 Request Timeout\r\n/);
  const { body: counts } = await secure.ask('/metrics');
  assert.match(counts, /^http_controlplane_requests_total\{code="408",path="_other"\} 1$/m);
  assert.doesNotMatch(
    counts,
    /^http_controlplane_requests_total\{code="400"/m,
    'none was answered',
  );
  assert.match((await withBody).got, /^HTTP\/1\.1 405 /, 'what needs no body was answered');
});
