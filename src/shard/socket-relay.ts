// Joins one socket and one stream, for raw bytes: TCP visitors, and every upstream.
//
//   socket --data--> stream.write        stream --onData--> socket.write --taken--> stream.consumed
//
// Invariant: a FIN travels per direction; a reset, an error or a lost link on one side resets the
// other and never looks like a clean end; bytes are consumed when the kernel has taken them. One
// closure a relay and none a piece. Must not know: who dialled whom, or HTTP.

import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { type ErrorCode, SluicewayError } from '../base/errors.ts';
import { readPool } from '../base/read-pool.ts';
import type { Roster, Seat } from '../base/roster.ts';
import { type ReadSink, SocketReads } from '../link/socket-reads.ts';
import type { Stream, StreamSink } from '../mux/stream.ts';
import { KeepAlive } from './keep-alive.ts';
import type { Holding } from './orphaned-bytes.ts';
import { isUnseen } from './sent-request.ts';
import { SocketOutlet } from './socket-outlet.ts';

/** While the other side takes nothing: as often as TCP keep-alive asks the peer (keep-alive.ts). */
const PROBE_INTERVAL_MS = 60_000;

export interface RelayLimits {
  /** No byte either way for so long ends it; 0 is off. */
  readonly tcpIdleTimeoutMs: number;
  /** One direction ended and the other silent for so long. */
  readonly halfCloseTimeoutMs: number;
  /** A dial must connect within this. */
  readonly upstreamConnectTimeoutMs: number;
}

/** What waits at a visitor's socket of what was exchanged before it was switched to raw bytes. */
export interface Before {
  /** Of the relay's own stream. */
  readonly heldBytes: number;
  /** Of streams before that: told how many bytes wait at the socket whenever some were taken. */
  readonly owed: { settle(queuedBytes: number): void } | undefined;
}

/** How a relay ended, and what it carried: in from the socket, out to it. */
export interface RelayEnd {
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** SLW_NONE for cleanly. */
  readonly code: ErrorCode;
}

/** An error of the socket, or a code of ours where the time was up. */
export type DialFailure = NodeJS.ErrnoException | ErrorCode;

/** `dialling` until the upstream answers; a visitor's socket is `open` from the start; `finished`
 * when both directions have ended and all is with the kernel. */
type RelayState = 'dialling' | 'open' | 'finished' | 'closed';

export interface RelayOptions {
  readonly socket: Socket;
  /** Of whoever wrote to the socket so far; absent: nobody has. */
  readonly outlet?: SocketOutlet;
  readonly before?: Before;
  readonly limits: RelayLimits;
  readonly state: 'dialling' | 'open';
  readonly nowMs: number;
  /** All relays of the shard, for `sweep`. */
  readonly relays: Roster<SocketRelay>;
  /** Gives another stream when one was given up unanswered, before any byte but those that `begin`
   * was given; asked for each, until it has none. */
  readonly reopen?: ((code: ErrorCode) => Stream | undefined) | undefined;
  /** Called before that, each time, also when too much was said for another stream to follow. */
  readonly onGivenUp?: ((code: ErrorCode) => void) | undefined;
  /** Called once, when what was dialled is not reached. */
  readonly onDialFailed?: ((why: DialFailure) => void) | undefined;
  /** Called once, when the socket is gone. */
  readonly onEnd?: ((end: RelayEnd) => void) | undefined;
}

export class SocketRelay implements StreamSink, ReadSink, Holding {
  readonly #socket: Socket;
  readonly #outlet: SocketOutlet;
  readonly #keepAlive: KeepAlive;
  readonly #limits: RelayLimits;
  readonly #seat: Seat<SocketRelay>;
  #stream: Stream | undefined;
  #state: RelayState;
  /** Bytes that came from the stream, and how many of them the socket has taken: below zero while
   * some from before the relay are to be. */
  #receivedBytes = 0;
  #takenBytes: number;
  readonly #owed: Before['owed'];
  /** As `hasMoved` last saw it. */
  #movedBytes = -1;
  #sentBytes = 0;
  /** Activity as of the last sweep; while `dialling` the beginning of that. */
  #seenBytes = -1;
  #activeMs: number;
  #probedMs: number;
  #reopen: RelayOptions['reopen'];
  readonly #onGivenUp: RelayOptions['onGivenUp'];
  /** While another stream may follow, what that one has to be sent first. */
  #first: Buffer | undefined;
  readonly #onDialFailed: RelayOptions['onDialFailed'];
  readonly #onEnd: ((end: RelayEnd) => void) | undefined;
  #endCode: ErrorCode = 'SLW_NONE';

  constructor(options: RelayOptions) {
    this.#socket = options.socket;
    this.#takenBytes = -(options.before?.heldBytes ?? 0);
    this.#owed = options.before?.owed;
    const onTaken = (): void => this.#settle();
    this.#outlet = options.outlet ?? new SocketOutlet(options.socket, onTaken);
    this.#outlet.onTaken = onTaken;
    this.#outlet.readAfterError();
    this.#keepAlive = new KeepAlive(options.socket, options.nowMs);
    this.#limits = options.limits;
    this.#state = options.state;
    this.#activeMs = options.nowMs;
    this.#probedMs = options.nowMs;
    this.#reopen = options.reopen;
    this.#onGivenUp = options.onGivenUp;
    this.#onDialFailed = options.onDialFailed;
    this.#onEnd = options.onEnd;
    this.#seat = options.relays.enter(this);
    const socket = options.socket;
    socket.on('error', (error: NodeJS.ErrnoException) => this.#onError(error));
    socket.on('close', () => this.#onClose());
  }

  /**
   * Begins to carry. The socket must be `allowHalfOpen`; `reads` is whoever reads it so far.
   * Returns who reads it now.
   */
  join(stream: Stream, reads?: SocketReads): SocketReads {
    this.#stream = stream;
    const socket = this.#socket;
    // Over TLS nobody is known to be there before the certificate was verified.
    const connected = socket instanceof TLSSocket ? 'secureConnect' : 'connect';
    if (this.#state === 'dialling') socket.on(connected, () => this.#onConnect());
    const own = reads ?? new SocketReads(socket, this);
    own.sink = this;
    socket.on('end', () => {
      if (!this.#outlet.isBroken) this.#stream?.end();
    });
    if (reads === undefined && socket.isPaused()) socket.resume();
    return own;
  }

  /** What was read before; the stream that follows an unanswered one is sent it, too. */
  begin(first: Buffer): void {
    // A copy, as the first stream gives the bytes to others, or to another thread.
    if (this.#reopen !== undefined) this.#first = Buffer.from(first);
    this.onRead(first);
  }

  onOpened(): void {
    // Whoever was answered may have been given something by this stream: another one's bytes do not
    // follow.
    this.#reopen = undefined;
    this.#first = undefined;
  }

  onData(piece: Buffer): void {
    this.#receivedBytes += piece.length;
    this.#outlet.write(piece);
  }

  onFin(): void {
    if (!this.#mayClose) {
      this.#outlet.end();
      return;
    }
    this.#state = 'finished';
    this.#socket.destroy();
  }

  /**
   * The other direction has ended and nothing waits: to close says FIN, too, without the request,
   * the ticks and the system call of an end. Not over TLS, whose end has to be said first.
   */
  get #mayClose(): boolean {
    const isLast = this.#state === 'open' && this.#socket.readableEnded;
    return isLast && this.#outlet.queuedBytes === 0 && !(this.#socket instanceof TLSSocket);
  }

  onReset(code: ErrorCode): void {
    const isKept = this.#keepsEnd();
    if (!isKept) this.#stream = this.#openAgain(code);
    if (!isKept && this.#stream !== undefined) return;
    this.#endCode = code;
    // All that the peer had to say has come, FIN included: let the socket take it. Not for want of
    // memory here, which is what waits for the socket.
    const mayFinish = this.#outlet.isEnded && (isKept || code !== 'SLW_STREAM_MEMORY');
    if (mayFinish) this.#outlet.destroySoon();
    else cutSocket(this.#socket);
  }

  /** Does all that the stream has brought stay on its account until the socket has taken it? */
  #keepsEnd(): boolean {
    if (!this.#outlet.isEnded) return false;
    this.#settle();
    const heldBytes = this.#receivedBytes - this.#takenBytes;
    return heldBytes > 0 && this.#stream?.keep(heldBytes) === true;
  }

  /** The upstream was not reached, and all that was said is here: another may be. */
  #openAgain(code: ErrorCode): Stream | undefined {
    const reopen = this.#reopen;
    const first = this.#first;
    if (reopen === undefined || !isUnseen(code)) return undefined;
    this.#onGivenUp?.(code);
    if (this.#sentBytes > (first?.length ?? 0)) return undefined;
    const stream = reopen(code);
    if (first !== undefined && stream !== undefined) {
      // The one before may have had no room for it. A copy, as this one may be given up, too.
      if (stream.write(Buffer.from(first))) this.#socket.resume();
      else this.#socket.pause();
    }
    if (this.#socket.readableEnded) stream?.end();
    return stream;
  }

  onWritable(): void {
    this.#socket.resume();
  }

  onRead(piece: Buffer): void {
    this.#sentBytes += piece.length;
    if (this.#stream === undefined) readPool.release(piece, piece.length);
    else if (!this.#stream.write(piece)) this.#socket.pause();
  }

  /** About once a second: deadlines. */
  sweep(nowMs: number): void {
    this.#keepAlive.sweep(nowMs);
    // A byte counts when it comes, and once more when it goes on.
    const goneBytes = this.#takenBytes + this.#sentBytes - (this.#stream?.queuedBytes ?? 0);
    const bytes = this.#receivedBytes + this.#sentBytes + goneBytes;
    // What a visitor sends meanwhile brings no upstream nearer.
    if (bytes !== this.#seenBytes && this.#state !== 'dialling') {
      this.#seenBytes = bytes;
      this.#activeMs = nowMs;
      return;
    }
    const code = this.#overdue(nowMs - this.#activeMs);
    if (code !== undefined) {
      if (this.#state === 'dialling') this.#onDialFailed?.(code);
      this.abort(code);
    } else if (this.#socket.isPaused()) this.#probe(nowMs);
  }

  /**
   * Who has gone may have left an answer in the kernel, which is lost with the socket: nobody who
   * has it taken, however slowly, is asked for it.
   */
  #probe(nowMs: number): void {
    if (nowMs - Math.max(this.#activeMs, this.#probedMs) < PROBE_INTERVAL_MS) return;
    this.#probedMs = nowMs;
    this.#outlet.probe();
  }

  /** What waits at the socket behind a session that has ended. */
  get orphanedBytes(): number {
    const heldBytes = this.#receivedBytes - this.#takenBytes;
    if (heldBytes <= 0 || this.#state === 'closed') return 0;
    return this.#stream?.accountsFor(heldBytes) === true ? 0 : heldBytes;
  }

  get holder(): this {
    return this;
  }

  hasMoved(): boolean {
    const hasMoved = this.#takenBytes > this.#movedBytes;
    this.#movedBytes = this.#takenBytes;
    return hasMoved;
  }

  giveBack(): void {
    this.abort('SLW_STREAM_MEMORY');
  }

  /** Ends both sides now, as `code` says. */
  abort(code: ErrorCode): void {
    this.#stream?.reset(code);
    this.#stream = undefined;
    this.#endCode = code;
    this.cut();
  }

  /** Resets the socket alone. */
  cut(): void {
    cutSocket(this.#socket);
  }

  /** What waits in this process is lost: a FIN behind what the kernel has would hide it. */
  cutUnsent(): void {
    if (this.#outlet.queuedBytes > 0) this.cut();
  }

  #overdue(idleMs: number): ErrorCode | undefined {
    const { tcpIdleTimeoutMs, halfCloseTimeoutMs, upstreamConnectTimeoutMs } = this.#limits;
    if (this.#state === 'dialling') {
      return idleMs >= upstreamConnectTimeoutMs ? 'SLW_STREAM_CONNECT_TIMEOUT' : undefined;
    }
    if (tcpIdleTimeoutMs > 0 && idleMs >= tcpIdleTimeoutMs) return 'SLW_STREAM_IDLE';
    const { isEnded, isBroken } = this.#outlet;
    const isHalfClosed = this.#socket.readableEnded || isEnded || isBroken;
    return isHalfClosed && idleMs >= halfCloseTimeoutMs ? 'SLW_STREAM_HALF_CLOSED' : undefined;
  }

  #onConnect(): void {
    this.#state = 'open';
    this.#stream?.accept();
  }

  #settle(): void {
    const { queuedBytes } = this.#outlet;
    // What this relay has brought stands behind what is owed.
    this.#owed?.settle(Math.max(0, queuedBytes - this.#receivedBytes));
    const takenBytes = this.#receivedBytes - queuedBytes;
    const bytes = takenBytes - this.#takenBytes;
    if (bytes <= 0) return;
    this.#takenBytes = takenBytes;
    this.#stream?.consumed(bytes);
  }

  #onError(error: NodeJS.ErrnoException): void {
    const isDialling = this.#state === 'dialling';
    if (isDialling) this.#onDialFailed?.(error);
    const code = isDialling ? dialFailure(error) : 'SLW_STREAM_RESET';
    this.#stream?.reset(code);
    this.#stream = undefined;
    if (this.#endCode === 'SLW_NONE') this.#endCode = code;
  }

  #onClose(): void {
    const { readableEnded, writableFinished } = this.#socket;
    const isClean = this.#state === 'finished' || (readableEnded && writableFinished);
    this.#state = 'closed';
    this.#seat.leave();
    // After a clean end the stream may still have bytes and a FIN to send: it ends by itself.
    if (isClean) this.#settle();
    else this.#stream?.reset('SLW_STREAM_RESET');
    this.#stream = undefined;
    this.#owed?.settle(0);
    if (!isClean && this.#endCode === 'SLW_NONE') this.#endCode = 'SLW_STREAM_RESET';
    const bytesOut = Math.max(0, this.#takenBytes);
    this.#onEnd?.({ bytesIn: this.#sentBytes, bytesOut, code: this.#endCode });
  }
}

/** Cuts a socket that nobody else owns; what it has to say of it changes nothing. */
export function turnAway(socket: Socket): void {
  socket.on('error', ignoreError);
  cutSocket(socket);
}

function ignoreError(): void {
  // 'close' follows.
}

/** The connections below TLS sockets of visitors, and these by their connections. */
const wires = new WeakMap<Socket, Socket>();
const spoken = new WeakMap<Socket, TLSSocket>();

/** `socket` speaks TLS over `wire`, which has to be known for a cut of either. */
export function layTls(socket: TLSSocket, wire: Socket): void {
  wires.set(socket, wire);
  spoken.set(wire, socket);
}

/**
 * Ends a socket so that its peer sees a cut, not an end; 'close' follows.
 *
 * Of TLS it is the connection below that is reset: an end without a close_notify is an end as any
 * other to curl, to Python and to nginx in front of us. Where that is not known (upstreams, whose
 * requests say how long they are), and on a Unix socket, which has no RST, the peer sees an end.
 */
export function cutSocket(given: Socket): void {
  const socket = spoken.get(given) ?? given;
  const wire = socket instanceof TLSSocket ? wires.get(socket) : socket;
  if (wire?.remoteAddress === undefined || wire.connecting) socket.destroy();
  else if (!isShuttingDown(socket)) reset(socket, wire);
  else if (socket === wire) socket.once('finish', () => reset(socket, wire));
  // The kernel has all but the close_notify, which may wait for ever for a peer that reads nothing.
  else socket.destroy();
}

function reset(socket: Socket, wire: Socket): void {
  wire.resetAndDestroy();
  socket.destroy();
}

/**
 * Our FIN is on its way to the kernel, which takes it within this turn of the loop. Until then
 * libuv refuses a reset (`uv_tcp_close_reset` gives EINVAL beside a `uv_shutdown`), and Node would
 * never close the descriptor, nor tell of it. With bytes before the FIN no shutdown has begun.
 */
function isShuttingDown(socket: Socket): boolean {
  return socket.writableEnded && !socket.writableFinished && socket.writableLength === 0;
}

function dialFailure(error: NodeJS.ErrnoException): ErrorCode {
  if (error instanceof SluicewayError) return error.code;
  if (error.code === 'ECONNREFUSED') return 'SLW_STREAM_REFUSED';
  return error.code === 'ETIMEDOUT' ? 'SLW_STREAM_CONNECT_TIMEOUT' : 'SLW_STREAM_UNREACHABLE';
}
