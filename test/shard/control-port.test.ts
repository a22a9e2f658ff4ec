// Goal: who may come by the control port is judged by what holds when the link begins, not by what
// held when it was asked for. Method: a real port and a dial; control answers when the test says.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { MessageChannel } from 'node:worker_threads';
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
import { within } from '../support/deadline.ts';
import { SILENT_LOG } from '../support/silent-log.ts';

const WAIT_MS = 5000;

type Authorize = Serve<ExitControlMethods>['authorize'];

/** A bridge to a control that answers by `authorize` alone. */
function bridgeTo(t: TestContext, authorize: Authorize) {
  const control = { authorize, answered: () => undefined } as unknown as Serve<ExitControlMethods>;
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
async function startPort(t: TestContext, lists: AllowLists, authorize: Authorize) {
  const links: string[] = [];
  const server = createControlPort({
    tls: new ControlPortTls(undefined),
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
  return { url: `ws://${LOOPBACK}:${port}/connect`, links };
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
