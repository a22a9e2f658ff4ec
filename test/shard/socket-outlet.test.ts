import assert from 'node:assert/strict';
import { on, once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { SocketOutlet } from '../../src/shard/socket-outlet.ts';
import { PAIR_A } from '../support/test-pairs.ts';

/** A socket and its peer, which does not read yet. */
async function pair(t: TestContext): Promise<{ near: Socket; far: Socket }> {
  const server = createServer({ pauseOnConnect: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const near = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [far] = (await once(server, 'connection')) as [Socket];
  t.after(() => {
    near.destroy();
    far.destroy();
    server.close();
  });
  return { near, far };
}

/** Fills the socket's way until the kernel takes no more. */
async function stall(near: Socket, outlet: SocketOutlet): Promise<number> {
  let bytes = 0;
  for (let quiet = 0; quiet < 3; ) {
    const before = near.writableLength;
    outlet.write(Buffer.alloc(64 * 1024, 1));
    bytes += 64 * 1024;
    await new Promise((resolve) => setImmediate(resolve));
    quiet = near.writableLength > before ? quiet + 1 : 0;
  }
  return bytes;
}

test('one-byte pieces to a stalled socket wait together, and arrive in order', async (t) => {
  const { near, far } = await pair(t);
  const outlet = new SocketOutlet(near, () => undefined);
  const filled = await stall(near, outlet);
  let writes = 0;
  const write = near.write.bind(near);
  near.write = ((...args: Parameters<typeof write>) => {
    writes += 1;
    return write(...args);
  }) as typeof near.write;
  const queued = outlet.queuedBytes;
  const small = 100_000;
  for (let index = 0; index < small; index += 1) outlet.write(Buffer.from([index % 251]));
  assert.equal(outlet.queuedBytes, queued + small, 'staged bytes count as queued');
  assert.ok(writes <= 10, `${writes} writes for ${small} pieces`);
  outlet.end();
  let received = 0;
  let wrong = 0;
  far.on('data', (piece: Buffer) => {
    for (const byte of piece) {
      if (received >= filled && byte !== (received - filled) % 251) wrong += 1;
      received += 1;
    }
  });
  far.resume();
  await once(far, 'end');
  assert.deepEqual({ received, wrong }, { received: filled + small, wrong: 0 });
});

test('one-byte pieces wait together from the first on, also while the socket dials', async (t) => {
  const { near, far } = await pair(t);
  if (near.connecting) await once(near, 'connect');
  const dialled = connect((far.address() as AddressInfo).port, '127.0.0.1');
  t.after(() => dialled.destroy());
  for (const socket of [near, dialled]) {
    const outlet = new SocketOutlet(socket, () => undefined);
    for (let sent = 0; outlet.queuedBytes < 100; sent += 1) {
      assert.ok(sent < 10_000_000, 'the kernel takes all');
      outlet.write(Buffer.alloc(512));
    }
    let writes = 0;
    const write = socket.write.bind(socket);
    socket.write = ((...args: Parameters<typeof write>) => {
      writes += 1;
      return write(...args);
    }) as typeof socket.write;
    const piece = Buffer.from('x');
    for (let index = 0; index < 16_000; index += 1) outlet.write(piece);
    // What is gathered before a dial is connected is 64 pieces at most.
    assert.ok(writes <= (socket === dialled ? 64 : 1), `${writes} writes for 16,000 pieces`);
  }
});

test('what is written behind what others have written leaves by itself', async (t) => {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const near = connect((server.address() as AddressInfo).port, '127.0.0.1');
  t.after(() => {
    near.destroy();
    server.close();
  });
  const outlet = new SocketOutlet(near, () => undefined);
  near.write('header');
  for (const piece of ['a', 'b', 'c']) outlet.write(Buffer.from(piece));
  const [far] = (await once(server, 'connection')) as [Socket];
  t.after(() => far.destroy());
  let text = '';
  for await (const [piece] of on(far, 'data')) {
    text += String(piece);
    if (text.length >= 9) break;
  }
  assert.equal(text, 'headerabc');
});

test('what is staged leaves by itself when the socket moves again, without an end', async (t) => {
  const { near, far } = await pair(t);
  const outlet = new SocketOutlet(near, () => undefined);
  const filled = await stall(near, outlet);
  for (let index = 0; index < 10; index += 1) outlet.write(Buffer.from('z'));
  let received = 0;
  const whole = new Promise<void>((resolve) => {
    far.on('data', (piece: Buffer) => {
      received += piece.length;
      if (received === filled + 10) resolve();
    });
  });
  far.resume();
  await whole;
  assert.equal(outlet.queuedBytes, 0);
});

test('pieces to a socket that moves are written as they come', async (t) => {
  const { near, far } = await pair(t);
  let taken = 0;
  const outlet = new SocketOutlet(near, () => {
    taken += 1;
  });
  far.resume();
  outlet.write(Buffer.from('a'));
  outlet.write(Buffer.from('b'));
  const [first] = await once(far, 'data');
  assert.ok(String(first).startsWith('a'));
  assert.ok(taken > 0, 'told when the kernel has taken bytes');
});

test('a head that is gathered leaves with the body behind it, in one call', async (t) => {
  const { near, far } = await pair(t);
  if (near.connecting) await once(near, 'connect');
  const outlet = new SocketOutlet(near, () => undefined);
  const calls: string[] = [];
  const handle: Record<string, (...args: unknown[]) => unknown> = Reflect.get(near, '_handle');
  for (const name of ['writeBuffer', 'writev']) {
    const call = handle[name];
    handle[name] = (...args) => {
      calls.push(name);
      return call?.apply(handle, args);
    };
  }
  outlet.gather(Buffer.from('head'));
  outlet.write(Buffer.alloc(10_000, 'b'));
  outlet.write(Buffer.from('end'));
  assert.deepEqual(calls, []);
  outlet.end();
  let text = '';
  far.on('data', (piece: Buffer) => {
    text += piece.toString();
  });
  far.resume();
  await once(far, 'end');
  assert.equal(text, `head${'b'.repeat(10_000)}end`);
  assert.deepEqual(calls, ['writev']);
});

/** The same over TLS. */
async function securePair(t: TestContext): Promise<{ near: Socket; far: Socket }> {
  const server = tls.createServer({ ...PAIR_A });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const accepted = once(server, 'secureConnection') as Promise<[Socket]>;
  const far = tls.connect({ port, host: '127.0.0.1', ca: PAIR_A.cert, servername: 'a.test' });
  far.pause();
  const [near] = await accepted;
  t.after(() => {
    near.destroy();
    far.destroy();
    server.close();
  });
  return { near, far };
}

for (const [over, create] of [
  ['TCP', pair],
  ['TLS', securePair],
] as const) {
  test(`tells what the kernel takes of one long piece that still waits, over ${over}`, async (t) => {
    const { near, far } = await create(t);
    const outlet = new SocketOutlet(near, () => undefined);
    const bytes = 32 * 1024 * 1024;
    const still = async (): Promise<number> => {
      let seen = Number.NaN;
      for (let quiet = 0; quiet < 300; quiet += 1) {
        if (outlet.takenBytes !== seen) quiet = 0;
        seen = outlet.takenBytes;
        await new Promise((resolve) => setImmediate(resolve));
      }
      return seen;
    };
    outlet.write(Buffer.alloc(bytes));
    const before = await still();
    const queued = outlet.queuedBytes;
    outlet.write(Buffer.alloc(64 * 1024));
    assert.equal(await still(), before, 'what comes behind is not taken');
    let received = 0;
    far.on('data', (piece: Buffer) => {
      received += piece.length;
      if (outlet.takenBytes !== before) far.pause();
    });
    far.resume();
    while (outlet.takenBytes === before) await new Promise((resolve) => setImmediate(resolve));
    assert.ok(outlet.queuedBytes >= queued, 'the piece as a whole waits as before');
    assert.ok(received < bytes);
  });
}
