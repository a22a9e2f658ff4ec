// Goal: of all buffers that sockets read into, none is lost and none is given back twice, however
// connections end. Method: the real way of the bytes in one thread (visitors, ingress, session,
// WebSocket, session, upstreams), with random bulk, pauses, aborts and a link that is cut; the
// pool asserts a byte released twice, and the count of lent buffers must come to nothing.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import type { ErrorCode } from '../../src/base/errors.ts';
import { readPool } from '../../src/base/read-pool.ts';
import type { MaskKey } from '../../src/link/mask-key.ts';
import { WsLink } from '../../src/link/ws-link.ts';
import type { Session } from '../../src/mux/session.ts';
import type { SessionEvents } from '../../src/mux/session-options.ts';
import type { StreamSink } from '../../src/mux/stream.ts';
import { createHttpIngress } from '../../src/shard/ingress-http.ts';
import { TcpIngress } from '../../src/shard/ingress-tcp.ts';
import { Meters } from '../../src/shard/meters.ts';
import type { OpenedStream, Router, VisitorInfo } from '../../src/shard/router.ts';
import { createSession } from '../../src/shard/session-settings.ts';
import { Upstreams } from '../../src/shard/upstreams.ts';
import { VisitorLedger } from '../../src/shard/visitor-ledger.ts';
import { createUpgradedPair } from '../link/ws-pair.ts';
import { undoAfter } from '../support/cleanup.ts';
import { eventually } from '../support/deadline.ts';
import { seededNoise } from '../support/digest.ts';
import { ROUTE_CLIENT } from '../support/http-stream.ts';
import { SILENT_LOG } from '../support/silent-log.ts';
import { shardSettings } from './settings.ts';

const SEED = Number(process.env.SLUICEWAY_TEST_SEED ?? 7);
const VISITORS = 60;
const MIB = 1024 * 1024;
const PAYLOAD = seededNoise(SEED, 3 * MIB);

/** A small linear congruential generator, so that a seed is a whole run. */
function createRandom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const QUIET: SessionEvents = {
  onControl() {},
  onOpen(stream) {
    stream.reset('SLW_STREAM_UNKNOWN_TUNNEL');
  },
  onGoAway() {},
  onIdle() {},
  onEnd() {},
};

class Path {
  readonly tcpPort: number;
  readonly httpPort: number;
  readonly server: Session;
  readonly linkSocket: net.Socket;
  readonly left: () => number;

  constructor(parts: Pick<Path, 'tcpPort' | 'httpPort' | 'server' | 'linkSocket' | 'left'>) {
    this.tcpPort = parts.tcpPort;
    this.httpPort = parts.httpPort;
    this.server = parts.server;
    this.linkSocket = parts.linkSocket;
    this.left = parts.left;
  }
}

async function listen(t: TestContext, onSocket: (socket: net.Socket) => void): Promise<number> {
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, onSocket);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  undoAfter(t, () => {
    server.close();
  });
  return (server.address() as net.AddressInfo).port;
}

/** Sends bulk, takes bulk, and now and then resets in the middle. */
function rawOrigin(random: (below: number) => number): (socket: net.Socket) => void {
  return (socket) => {
    socket.on('error', () => {});
    socket.resume();
    socket.write(PAYLOAD);
    socket.on('end', () => socket.end());
    if (random(4) === 0) setTimeout(() => socket.resetAndDestroy(), random(60));
  };
}

/** Answers every request with bulk, by length or in chunks. */
function httpOrigin(random: (below: number) => number): (socket: net.Socket) => void {
  return (socket) => {
    socket.on('error', () => {});
    socket.on('end', () => socket.end());
    socket.once('data', () => {
      const length = PAYLOAD.length;
      if (random(2) === 0) {
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`);
        socket.write(PAYLOAD);
      } else {
        socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
        socket.write(`${length.toString(16)}\r\n`);
        socket.write(PAYLOAD);
        socket.write('\r\n0\r\n\r\n');
      }
      if (random(4) === 0) setTimeout(() => socket.resetAndDestroy(), random(60));
    });
    socket.resume();
  };
}

async function createPath(
  t: TestContext,
  options: { readonly seed: number; readonly mask: MaskKey; readonly isTls: boolean },
): Promise<Path> {
  const random = createRandom(options.seed);
  const raw = await listen(t, rawOrigin(random));
  const http = await listen(t, httpOrigin(random));
  const settings = shardSettings();
  const limits = settings;
  const clock = systemClock;
  const { client, server } = await createUpgradedPair(t, options.isTls);
  const meters = new Meters();
  undoAfter(t, () => meters.close());
  const upstreams = new Upstreams({ limits, clock, meters, log: SILENT_LOG });
  upstreams.replace(
    [raw, http].map((port, index) => {
      const name = index === 0 ? 'tcp:1' : 'a.example';
      return {
        name,
        label: name,
        host: '127.0.0.1',
        port,
        tls: false,
        proxyProtocol: 'off' as const,
      };
    }),
  );
  const near = createSession({
    link: new WsLink({ ...client, mask: options.mask }),
    events: { ...QUIET, onOpen: (stream, open) => upstreams.serve(stream, open) },
    settings,
    opens: 'odd',
  });
  const far = createSession({
    link: new WsLink({ ...server, mask: 'none' }),
    events: QUIET,
    settings,
    opens: 'even',
  });
  for (const session of [near, far]) session.start();
  near.activate(far.announce());
  far.activate(near.announce());
  const router: Router = {
    matchHost: () => 'a.example',
    admits: () => true,
    affinityOf: () => undefined,
    isServed: () => true,
    loginsOf: () => undefined,
    mayStay: () => true,
    noteEnd: () => undefined,
    openStream: (
      tunnel: string,
      { address, port }: VisitorInfo,
      sink: StreamSink,
    ): OpenedStream | ErrorCode => {
      const stream = far.open({ tunnel, address, port, link: '' }, sink);
      return typeof stream === 'string'
        ? stream
        : { stream, way: { edits: undefined, budget: undefined, client: ROUTE_CLIENT } };
    },
  };
  const ledger = new VisitorLedger({ ...settings, connectionsPerAddressMax: 0 });
  const tcp = new TcpIngress({ router, limits, clock, ledger, access: undefined });
  const web = createHttpIngress({
    router,
    limits,
    clock,
    ledger,
    log: SILENT_LOG,
    meter: meters,
  });
  return new Path({
    tcpPort: await listen(t, (socket) => tcp.accept('tcp:1', socket)),
    httpPort: await listen(t, (socket) => web.accept(socket)),
    server: far,
    linkSocket: client.socket,
    left: () => tcp.connectionsCount + web.connectionsCount + upstreams.connectionsCount,
  });
}

/** One visitor, who uploads, downloads, stops reading for a while, leaves or resets. */
async function visit(path: Path, random: (below: number) => number): Promise<void> {
  const isHttp = random(2) === 0;
  const socket = net.connect({
    port: isHttp ? path.httpPort : path.tcpPort,
    host: '127.0.0.1',
    allowHalfOpen: true,
  });
  socket.on('error', () => {});
  const gone = new Promise<void>((resolve) => socket.on('close', () => resolve()));
  socket.on('end', () => socket.end());
  socket.resume();
  if (isHttp) {
    const length = random(2) === 0 ? 0 : PAYLOAD.length;
    socket.write(`POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: ${length}\r\n\r\n`);
    if (length > 0) socket.write(PAYLOAD);
  } else {
    socket.write(PAYLOAD);
  }
  const pauseMs = random(60);
  if (random(3) === 0) setTimeout(() => socket.pause(), pauseMs);
  setTimeout(() => socket.resume(), pauseMs + 40);
  const endMs = 20 + random(200);
  setTimeout(() => (random(2) === 0 ? socket.resetAndDestroy() : socket.end()), endMs);
  setTimeout(() => socket.destroy(), endMs + 100);
  await gone;
}

for (const { name, mask, isTls } of [
  { name: 'a plain link', mask: 'zero', isTls: false },
  { name: 'a link with random masks', mask: 'random', isTls: false },
  { name: 'a TLS link', mask: 'zero', isTls: true },
] as const) {
  test(`every lent buffer comes back, over ${name} (seed ${SEED})`, async (t) => {
    const random = createRandom(SEED);
    const path = await createPath(t, { seed: SEED, mask, isTls });
    const lend = t.mock.method(readPool, 'lend');
    const visits = Array.from({ length: VISITORS }, () => visit(path, random));
    if (random(2) === 0) setTimeout(() => path.linkSocket.destroy(), 150);
    await Promise.all(visits);
    path.server.close('SLW_LINK_DRAINING');
    await eventually(10_000, 'nothing is left', async () => {
      assert.equal(path.left(), 0);
      assert.equal(readPool.lentCount, 0, 'a buffer was lost');
    });
    assert.ok(lend.mock.callCount() > 0, 'no buffer was ever lent: nothing was tested');
  });
}
