// What a plain socket's handle takes, and whether this Node has handles of that kind.
//
//   writeBuffer(null, bytes), writev(null, pieces, true) --> 0          the kernel has all of it
//                                                        --> below 0    libuv's error
//                                                        --> a request  libuv keeps the rest
//
// Handles are not documented. Since Node 26 its own streams call them like this, without a request
// of their own; before, a null would end the process. So that is looked at first, once a thread, by
// a stream that writes to a handle of ours.
//
// Invariant: a handle is given out only where Node itself calls one the same way. Must not know:
// what is written, or what becomes of it.

import { Socket } from 'node:net';
import { getSystemErrorName } from 'node:util';

/** A write that the kernel has not taken at once. */
export interface WriteRequest {
  /** Keeps the memory until then. */
  buffer?: unknown;
  /** Called once, with 0 or libuv's error. */
  oncomplete?: (status: number) => void;
}

export type WriteResult = number | WriteRequest;

export interface WriteHandle {
  writeBuffer(request: null, bytes: Uint8Array): WriteResult;
  writev(request: null, pieces: readonly Uint8Array[], areBuffers: true): WriteResult;
}

/** What Node's own sockets look at to see a write move. */
interface WriteCounts {
  /** Given to it, by whoever writes. */
  readonly bytesWritten: number;
  /** Of these what waits in it. */
  readonly writeQueueSize: number;
  /** Of TLS: what its records are written to, many in one write. */
  readonly _parent?: WriteHandle & WriteCounts;
}

type HandledSocket = Socket & { readonly _handle?: (WriteHandle & WriteCounts) | null };

/** A write of it ends when all before it was taken, and fails where the peer is gone. */
export const NOTHING = new Uint8Array(0);

/** Can a plain socket be written to past its stream here? */
export const areWritesDirect = looksDirect();

/** The handle of an open plain socket; undefined where its stream must be used. */
export function handleOf(socket: Socket): WriteHandle | undefined {
  return areWritesDirect ? ((socket as HandledSocket)._handle ?? undefined) : undefined;
}

/**
 * What the kernel has taken, also of a write that it has not taken whole; of TLS with the records
 * around it. 0 when the socket is closed.
 */
export function takenBytesOf(socket: Socket): number {
  const handle = (socket as HandledSocket)._handle;
  const counts = handle?._parent ?? handle;
  return counts ? counts.bytesWritten - counts.writeQueueSize : 0;
}

/**
 * A write of nothing to the connection below TLS: libuv's error, or 0, also where it cannot be
 * asked. Not while TLS has a write of its own there: it would take the end of ours for that one's.
 */
export function probeBelowTls(socket: Socket): number {
  const below = (socket as HandledSocket)._handle?._parent;
  if (!areWritesDirect || below?.writeQueueSize !== 0) return 0;
  const result = below.writeBuffer(null, NOTHING);
  return typeof result === 'number' ? result : 0;
}

/** As Node's own for the same failure. */
export function writeError(status: number): NodeJS.ErrnoException {
  const code = getSystemErrorName(status);
  return Object.assign(new Error(`write ${code}`), { code, errno: status, syscall: 'write' });
}

function looksDirect(): boolean {
  let request: unknown;
  const handle = {
    writeBuffer: (given: unknown) => {
      request = given;
      return 0;
    },
    writev: () => 0,
  };
  // Not in the types: how a server hands an accepted connection to its socket.
  const options: unknown = { handle, manualStart: true };
  try {
    const socket = new Socket(options as ConstructorParameters<typeof Socket>[0]);
    socket.on('error', ignoreError);
    socket.write(Buffer.alloc(1));
  } catch {
    return false;
  }
  return request === null;
}

function ignoreError(): void {
  // The handle was none.
}
