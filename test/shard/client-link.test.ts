// Goal: what a server says costs a client's control no more than it may; a link that goes, for
// whatever reason, serves as long as it does and takes nothing new; what a server says is safe to
// show. Method: a server of the test's own over a real WebSocket.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { MessageChannel } from 'node:worker_threads';
import { type WebSocket, WebSocketServer } from 'ws';
import { systemClock } from '../../src/base/clock.ts';
import { ERRORS, type ErrorCode } from '../../src/base/errors.ts';
import { Bridge, type Serve } from '../../src/bridge/calls.ts';
import type { ClientControlMethods, ClientShardMethods } from '../../src/bridge/client-messages.ts';
import { UNSET_SINK } from '../../src/mux/stream.ts';
import { ClientLink } from '../../src/shard/client-link.ts';
import { CONTROL_COST_MAX } from '../../src/shard/control-budget.ts';
import { Meters } from '../../src/shard/meters.ts';
import { Upstreams } from '../../src/shard/upstreams.ts';
import { FRAME, STREAM_ID_MAX } from '../../src/wire/frame.ts';
import {
  encodeRegister,
  encodeRegistered,
  encodeUnregister,
  encodeWelcome,
} from '../../src/wire/hello.ts';
import { bodyFrame, valueFrame } from '../mux/raw-peer.ts';
import { undoAfter } from '../support/cleanup.ts';
import { LOOPBACK } from '../support/configs.ts';
import { eventually, within } from '../support/deadline.ts';
import { SILENT_LOG } from '../support/silent-log.ts';
import { shardSettings } from './settings.ts';

const LIMITS = { frame: 262_144, streams: 100, credit: 65_536 };
const WAIT_MS = 10_000;
const WELCOME = { version: 1, features: [], node: 'n', shard: 0, shards: 1, agent: 'test/1' };
/** Clears a terminal that prints it. */
const CLEAR = '\u001b[2J';

function soon(check: () => void): Promise<void> {
  return eventually(WAIT_MS, 'what the link does', async () => check());
}

interface Scene {
  readonly link: ClientLink;
  /** Of the server; what the client has said on it comes to `received`. */
  readonly socket: WebSocket;
  readonly received: () => Buffer;
  /** What control was told. */
  readonly goneAway: ErrorCode[];
  readonly results: () => number;
  /** The bodies of welcomes and of answers, as control has them. */
  readonly told: readonly unknown[];
  readonly ended: Promise<ErrorCode>;
}

/** A link to a server that has said WELCOME. */
async function startScene(t: TestContext, firstId?: number, welcome = WELCOME): Promise<Scene> {
  const server = new WebSocketServer({
    ...{ host: LOOPBACK, port: 0 },
    handleProtocols: () => 'sluiceway.1',
  });
  undoAfter(t, () => void server.close());
  await once(server, 'listening');
  const { port1, port2 } = new MessageChannel();
  const onBug = (error: unknown): void => assert.fail(String(error));
  const goneAway: ErrorCode[] = [];
  let results = 0;
  const told: unknown[] = [];
  const welcomed = Promise.withResolvers<void>();
  const control = {
    welcomed: (welcome: unknown) => {
      told.push(welcome);
      welcomed.resolve();
    },
    registered: (answer: { results: readonly unknown[] }) => {
      told.push(answer);
      results += answer.results.length;
    },
    ended: () => undefined,
    goAway: ({ code }: { code: ErrorCode }) => goneAway.push(code),
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
  const connected = once(server, 'connection');
  const link = new ClientLink({
    ...{ ...shared, settings, bridge },
    dial: {
      ...{ link: 'l', server: 0, url: `ws://${LOOPBACK}:${port}/connect`, token: 't' },
      ...{ ca: undefined, client: 'c', instance: 'i', mask: 'never' },
    },
    upstreams: new Upstreams({ ...shared, limits: settings, meters }),
    onEnd: ended.resolve,
    onIdle() {},
    ...(firstId === undefined ? {} : { firstId }),
  });
  const [socket] = (await within(WAIT_MS, 'the dial', connected)) as [WebSocket];
  undoAfter(t, () => socket.terminate());
  const messages: Buffer[] = [];
  socket.on('message', (message: Buffer) => messages.push(message));
  socket.send(bodyFrame(FRAME.WELCOME, 0, encodeWelcome({ ...welcome, limits: LIMITS })));
  await within(WAIT_MS, 'the welcome', welcomed.promise);
  const received = (): Buffer => Buffer.concat(messages);
  const seen = { received, goneAway, told, results: () => results };
  return { link, socket, ...seen, ended: ended.promise };
}

test('a server that repeats its answers without end loses the link', async (t) => {
  const { socket, results, ended } = await startScene(t);
  const answers = Array.from({ length: 64 }, (_, index) => ({
    ...{ name: `t${index}`, code: '', reason: '' },
  }));
  const body = encodeRegistered({ call: 1, results: answers });
  const answer = bodyFrame(FRAME.REGISTERED, 0, body);
  for (let sent = 0; sent <= CONTROL_COST_MAX; sent += answers.length) socket.send(answer);
  assert.equal(await within(WAIT_MS, 'the end', ended), 'SLW_WIRE_FLOOD');
  assert.ok(results() < CONTROL_COST_MAX, `${results()} results`);
});

test('no text of a server reaches control with what a terminal would obey', async (t) => {
  const welcome = { ...WELCOME, node: `n${CLEAR}`, agent: `a${CLEAR}` };
  const { link, socket, told } = await startScene(t, undefined, welcome);
  link.offer([{ name: 'a.test', label: 'a' }]);
  const result = { name: `a${CLEAR}`, code: `SLW_${CLEAR}`, reason: `r${CLEAR}` };
  const answer = { call: 1, results: [result] };
  socket.send(bodyFrame(FRAME.REGISTERED, 0, encodeRegistered(answer)));
  await soon(() => assert.equal(told.length, 2));
  const texts = JSON.stringify(told);
  assert.equal(texts.split('?[2J').length, 6, texts);
  assert.ok(!texts.includes('u001b'), texts);
});

test('what is not well is withdrawn from a link that has moved, too', async (t) => {
  const { link, socket, received, goneAway } = await startScene(t);
  link.offer([{ name: 'a.test', label: 'a' }]);
  assert.equal(link.forwarding, 'open');
  socket.send(valueFrame(FRAME.GOAWAY, 0, ERRORS.SLW_LINK_MOVED.wire));
  await soon(() => assert.deepEqual(goneAway, ['SLW_LINK_MOVED']));
  assert.equal(link.forwarding, 'closed');
  link.change(['a.test'], []);
  const withdrawn = Buffer.from(encodeUnregister({ names: ['a.test'] }));
  await soon(() => assert.ok(received().includes(withdrawn)));
  socket.send(valueFrame(FRAME.GOAWAY, 0, ERRORS.SLW_LINK_DRAINING.wire));
  await soon(() => assert.equal(goneAway.length, 2));
  const before = received().length;
  link.change([], [{ name: 'a.test', label: 'a' }]);
  link.close('SLW_LINK_ENDED');
  const goodbye = valueFrame(FRAME.GOAWAY, 0, ERRORS.SLW_LINK_ENDED.wire);
  await soon(() => assert.ok(received().subarray(before).includes(goodbye)));
  const register = Buffer.from(
    encodeRegister({ call: 2, tunnels: [{ name: 'a.test', label: 'a' }] }),
  );
  assert.ok(!received().includes(register), 'nobody comes by it any more');
});

test('a link that is to move before control keeps it serves, and opens nothing', async (t) => {
  const { link, socket, received, goneAway } = await startScene(t);
  socket.send(valueFrame(FRAME.GOAWAY, 0, ERRORS.SLW_LINK_MOVED.wire));
  await soon(() => assert.deepEqual(goneAway, ['SLW_LINK_MOVED']));
  const tunnels = [{ name: 'a.test', label: 'a' }];
  link.offer(tunnels);
  assert.equal(link.forwarding, 'closed');
  const register = Buffer.from(encodeRegister({ call: 1, tunnels }));
  await soon(() => assert.ok(received().includes(register)));
  link.change(['a.test'], []);
  const withdrawn = Buffer.from(encodeUnregister({ names: ['a.test'] }));
  await soon(() => assert.ok(received().includes(withdrawn)));
});

test('why a server takes no new streams is told once a reason, however often it says so', async (t) => {
  const { link, socket, goneAway, results } = await startScene(t);
  link.offer([{ name: 'a.test', label: 'a' }]);
  const said = ['SLW_LINK_MOVED', 'SLW_LINK_IDS_SPENT', 'SLW_LINK_MOVED'] as const;
  for (const code of said) {
    const goAway = valueFrame(FRAME.GOAWAY, 0, ERRORS[code].wire);
    for (let times = 0; times < 2; times += 1) socket.send(goAway);
  }
  const answer = { call: 1, results: [{ name: 'a.test', code: '', reason: '' }] };
  socket.send(bodyFrame(FRAME.REGISTERED, 0, encodeRegistered(answer)));
  await soon(() => assert.equal(results(), 1));
  assert.deepEqual(goneAway, ['SLW_LINK_MOVED', 'SLW_LINK_IDS_SPENT']);
});

test('a link is full while it has as many streams as the server takes', async (t) => {
  const { link, socket } = await startScene(t);
  assert.equal(link.forwarding, 'closed');
  link.offer([]);
  const target = { host: 'db.example', port: 5432 };
  const sink = { ...UNSET_SINK, onReset() {} };
  for (let opens = 0; opens < LIMITS.streams; opens += 1) {
    assert.equal(link.forwarding, 'open');
    assert.equal(typeof link.openForward(target, new Socket(), sink), 'object');
  }
  assert.equal(link.forwarding, 'full');
  socket.send(valueFrame(FRAME.RST, 1, ERRORS.SLW_STREAM_REFUSED.wire));
  await soon(() => assert.equal(link.forwarding, 'open'));
});

test('own ids that are used up: control is told, and the link ends with its streams', async (t) => {
  const { link, socket, goneAway, ended } = await startScene(t, STREAM_ID_MAX);
  link.offer([]);
  const target = { host: 'db.example', port: 5432 };
  const sink = { ...UNSET_SINK, onReset() {} };
  assert.equal(typeof link.openForward(target, new Socket(), sink), 'object');
  assert.equal(link.openForward(target, new Socket(), sink), 'SLW_STREAM_NO_LINK');
  assert.equal(link.forwarding, 'closed');
  await soon(() => assert.deepEqual(goneAway, ['SLW_LINK_IDS_SPENT']));
  link.tick(systemClock.nowMs());
  assert.equal(link.streamsCount, 1, 'it goes on');
  // The server's have ended, too.
  socket.send(valueFrame(FRAME.GOAWAY, 0, ERRORS.SLW_LINK_IDS_SPENT.wire));
  socket.send(valueFrame(FRAME.RST, STREAM_ID_MAX, ERRORS.SLW_STREAM_REFUSED.wire));
  await soon(() => assert.equal(link.streamsCount, 0));
  link.tick(systemClock.nowMs());
  assert.equal(await within(WAIT_MS, 'the end', ended), 'SLW_LINK_IDS_SPENT');
  assert.deepEqual(goneAway, ['SLW_LINK_IDS_SPENT'], 'once');
});
