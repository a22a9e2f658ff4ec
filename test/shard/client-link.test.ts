// Goal: what a server says costs a client's control no more than it may. Method: a server of the
// test's own over a real WebSocket.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { MessageChannel } from 'node:worker_threads';
import { WebSocketServer } from 'ws';
import { systemClock } from '../../src/base/clock.ts';
import type { ErrorCode } from '../../src/base/errors.ts';
import { Bridge, type Serve } from '../../src/bridge/calls.ts';
import type { ClientControlMethods, ClientShardMethods } from '../../src/bridge/client-messages.ts';
import { ClientLink } from '../../src/shard/client-link.ts';
import { CONTROL_COST_MAX } from '../../src/shard/control-budget.ts';
import { Meters } from '../../src/shard/meters.ts';
import { Upstreams } from '../../src/shard/upstreams.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { encodeRegistered, encodeWelcome } from '../../src/wire/hello.ts';
import { bodyFrame } from '../mux/raw-peer.ts';
import { undoAfter } from '../support/cleanup.ts';
import { LOOPBACK } from '../support/configs.ts';
import { within } from '../support/deadline.ts';
import { SILENT_LOG } from '../support/silent-log.ts';
import { shardSettings } from './settings.ts';

const LIMITS = { frame: 262_144, streams: 100, credit: 65_536 };
const WELCOME = { version: 1, features: [], node: 'n', shard: 0, shards: 1, agent: 'test/1' };

test('a server that repeats its answers without end loses the link', async (t) => {
  const server = new WebSocketServer({
    ...{ host: LOOPBACK, port: 0 },
    handleProtocols: () => 'sluiceway.1',
  });
  await once(server, 'listening');
  server.on('connection', (socket) => {
    undoAfter(t, () => socket.terminate());
    socket.once('message', () => {
      socket.send(bodyFrame(FRAME.WELCOME, 0, encodeWelcome({ ...WELCOME, limits: LIMITS })));
      const results = Array.from({ length: 64 }, (_, index) => ({
        ...{ name: `t${index}`, code: '', reason: '' },
      }));
      const answer = bodyFrame(FRAME.REGISTERED, 0, encodeRegistered({ call: 1, results }));
      for (let sent = 0; sent <= CONTROL_COST_MAX; sent += results.length) socket.send(answer);
    });
  });
  undoAfter(t, () => void server.close());
  const { port1, port2 } = new MessageChannel();
  const onBug = (error: unknown): void => assert.fail(String(error));
  let heard = 0;
  const control = {
    welcomed: () => undefined,
    registered: ({ results }: { results: readonly unknown[] }) => {
      heard += results.length;
    },
    ended: () => undefined,
    goAway: () => undefined,
  } as unknown as Serve<ClientControlMethods>;
  const there = new Bridge<ClientControlMethods, ClientShardMethods>(port2, control, onBug);
  const none = {} as unknown as Serve<ClientShardMethods>;
  const bridge = new Bridge<ClientShardMethods, ClientControlMethods>(port1, none, onBug);
  const meters = new Meters();
  undoAfter(t, () => {
    bridge.close();
    there.close();
    meters.close();
  });
  const settings = shardSettings();
  const shared = { clock: systemClock, log: SILENT_LOG };
  const ended = Promise.withResolvers<ErrorCode>();
  const { port } = server.address() as AddressInfo;
  new ClientLink({
    ...{ ...shared, settings, bridge },
    dial: {
      ...{ link: 'l', server: 0, url: `ws://${LOOPBACK}:${port}/connect`, token: 't' },
      ...{ ca: undefined, client: 'c', instance: 'i', mask: 'never' },
    },
    upstreams: new Upstreams({ ...shared, limits: settings, meters }),
    onEnd: ended.resolve,
    onIdle() {},
  });
  assert.equal(await within(10_000, 'the end', ended.promise), 'SLW_WIRE_FLOOD');
  assert.ok(heard < CONTROL_COST_MAX, `${heard} results`);
});
