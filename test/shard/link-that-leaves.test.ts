// Goal: a client that drains, or whose link is lost, costs visitors of other shards nothing while
// another client serves the tunnel, though control has not told those shards yet. Method: two
// shards in one thread, joined by a real mesh; the link of one is a session in memory, that of the
// other leads to an upstream on loopback.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { MessageChannel } from 'node:worker_threads';
import { ERRORS, type ErrorCode } from '../../src/base/errors.ts';
import type { OpenRequest } from '../../src/mux/session-options.ts';
import type { Stream, StreamSink } from '../../src/mux/stream.ts';
import { TcpIngress } from '../../src/shard/ingress-tcp.ts';
import { Mesh } from '../../src/shard/mesh.ts';
import { Meters } from '../../src/shard/meters.ts';
import { ShardRouter, type StreamOpener } from '../../src/shard/router.ts';
import { VisitorLedger } from '../../src/shard/visitor-ledger.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { RawPeer, valueFrame } from '../mux/raw-peer.ts';
import { undoAfter } from '../support/cleanup.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { LIMITS, Peer, startEdge } from '../support/http-edge.ts';
import { LoopbackOpener } from '../support/http-stream.ts';
import { SILENT_LOG } from '../support/silent-log.ts';
import { shardSettings } from './settings.ts';
import { createSocketPair } from './socket-pair.ts';

const SITE = 'a.example';
const POST = `POST / HTTP/1.1\r\nHost: ${SITE}\r\nContent-Length: 2\r\n\r\nhi`;
const ANSWER = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
/** The client that goes has its link there; visitors come here, as does the other client. */
const [THERE, HERE] = [0, 1] as const;
/** Ties go in turn: some of them are sent to the link that goes. */
const VISITORS = 4;

type OpenThere = (request: OpenRequest, sink: StreamSink) => Stream | ErrorCode;

/** What the other shard says of a link whose client has said that it drains, and of a lost one. */
const WAYS: Readonly<Record<string, () => OpenThere>> = {
  drains() {
    const link = new RawPeer();
    link.deliver(valueFrame(FRAME.GOAWAY, 0, ERRORS.SLW_LINK_DRAINING.wire));
    return (request, sink) => link.session.open(request, sink);
  },
  'is lost': () => () => 'SLW_STREAM_NO_LINK',
};

/** The router of the shard here, which has heard of both clients, or of the one that goes alone, or
 * with a link that stays. */
function startShards(
  t: TestContext,
  openThere: OpenThere,
  stays: 'stays' | 'is none' | 'is its own' = 'stays',
) {
  const meters = new Meters();
  const shared = { settings: shardSettings(), log: SILENT_LOG };
  const refusals: string[] = [];
  const openLocal: OpenThere = (request, sink) => {
    const opened = openThere(request, sink);
    refusals.push(String(opened));
    return opened;
  };
  const there = new Mesh({ ...shared, shard: THERE, openLocal });
  const here = new Mesh({ ...shared, shard: HERE, openLocal: () => 'SLW_STREAM_NO_LINK' });
  const { port1, port2 } = new MessageChannel();
  there.attach(HERE, port1);
  here.attach(THERE, port2);
  undoAfter(t, () => {
    for (const mesh of [here, there]) mesh.close();
    meters.close();
  });
  const own = new LoopbackOpener();
  const opener: StreamOpener = {
    isDoubted: () => false,
    canOpen: (link, shard) => (shard === HERE ? own.canOpen(link) : here.canOpen(shard)),
    open: (shard, request, sink) =>
      shard === HERE ? own.open(shard, request, sink) : here.open(shard, request, sink),
  };
  const router = new ShardRouter(HERE, opener, meters);
  const going = { client: 'going', link: '0-1', shard: THERE };
  const client = stays === 'is its own' ? 'going' : 'staying';
  const staying = { client, link: '1-1', shard: HERE };
  const routes = stays === 'is none' ? [going] : [going, staying];
  router.apply(
    routes.map((route, index) => ({ number: index + 1, kind: 'add', tunnel: SITE, ...route })),
  );
  return { router, refusals, ports: own.ports };
}

for (const [what, open] of Object.entries(WAYS)) {
  test(`no request fails when a client of another shard ${what}`, async (t) => {
    const { router, refusals, ports } = startShards(t, open());
    const edge = await startEdge(t, { ingress: { router } });
    const upstream = await edge.upstream(SITE);
    ports.set('1-1', upstream.port);
    for (let visitor = 0; visitor < VISITORS; visitor += 1) {
      const asking = (await edge.visit()).send(POST);
      const asked = await upstream.next();
      await asked.read('hi');
      asked.send(ANSWER);
      assert.match(await asking.read('ok'), /^HTTP\/1\.1 200 /);
    }
    assert.ok(refusals.length > 0, 'none was sent to the link that goes');
    assert.deepEqual(new Set(refusals), new Set(['SLW_STREAM_NO_LINK']));
  });

  test(`no TCP visitor is cut when a client of another shard ${what}`, async (t) => {
    const { router, refusals, ports } = startShards(t, open());
    const upstream = await (await startEdge(t)).upstream(SITE);
    ports.set('1-1', upstream.port);
    const ingress = new TcpIngress({
      ...{ router, limits: LIMITS, clock: new FakeClock(), access: undefined },
      ledger: new VisitorLedger({ visitorConnectionsMax: 100, connectionsPerAddressMax: 0 }),
    });
    for (let visitor = 0; visitor < VISITORS; visitor += 1) {
      const { ours, theirs } = await createSocketPair(t);
      ingress.accept(SITE, ours);
      const visiting = new Peer(theirs);
      (await upstream.next()).send('welcome');
      await visiting.read('welcome');
    }
    assert.ok(refusals.length > 0, 'none was sent to the link that goes');
  });

  test(`no request fails when one of a client's links on another shard ${what}`, async (t) => {
    const openThere = open();
    let upstreamPort = 0;
    const { router, refusals, ports } = startShards(
      t,
      (request, sink) => {
        // Not before: a link of the visitor's shard would be chosen first.
        ports.set('1-1', upstreamPort);
        return openThere(request, sink);
      },
      'is its own',
    );
    const edge = await startEdge(t, { ingress: { router } });
    const upstream = await edge.upstream(SITE);
    upstreamPort = upstream.port;
    const asking = (await edge.visit()).send(POST);
    const asked = await upstream.next();
    await asked.read('hi');
    asked.send(ANSWER);
    assert.match(await asking.read('ok'), /^HTTP\/1\.1 200 /);
    assert.deepEqual(refusals, ['SLW_STREAM_NO_LINK']);
  });

  test(`a request is refused once when the only client ${what}, on another shard`, async (t) => {
    const { router, refusals } = startShards(t, open(), 'is none');
    const edge = await startEdge(t, { ingress: { router } });
    const asking = (await edge.visit()).send(POST);
    assert.match(await asking.readEnd(), /^HTTP\/1\.1 503 .*\r\nRetry-After: /s);
    assert.deepEqual(refusals, ['SLW_STREAM_NO_LINK']);
  });
}
