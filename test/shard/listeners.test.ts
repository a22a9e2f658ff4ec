// Goal: a listener is open under one name, gone when closed, and refused with the reason when it
// cannot be. Method: real ports of loopback.

import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { SluicewayError } from '../../src/base/errors.ts';
import type { Listening, ListenRequest } from '../../src/bridge/exit-messages.ts';
import { Listeners } from '../../src/shard/listeners.ts';
import { Meters } from '../../src/shard/meters.ts';
import { within } from '../support/deadline.ts';
import { connectTo } from '../support/upstream.ts';
import { endOf } from './socket-pair.ts';

const WAIT_MS = 5000;

function createListeners(t: TestContext): Listeners {
  const meters = new Meters();
  const listeners = new Listeners(meters);
  t.after(() => {
    listeners.cutAll();
    listeners.closeAll();
    meters.close();
  });
  return listeners;
}

function request(name: string, changes: Partial<ListenRequest> = {}): ListenRequest {
  return { name, host: '127.0.0.1', port: 0, reusePort: false, ...changes };
}

/** Greets and keeps the connection. */
function greet(socket: net.Socket): void {
  socket.on('error', () => {
    // Cut by the test.
  });
  socket.write('hello');
}

/** The port at which a listener opens. */
async function portOf(opening: Promise<Listening>): Promise<number> {
  return (await opening).port;
}

async function codeOf(opening: Promise<Listening>): Promise<string> {
  const error: unknown = await opening.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof SluicewayError, String(error));
  return error.code;
}

test('hands each connection over, half-open allowed, and tells its port', async (t) => {
  const listeners = createListeners(t);
  const accepted = Promise.withResolvers<net.Socket>();
  const port = await portOf(listeners.open(request('tcp:1'), accepted.resolve));
  assert.ok(port > 0);
  await connectTo(t, port);
  const socket = await accepted.promise;
  assert.equal(socket.allowHalfOpen, true);
  socket.destroy();
});

test('a name is open once: asking again, before or after it is, tells the same port', async (t) => {
  const listeners = createListeners(t);
  const first = listeners.open(request('http'), greet);
  const second = listeners.open(request('http'), greet);
  const port = await portOf(first);
  assert.equal(await portOf(second), port);
  assert.equal(await portOf(listeners.open(request('http'), greet)), port);
  listeners.close('http');
  assert.notEqual(
    await portOf(listeners.open(request('http', { port }), greet)),
    0,
    'and free again',
  );
});

test('a port in use, or an address that is not ours, is refused with its reason', async (t) => {
  const listeners = createListeners(t);
  const port = await portOf(listeners.open(request('tcp:1'), greet));
  const taken = listeners.open(request('tcp:2', { port }), greet);
  assert.equal(await codeOf(taken), 'SLW_TUNNEL_PORT_TAKEN');
  const foreign = listeners.open(request('tcp:2', { host: '192.0.2.1' }), greet);
  assert.equal(await codeOf(foreign), 'SLW_LISTEN_FAILED');
  // A failed listen leaves its name free.
  assert.ok((await portOf(listeners.open(request('tcp:2'), greet))) > 0);
});

test('one that fails when its name is open anew leaves that alone', async (t) => {
  const listeners = createListeners(t);
  const file = openSync(import.meta.filename, 'r');
  // Node says a turn later that this is no socket.
  const failing = codeOf(listeners.open(request('tcp:1', { inherited: [file] }), greet));
  listeners.close('tcp:1');
  const opening = listeners.open(request('tcp:1'), greet);
  assert.equal(await within(WAIT_MS, 'a refusal', failing), 'SLW_LISTEN_FAILED');
  closeSync(file);
  await connectTo(t, await within(WAIT_MS, 'the newer opens', portOf(opening)));
});

test('several listeners share a port when each asks to', async (t) => {
  const [one, two] = [createListeners(t), createListeners(t)];
  const port = await portOf(one.open(request('http', { reusePort: true }), greet));
  assert.equal(await portOf(two.open(request('http', { port, reusePort: true }), greet)), port);
  assert.equal(
    await codeOf(createListeners(t).open(request('http', { port }), greet)),
    'SLW_TUNNEL_PORT_TAKEN',
  );
});

test('a closed listener frees its name and port; its connections live on', async (t) => {
  const listeners = createListeners(t);
  const port = await portOf(listeners.open(request('tcp:1'), greet));
  const visitor = await connectTo(t, port);
  listeners.close('tcp:1');
  listeners.close('tcp:1');
  listeners.close('never opened');
  await assert.rejects(connectTo(t, port), { code: 'ECONNREFUSED' });
  assert.equal(await portOf(listeners.open(request('tcp:1', { port }), greet)), port);
  assert.equal(visitor.destroyed, false);
});

test('no server is made for a name that is open, for whoever makes it goes on with that', async (t) => {
  const listeners = createListeners(t);
  const made: net.Server[] = [];
  const create = (): net.Server => {
    const server = net.createServer();
    made.push(server);
    return server;
  };
  const port = await portOf(listeners.add(request('control'), create));
  assert.equal(await portOf(listeners.add(request('control'), create)), port);
  assert.deepEqual(
    made.map((server) => server.listening),
    [true],
  );
  listeners.close('control');
  assert.equal(await portOf(listeners.add(request('control', { port }), create)), port);
  assert.equal(made.length, 2);
});

test('cutAll resets every connection that is open', async (t) => {
  const listeners = createListeners(t);
  const ports = [
    await portOf(listeners.open(request('tcp:1'), greet)),
    await portOf(listeners.open(request('http'), greet)),
  ];
  const visitors = await Promise.all(ports.map((port) => connectTo(t, port)));
  const ends = visitors.map(endOf);
  await Promise.all(visitors.map((visitor) => new Promise((done) => visitor.once('data', done))));
  listeners.cutAll();
  for (const { how } of await Promise.all(ends)) assert.equal(how, 'ECONNRESET');
});
