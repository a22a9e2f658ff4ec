// A relay that puts a round trip between the two ends, for loopback has none.
//
// A process of its own: arguments are target port and round trip in milliseconds; sends its port to
// the parent. Each piece is passed on half a round trip after it came, in order, an end too. There
// is no loss, and TCP itself sees loopback: what this shows is windows above TCP, not its own.
// Invariant: at most QUEUE_BYTES_MAX wait in one direction, then the sender is paused.

import { connect, createServer, type Socket } from 'node:net';

const [target = 0, roundTripMs = 0] = process.argv.slice(2).map(Number);
const oneWayMs = roundTripMs / 2;
/** 1.2 GB/s at 100 ms one way: no tunnel is held back by it on two cores. */
const QUEUE_BYTES_MAX = 128 * 1024 * 1024;

interface Piece {
  readonly dueMs: number;
  readonly bytes: Buffer | undefined;
}

const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
  const far = connect({ port: target, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
  carry(near, far);
  carry(far, near);
  near.on('error', () => far.destroy());
  far.on('error', () => near.destroy());
  near.on('close', () => far.destroy());
  far.on('close', () => near.destroy());
});

function carry(from: Socket, to: Socket): void {
  let queue: Piece[] = [];
  let waiting = 0;
  let isBlocked = false;
  let timer: NodeJS.Timeout | undefined;
  const pass = (): void => {
    timer = undefined;
    if (isBlocked || to.destroyed) return;
    const nowMs = performance.now();
    let count = 0;
    for (const { dueMs, bytes } of queue) {
      if (dueMs > nowMs || isBlocked) break;
      count += 1;
      if (bytes === undefined) to.end();
      else {
        waiting -= bytes.length;
        isBlocked = !to.write(bytes);
      }
    }
    queue = queue.slice(count);
    if (waiting < QUEUE_BYTES_MAX && from.isPaused()) from.resume();
    const next = queue[0];
    if (next !== undefined && !isBlocked) {
      timer = setTimeout(pass, Math.max(1, next.dueMs - performance.now()));
    }
  };
  const add = (bytes: Buffer | undefined): void => {
    queue.push({ dueMs: performance.now() + oneWayMs, bytes });
    timer ??= setTimeout(pass, oneWayMs);
  };
  from.on('data', (bytes: Buffer) => {
    waiting += bytes.length;
    if (waiting >= QUEUE_BYTES_MAX) from.pause();
    add(bytes);
  });
  from.on('end', () => add(undefined));
  to.on('drain', () => {
    isBlocked = false;
    // What came meanwhile has set the timer for itself; what is before it is due already.
    clearTimeout(timer);
    pass();
  });
}

server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  process.send?.(address !== null && typeof address === 'object' ? address.port : 0);
});
process.on('disconnect', () => process.exit(0));
