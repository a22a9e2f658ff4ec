// Goal: over HTTPS, too, a body that is cut never looks whole. Method: responses that only the end
// of the connection delimits, for the visitor at least, whose upstream is reset amid them; visitors
// are Node's TLS, which says how the connection ended, and curl.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import type net from 'node:net';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { connect } from 'node:tls';
import { undoAfter } from '../support/cleanup.ts';
import { within } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';
import { PAIR_A } from '../support/test-pairs.ts';
import { startClient, startServer } from '../support/tunnel.ts';
import { startTcp } from '../support/upstream.ts';

const HOST = 'a.test';
const PART = 'x'.repeat(400);
const HEADS: Readonly<Record<string, string>> = {
  '/until-close': `HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n${PART}`,
  '/chunked': `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n190\r\n${PART}\r\n`,
};
const END_MS = 10_000;

interface Place {
  readonly port: number;
  readonly caFile: string;
  /** Resets the upstream's connection that is answering. */
  cut(): void;
}

async function startPlace(t: TestContext): Promise<Place> {
  const folder = scratchFolder(t);
  const [caFile, keyFile] = [path.join(folder, 'a.crt'), path.join(folder, 'a.key')];
  writeFileSync(caFile, PAIR_A.cert);
  writeFileSync(keyFile, PAIR_A.key);
  let last: net.Socket | undefined;
  const upstreamPort = await startTcp(t, (socket) => {
    socket.once('data', (piece: Buffer) => {
      const [, target = ''] = piece.toString('latin1').split(' ', 2);
      last = socket;
      socket.write(HEADS[target] ?? '');
    });
  });
  const port = await freePort();
  const https = [
    '--https-addr',
    `127.0.0.1:${port}`,
    '--https-cert',
    `${HOST}=${caFile},${keyFile}`,
  ];
  const server = await startServer(t, { args: https });
  const args = ['--upstream', `${HOST}=http://127.0.0.1:${upstreamPort}`];
  await startClient(t, server, { args });
  return { port, caFile, cut: () => void last?.resetAndDestroy() };
}

for (const [target, version] of [
  ['/until-close', '1.1'],
  ['/until-close', '1.0'],
  ['/chunked', '1.0'],
] as const) {
  test(`a visitor of HTTP/${version} sees that ${target} was cut`, async (t) => {
    const { port, cut } = await startPlace(t);
    const visitor = connect({ port, host: '127.0.0.1', servername: HOST, ca: PAIR_A.cert });
    undoAfter(t, () => void visitor.destroy());
    let text = '';
    const whole = new Promise<void>((resolve) => {
      visitor.on('data', (piece: Buffer) => {
        text += piece.toString('latin1');
        if (text.endsWith(PART)) resolve();
      });
    });
    const ended = new Promise<string>((resolve) => {
      visitor.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
      visitor.once('end', () => resolve('FIN'));
    });
    visitor.write(`GET ${target} HTTP/${version}\r\nHost: ${HOST}\r\n\r\n`);
    await within(END_MS, 'the part', whole);
    cut();
    assert.equal(await within(END_MS, 'its end', ended), 'ECONNRESET');
  });
}

test('curl fails when a body without a length is cut', async (t) => {
  const programs = requirePrograms(t, ['curl']);
  if (programs === undefined) return;
  const { port, caFile, cut } = await startPlace(t);
  const reach = ['--resolve', `${HOST}:${port}:127.0.0.1`, '--noproxy', '*', '--cacert', caFile];
  const url = `https://${HOST}:${port}/until-close`;
  const curl = spawn(programs.curl, ['-q', '-s', '-N', ...reach, url]);
  undoAfter(t, () => void curl.kill('SIGKILL'));
  const ended = once(curl, 'close');
  await within(END_MS, 'the part', once(curl.stdout, 'data'));
  cut();
  const [code] = await within(END_MS, 'its end', ended);
  // A failure to receive.
  assert.equal(code, 56);
});
