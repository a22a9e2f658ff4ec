// Goal: nothing of a visitor reaches an https upstream whose certificate was not verified, and the
// log says why an upstream could not be connected to. Method: real servers, TLS ones with a
// certificate of their own authority, streams of a session in memory.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import net, { type AddressInfo, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { ERRORS, type ErrorCode } from '../../src/base/errors.ts';
import type { UpstreamEntry } from '../../src/bridge/client-messages.ts';
import { Meters } from '../../src/shard/meters.ts';
import { Upstreams } from '../../src/shard/upstreams.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { CERT, KEY } from '../config/tls-pair.ts';
import { bodyFrame, RawPeer } from '../mux/raw-peer.ts';
import { undoAfter } from '../support/cleanup.ts';
import { eventually } from '../support/deadline.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { freePort } from '../support/free-port.ts';
import { LogLines } from '../support/log-lines.ts';
import { makeChain } from '../support/private-pki.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';

const LIMITS = {
  tcpIdleTimeoutMs: 0,
  udpIdleTimeoutMs: 120_000,
  halfCloseTimeoutMs: 3_600_000,
  upstreamConnectTimeoutMs: 10_000,
};
const SAID = Buffer.from('GET / HTTP/1.1\r\nCookie: s3cret\r\n\r\n');
const WAIT_MS = 5000;

class Bench {
  readonly log = new LogLines('shard');
  readonly clock = new FakeClock();
  readonly heard: string[] = [];
  readonly names: (string | false)[] = [];
  readonly #upstreams: Upstreams;
  readonly #port: number;
  /** Below TLS, where a connection can be reset. */
  readonly #accepted: Socket[] = [];

  constructor(meters: Meters, server: tls.Server, port: number) {
    this.#port = port;
    this.#upstreams = new Upstreams({
      limits: LIMITS,
      clock: this.clock,
      meters,
      log: this.log.log,
    });
    server.on('connection', (socket) => this.#accepted.push(socket));
    server.on('secureConnection', (socket) => {
      this.names.push(socket.servername ?? false);
      socket.on('data', (piece: Buffer) => this.heard.push(piece.toString()));
    });
  }

  /** Serves one stream on which SAID comes at once; gives what became of it. */
  async visit(entry: Partial<UpstreamEntry>): Promise<'opened' | ErrorCode> {
    const { found } = await this.#begin(entry);
    this.#upstreams.cutAll();
    return found;
  }

  sweep(): void {
    this.#upstreams.sweep(this.clock.nowMs());
  }

  /** The same, and the upstream resets the connection; gives what its stream ends with. */
  async visitAndReset(entry: Partial<UpstreamEntry>): Promise<ErrorCode> {
    const { found, peer } = await this.#begin(entry);
    assert.equal(found, 'opened');
    this.#accepted.at(-1)?.resetAndDestroy();
    return eventually(WAIT_MS, 'RST', async () => {
      const reset = peer.written().find(({ type }) => type === FRAME.RST);
      return codeOf(reset?.content);
    });
  }

  async #begin(entry: Partial<UpstreamEntry>) {
    const { host = 'localhost', ...more } = entry;
    this.#upstreams.replace([
      { name: 'a', label: 'a', host, port: this.#port, tls: true, proxyProtocol: 'off', ...more },
    ]);
    const peer = new RawPeer({
      onOpen: (stream, open) => this.#upstreams.serve(stream, { ...open, tunnel: 'a' }),
    });
    const id = peer.open();
    peer.deliver(bodyFrame(FRAME.DATA, id, SAID));
    const found = await eventually<'opened' | ErrorCode>(WAIT_MS, 'an answer', async () => {
      for (const { type, content } of peer.written()) {
        if (type === FRAME.OPENED) return 'opened';
        if (type === FRAME.RST) return codeOf(content);
      }
      return assert.fail('no answer yet');
    });
    if (found === 'opened') {
      await eventually(WAIT_MS, 'what was said', async () => assert.ok(this.heard.length > 0));
    }
    return { found, peer };
  }
}

function codeOf(wire: unknown): ErrorCode {
  const found = Object.entries(ERRORS).find(([, row]) => row.wire === wire);
  return (found?.[0] ?? assert.fail()) as ErrorCode;
}

async function startBench(t: TestContext, pair = { cert: CERT, key: KEY }): Promise<Bench> {
  const server = tls.createServer(pair);
  server.on('tlsClientError', () => {
    // Who does not trust us goes away.
  });
  server.listen(0);
  await once(server, 'listening');
  const meters = new Meters();
  undoAfter(t, () => {
    server.close();
    meters.close();
  });
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  return new Bench(meters, server, address.port);
}

test('an upstream with a certificate of an unknown authority hears nothing', async (t) => {
  const bench = await startBench(t);
  const before = process.env.NODE_TLS_REJECT_UNAUTHORIZED;
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
  undoAfter(t, () => {
    if (before === undefined) delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    else process.env.NODE_TLS_REJECT_UNAUTHORIZED = before;
  });
  assert.equal(await bench.visit({}), 'SLW_STREAM_UNREACHABLE');
  const line = await bench.log.line('no TLS connection to the upstream', { tunnel: 'a' });
  assert.equal(line.code, 'DEPTH_ZERO_SELF_SIGNED_CERT');
  assert.equal(ERRORS.SLW_STREAM_UNREACHABLE.status, 502);
  assert.equal(await bench.visit({}), 'SLW_STREAM_UNREACHABLE');
  assert.equal(bench.log.complaints().length, 1, 'told once, not for each visitor');
  bench.clock.advance(60_000);
  assert.equal(await bench.visit({}), 'SLW_STREAM_UNREACHABLE');
  assert.equal(bench.log.complaints().length, 2);
  assert.deepEqual(bench.heard, []);
});

test('a CA of its own is trusted, for the name that the certificate has', async (t) => {
  const bench = await startBench(t);
  assert.equal(await bench.visit({ ca: CERT }), 'opened');
  assert.deepEqual([bench.heard, bench.names], [[SAID.toString()], ['localhost']]);
  bench.heard.length = 0;
  assert.equal(
    await bench.visit({ ca: CERT, serverName: 'other.example' }),
    'SLW_STREAM_UNREACHABLE',
  );
  const line = await bench.log.line('no TLS connection to the upstream');
  assert.equal(line.code, 'ERR_TLS_CERT_ALTNAME_INVALID');
  assert.deepEqual(bench.heard, []);
  assert.equal(
    await bench.visit({ ca: CERT, host: '127.0.0.1', serverName: 'localhost' }),
    'opened',
  );
  assert.equal(bench.names.at(-1), 'localhost');
});

test('an intermediate alone is trusted for what it signed, and for nothing beside it', async (t) => {
  if (requirePrograms(t, ['openssl']) === undefined) return;
  const { leaf, issuing, sibling } = makeChain(scratchFolder(t));
  for (const cert of [leaf.cert, leaf.cert + issuing]) {
    const bench = await startBench(t, { ...leaf, cert });
    assert.equal(await bench.visit({ ca: issuing }), 'opened');
    assert.equal(await bench.visit({ ca: sibling }), 'SLW_STREAM_UNREACHABLE');
    assert.equal(await bench.visit({}), 'SLW_STREAM_UNREACHABLE');
    assert.equal(await bench.visit({ ca: leaf.cert }), 'opened', 'the certificate itself');
  }
});

test('any certificate will do where that was asked for', async (t) => {
  const bench = await startBench(t);
  assert.equal(await bench.visit({ isUnverified: true }), 'opened');
  assert.deepEqual(bench.log.complaints(), []);
});

test('a connection that was made and is reset later is no failure of TLS', async (t) => {
  const bench = await startBench(t);
  for (const trust of [{ ca: CERT }, { isUnverified: true }]) {
    assert.equal(await bench.visitAndReset(trust), 'SLW_STREAM_RESET');
  }
  assert.deepEqual(bench.log.complaints(), []);
});

test('an upstream that is not there is told, once a minute for its tunnel', async (t) => {
  const bench = await startBench(t);
  const port = await freePort();
  const gone = { host: '127.0.0.1', port, tls: false };
  assert.equal(await bench.visit(gone), 'SLW_STREAM_REFUSED');
  assert.equal(await bench.visit(gone), 'SLW_STREAM_REFUSED');
  assert.equal(bench.log.complaints().length, 1);
  const line = await bench.log.line('no connection to the upstream', { tunnel: 'a' });
  assert.deepEqual([line.code, line.upstream], ['ECONNREFUSED', `127.0.0.1:${port}`]);
  assert.match(String(line.reason), /ECONNREFUSED/);
  const path = '/no/such.sock';
  bench.clock.advance(60_000);
  assert.equal(await bench.visit({ path, tls: false }), 'SLW_STREAM_UNREACHABLE');
  await bench.log.line('no connection to the upstream', { code: 'ENOENT', upstream: path });
  bench.clock.advance(60_000);
  assert.equal(await bench.visit({ ...gone, tls: true }), 'SLW_STREAM_REFUSED');
  assert.equal(bench.log.all('no connection to the upstream').length, 3);
});

test('an upstream that does not answer in time is told, TLS with it', async (t) => {
  const bench = await startBench(t);
  const silent = net.createServer();
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  undoAfter(t, () => {
    silent.close();
  });
  const { port } = silent.address() as AddressInfo;
  const found = bench.visit({ host: '127.0.0.1', port });
  await once(silent, 'connection');
  bench.clock.advance(LIMITS.upstreamConnectTimeoutMs);
  bench.sweep();
  assert.equal(await found, 'SLW_STREAM_CONNECT_TIMEOUT');
  const code = 'SLW_STREAM_CONNECT_TIMEOUT';
  await bench.log.line('no connection to the upstream', { tunnel: 'a', code });
});
