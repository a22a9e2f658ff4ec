// Goal: who may come by the control port is judged by what holds when the link begins, not by what
// held when it was asked for; who was accepted is answered, also when the listener closes.
// Method: a real port and a dial; control answers when the test says.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { MessageChannel } from 'node:worker_threads';
import { CALLER_MS_MAX } from '../../src/base/http-callers.ts';
import { Bridge, type Serve } from '../../src/bridge/calls.ts';
import type {
  Access,
  ExitControlMethods,
  ExitShardMethods,
} from '../../src/bridge/exit-messages.ts';
import { dialWebSocket } from '../../src/link/ws-handshake.ts';
import { AllowLists } from '../../src/shard/allow-lists.ts';
import { createControlPort } from '../../src/shard/control-port.ts';
import { ControlPortTls } from '../../src/shard/port-tls.ts';
import { undoAfter } from '../support/cleanup.ts';
import { LOOPBACK } from '../support/configs.ts';
import { eventually, within } from '../support/deadline.ts';
import { SILENT_LOG } from '../support/silent-log.ts';
import { PAIR_A } from '../support/test-pairs.ts';

const WAIT_MS = 5000;

type Authorize = Serve<ExitControlMethods>['authorize'];

/** A bridge to a control that answers by `authorize` alone. */
function bridgeTo(t: TestContext, authorize: Authorize) {
  const control = {
    authorize,
    answered: () => undefined,
    request: () => ({ status: 200, headers: { 'content-length': '2' }, body: 'ok' }),
  } as unknown as Serve<ExitControlMethods>;
  const onBug = (error: unknown): void => assert.fail(String(error));
  const { port1, port2 } = new MessageChannel();
  const there = new Bridge<ExitControlMethods, ExitShardMethods>(port2, control, onBug);
  const none = {} as unknown as Serve<ExitShardMethods>;
  const bridge = new Bridge<ExitShardMethods, ExitControlMethods>(port1, none, onBug);
  undoAfter(t, () => {
    bridge.close();
    there.close();
  });
  return bridge;
}

/** A port whose control is `authorize`; the links that it let in. */
async function startPort(
  t: TestContext,
  lists: AllowLists,
  authorize: Authorize,
  tls?: typeof PAIR_A,
) {
  const links: string[] = [];
  const pair = tls && { ...tls, clientCa: undefined };
  const server = createControlPort({
    tls: new ControlPortTls(pair),
    bridge: bridgeTo(t, authorize),
    log: SILENT_LOG,
    isAllowed: (address) => lists.allowsClient(address),
    onLink: ({ socket }, { remoteAddress }) => {
      links.push(remoteAddress);
      undoAfter(t, () => void socket.destroy());
    },
  });
  undoAfter(t, () => {
    server.closeAllConnections();
    server.close();
  });
  server.listen(0, LOOPBACK);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return { url: `ws://${LOOPBACK}:${port}/connect`, links, server, port };
}

/** Settles with what became of a dial. */
function dial(t: TestContext, url: string): Promise<string> {
  return new Promise((resolve) => {
    const giveUp = dialWebSocket(
      { url, token: 't', agent: 'test', ca: undefined },
      {
        onUpgraded: ({ socket }) => {
          undoAfter(t, () => void socket.destroy());
          resolve('upgraded');
        },
        onFailure: ({ code }) => resolve(code),
      },
    );
    undoAfter(t, giveUp);
  });
}

for (const [address, expected, linksCount] of [
  ['127.0.0.0', 'upgraded', 1],
  ['192.0.2.0', 'SLW_DIAL_FAILED', 0],
] as const) {
  test(`a list that comes while control judges the token holds: ${address}/24`, async (t) => {
    const asked = Promise.withResolvers<void>();
    const judged = Promise.withResolvers<{ access: Access }>();
    const lists = new AllowLists({});
    const { url, links } = await startPort(t, lists, () => {
      asked.resolve();
      return judged.promise;
    });
    const outcome = dial(t, url);
    await within(WAIT_MS, 'the question', asked.promise);
    lists.replace({ controlAllowIps: [{ address, prefixBits: 24 }] });
    judged.resolve({ access: 'allowed' });
    assert.equal(await within(WAIT_MS, 'the end of the dial', outcome), expected);
    assert.equal(links.length, linksCount);
  });
}

const ALLOW: Authorize = () => ({ access: 'allowed' });

/** Somebody whom the port has accepted, and who has not spoken yet. */
async function startCaller(t: TestContext, port: number, arrived: Promise<unknown>, isTls = false) {
  const heard: string[] = [];
  const end = Promise.withResolvers<string>();
  const to = { port, host: LOOPBACK };
  const socket: Socket = isTls
    ? connectTls({ ...to, ca: PAIR_A.cert, servername: 'a.test' })
    : connect(to);
  undoAfter(t, () => void socket.destroy());
  socket.setEncoding('latin1').on('data', (text: string) => heard.push(text));
  socket.on('error', ({ message }) => end.resolve(message));
  socket.on('close', () => end.resolve('closed'));
  await within(WAIT_MS, 'a connection', arrived);
  const ask = (): void => void socket.write('GET /healthz HTTP/1.1\r\nHost: a.test\r\n\r\n');
  const ended = within(WAIT_MS, 'its end', end.promise);
  return { socket, ask, ended, heard: () => heard.join('') };
}

for (const [scheme, arrival, pair] of [
  ['HTTP', 'connection', undefined],
  ['TLS', 'secureConnection', PAIR_A],
] as const) {
  test(`whoever has just come is answered when the listener closes: ${scheme}`, async (t) => {
    const { server, port } = await startPort(t, new AllowLists({}), ALLOW, pair);
    const isTls = pair !== undefined;
    const kept = await startCaller(t, port, once(server, arrival), isTls);
    kept.ask();
    await eventually(WAIT_MS, 'an answer', async () => assert.match(kept.heard(), /200 OK.*ok$/su));
    assert.match(kept.heard(), /connection: keep-alive/iu);
    const fresh = await startCaller(t, port, once(server, arrival), isTls);
    server.close();
    assert.equal(await kept.ended, 'closed', 'nothing is asked here any more');
    fresh.ask();
    assert.equal(await fresh.ended, 'closed');
    assert.match(fresh.heard(), /200 OK.*connection: close.*ok$/isu);
  });
}

test('a link begins on a connection that came before the listener closed', async (t) => {
  const asked = Promise.withResolvers<void>();
  const judged = Promise.withResolvers<{ access: Access }>();
  const { url, links, server } = await startPort(t, new AllowLists({}), () => {
    asked.resolve();
    return judged.promise;
  });
  const outcome = dial(t, url);
  await within(WAIT_MS, 'the question', asked.promise);
  server.close();
  judged.resolve({ access: 'allowed' });
  assert.equal(await within(WAIT_MS, 'the end of the dial', outcome), 'upgraded');
  assert.equal(links.length, 1);
});

test('who says nothing does not outlive the listener for long, and a link does', async (t) => {
  const { url, server, port } = await startPort(t, new AllowLists({}), ALLOW);
  assert.equal(await dial(t, url), 'upgraded');
  const silent = await startCaller(t, port, once(server, 'connection'));
  t.mock.timers.enable({ apis: ['setTimeout'] });
  server.close();
  t.mock.timers.tick(CALLER_MS_MAX - 1);
  await new Promise((done) => setImmediate(done));
  assert.equal(silent.socket.readyState, 'open');
  t.mock.timers.tick(1);
  t.mock.timers.reset();
  assert.equal(await silent.ended, 'closed');
  const connections = await new Promise((resolve) => {
    server.getConnections((_error, count) => resolve(count));
  });
  assert.equal(connections, 1, 'the link');
});
