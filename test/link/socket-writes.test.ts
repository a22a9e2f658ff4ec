// Goal: what is written arrives once and in order, past the stream and behind it; a loan comes back
// once, whatever becomes of the socket; a cut never looks like an end. Method: real sockets over
// loopback whose peer reads late, and the same tests once more where the stream must do it all.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { readPool } from '../../src/base/read-pool.ts';
import { SocketWrites } from '../../src/link/socket-writes.ts';
import { areWritesDirect } from '../../src/link/write-handle.ts';
import { createSocketPair } from '../shard/socket-pair.ts';
import { undoAfter } from '../support/cleanup.ts';
import { eventually, within } from '../support/deadline.ts';

const KIB = 1024;
/** Set in the run that has no handles. */
const BY_STREAM = process.env.SLUICEWAY_TEST_BY_STREAM === '1';

interface Pair {
  readonly near: Socket;
  readonly far: Socket;
  readonly writes: SocketWrites;
  /** Calls of `onTaken`. */
  taken: number;
}

async function pair(t: TestContext): Promise<Pair> {
  const { ours: near, theirs: far } = await createSocketPair(t);
  const made: Pair = {
    near,
    far,
    writes: new SocketWrites(near, () => {
      made.taken += 1;
    }),
    taken: 0,
  };
  near.on('error', () => undefined);
  far.on('error', () => undefined);
  far.pause();
  return made;
}

/** A piece on loan, of `bytes` bytes of `fill`. */
function lent(bytes: number, fill: number): Buffer {
  const piece = readPool.lend(readPool.take(), bytes);
  piece.fill(fill);
  return piece;
}

/** Writes until something waits; the bytes. */
async function stall({ writes }: Pair): Promise<number> {
  let bytes = 0;
  while (writes.queuedBytes === 0) {
    writes.write(lent(64 * KIB, 1));
    bytes += 64 * KIB;
    if (BY_STREAM) await new Promise((resolve) => setImmediate(resolve));
  }
  return bytes;
}

async function readAll(far: Socket): Promise<Buffer> {
  const pieces: Buffer[] = [];
  far.on('data', (piece: Buffer) => pieces.push(piece));
  far.resume();
  await once(far, 'end');
  return Buffer.concat(pieces);
}

test('the Node that tests run on has handles that can be written to', () => {
  assert.equal(areWritesDirect, !BY_STREAM);
});

test('what the kernel takes at once never meets the stream, and is free again', async (t) => {
  const { near, far, writes } = await pair(t);
  const lentBefore = readPool.lentCount;
  let streamed = 0;
  const write = near.write.bind(near);
  near.write = ((...args: Parameters<typeof write>) => {
    streamed += 1;
    return write(...args);
  }) as typeof near.write;
  assert.equal(writes.write(Buffer.from('a')), true);
  assert.equal(writes.write(lent(20 * KIB, 0x62)), true);
  writes.writeBoth(Buffer.from('c'), Buffer.from('d'));
  assert.equal(writes.queuedBytes, 0);
  assert.equal(readPool.lentCount, lentBefore);
  if (!BY_STREAM) assert.equal(streamed, 0);
  writes.end();
  assert.equal(String(await readAll(far)), `a${'b'.repeat(20 * KIB)}cd`);
});

test('behind what waits all is in order, with what others write, and then the FIN', async (t) => {
  const made = await pair(t);
  const { near, far, writes } = made;
  const lentBefore = readPool.lentCount;
  const filled = await stall(made);
  assert.equal(writes.write(Buffer.from('x')), false);
  near.write('-stream-');
  writes.gather(lent(10, 0x79));
  writes.gather(Buffer.from('g'));
  assert.equal(writes.write(Buffer.from('z')), false);
  writes.end(Buffer.from('!'));
  assert.equal(writes.isEnded, true);
  const all = await readAll(far);
  assert.equal(String(all.subarray(filled)), `x-stream-${'y'.repeat(10)}gz!`);
  assert.equal(readPool.lentCount, lentBefore);
  assert.equal(writes.queuedBytes, 0);
  assert.ok(made.taken > 0, 'told when it was taken');
});

test('pieces that are gathered leave together, the last of a long list too', async (t) => {
  const made = await pair(t);
  const { near, far, writes } = made;
  let calls = 0;
  const handle: { writev: (...args: unknown[]) => unknown } = Reflect.get(near, '_handle');
  const { writev } = handle;
  handle.writev = (...args) => {
    calls += 1;
    return writev.apply(handle, args);
  };
  writes.gather(Buffer.from('a'));
  assert.equal(writes.queuedBytes, 1);
  writes.gather(Buffer.from('b'));
  assert.equal(writes.write(Buffer.from('c')), false, 'behind them');
  assert.equal(writes.queuedBytes, 3);
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual({ calls, queued: writes.queuedBytes }, { calls: 1, queued: 0 });
  assert.ok(made.taken > 0);
  for (let index = 0; index < 1000; index += 1) writes.gather(Buffer.from('d'));
  if (!BY_STREAM) assert.ok(writes.queuedBytes < 100, 'a list has an end');
  writes.end();
  assert.equal(String(await readAll(far)), `abc${'d'.repeat(1000)}`);
});

/** A byte of a read that others have used up but for that. */
function crumb(fill: number): Buffer {
  const read = lent(20_000, fill);
  readPool.release(read, read.length - 1);
  return read.subarray(0, 1);
}

test('single bytes that wait do not keep the reads that they came in', async (t) => {
  const made = await pair(t);
  const { far, writes } = made;
  const filled = await stall(made);
  const before = readPool.lentCount;
  for (let index = 0; index < 100; index += 1) writes.write(crumb(index));
  for (let index = 100; index < 200; index += 1) writes.gather(crumb(index));
  writes.flush();
  assert.equal(readPool.lentCount, before, 'reads that wait for one byte');
  writes.end();
  const rest = (await readAll(far)).subarray(filled);
  assert.deepEqual(
    [...rest],
    Array.from({ length: 200 }, (_, index) => index),
  );
});

test('a reset cuts what waits, also behind a FIN that was asked for', async (t) => {
  const made = await pair(t);
  const { near, far, writes } = made;
  const lentBefore = readPool.lentCount;
  await stall(made);
  writes.end();
  near.resetAndDestroy();
  let isEnded = false;
  far.on('end', () => {
    isEnded = true;
  });
  far.resume();
  const [error] = await within(5000, 'a reset', once(far, 'error'));
  assert.equal((error as NodeJS.ErrnoException).code, 'ECONNRESET');
  assert.equal(isEnded, false);
  await eventually(1000, 'loans are back', async () => {
    assert.equal(readPool.lentCount, lentBefore);
  });
});

test('an end that destroys waits for what waits', async (t) => {
  const made = await pair(t);
  const { near, far, writes } = made;
  const filled = await stall(made);
  writes.destroySoon();
  assert.equal(near.destroyed, false);
  assert.equal((await readAll(far)).length, filled);
  await eventually(1000, 'the socket is gone', async () => assert.equal(near.destroyed, true));
});

test('a peer that is gone ends the socket with its error, and loans come back', async (t) => {
  const { near, far, writes } = await pair(t);
  const lentBefore = readPool.lentCount;
  const failed = once(near, 'error');
  // libuv closes it within the call, and over loopback its reset is here when that returns.
  far.resetAndDestroy();
  assert.equal(writes.write(lent(100, 1)), BY_STREAM, 'a stream does not say it at once');
  const [error] = await failed;
  assert.match(String((error as NodeJS.ErrnoException).code), /^(EPIPE|ECONNRESET)$/u);
  assert.equal((error as NodeJS.ErrnoException).syscall, 'write');
  writes.write(lent(100, 1));
  writes.gather(lent(100, 1));
  await eventually(1000, 'loans are back', async () => {
    assert.equal(readPool.lentCount, lentBefore);
  });
});

test('whoever asks for it reads what a peer said before it went', {
  skip: BY_STREAM,
}, async (t) => {
  const { near, far, writes } = await pair(t);
  const lentBefore = readPool.lentCount;
  writes.afterError = 'read';
  let read = '';
  let brokenAtEnd: boolean | undefined;
  near.on('data', (piece) => {
    read += String(piece);
  });
  near.on('end', () => {
    brokenAtEnd = writes.isBroken;
  });
  const failed = once(near, 'error');
  far.write('last words');
  far.resetAndDestroy();
  assert.equal(writes.write(lent(100, 1)), false);
  assert.deepEqual([near.destroyed, writes.isBroken], [false, true]);
  writes.gather(lent(100, 1));
  writes.writeBoth(Buffer.from('a'), lent(100, 1));
  writes.end(lent(100, 1));
  assert.equal(readPool.lentCount, lentBefore, 'loans are back');
  assert.equal(writes.queuedBytes, 401, 'what is lost is never taken');
  const [error] = await failed;
  assert.match(String((error as NodeJS.ErrnoException).code), /^(EPIPE|ECONNRESET)$/u);
  assert.equal(read, 'last words');
  // Or the read said it, before any end.
  assert.notEqual(brokenAtEnd, false);
});

test('a socket that would be read on is gone when it shall be destroyed', {
  skip: BY_STREAM,
}, async (t) => {
  const { near, far, writes } = await pair(t);
  writes.afterError = 'read';
  near.pause();
  far.resetAndDestroy();
  writes.write(lent(100, 1));
  assert.equal(near.destroyed, false);
  writes.destroySoon();
  assert.equal(near.destroyed, true);
});

test('before it is connected a socket keeps all for later', async (t) => {
  const { connect, createServer } = await import('node:net');
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  const near = connect(address.port, '127.0.0.1');
  undoAfter(t, async () => {
    near.destroy();
    server.close();
  });
  const writes = new SocketWrites(near, () => undefined);
  const before = readPool.lentCount;
  writes.write(crumb(0x61));
  assert.equal(readPool.lentCount, before, 'a read that waits for the connect');
  writes.writeBoth(Buffer.from('b'), Buffer.from('c'));
  writes.gather(Buffer.from('d'));
  writes.end();
  const [far] = (await once(server, 'connection')) as [Socket];
  assert.equal(String(await readAll(far)), 'abcd');
});

test('a Node without such handles does all of it by streams', { skip: BY_STREAM }, () => {
  // As Node before 26: a handle gets a request of the stream's.
  const older = `import net from 'node:net';
    const write = net.Socket.prototype._write;
    net.Socket.prototype._write = function (data, encoding, done) {
      if (typeof this._handle?.readStart === 'function') return write.call(this, data, encoding, done);
      this._handle?.writeBuffer({}, data);
      done();
    };`;
  const patch = `data:text/javascript,${encodeURIComponent(older)}`;
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--import', patch, '--test', '--test-reporter=tap', import.meta.filename],
    { env: { ...env, SLUICEWAY_TEST_BY_STREAM: '1' }, encoding: 'utf8' },
  );
  assert.equal(status, 0, stdout + stderr);
  assert.match(stdout, /^# pass 9$/mu);
});
