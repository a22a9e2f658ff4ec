// A link over an upgraded WebSocket's socket: batches what a turn writes, cuts through what comes.
//
//   batch: | headroom 14 | 12 | 12 | small body | 12 |   one message, one write at the turn's end
//   large body: the batch so far and the body leave as one message, uncopied: in one writev, or,
//   where the body has headroom before it, with the batch copied there, as one piece (TLS joins
//   the pieces of a writev by copying them)
//
// Invariant: frames leave in the order of the calls, at the latest when the turn ends; a message
// holds whole frames; a batch buffer is written to again only after the kernel has taken all of
// it. Must not know: what frames mean, or how the socket came to be.

import type { Socket } from 'node:net';
import { systemClock, type Timer } from '../base/clock.ts';
import { type ErrorCode, WireError } from '../base/errors.ts';
import { HEADROOM_BYTES, readPool } from '../base/read-pool.ts';
import { FrameDecoder } from '../wire/decoder.ts';
import {
  FRAME,
  FRAME_HEADER_BYTES,
  type FrameType,
  MARK,
  putArgument,
  putHeader,
} from '../wire/frame.ts';
import type { Link, LinkSink, LinkStart } from './link.ts';
import { LinkPace } from './link-pace.ts';
import { createMaskKey, type MaskKey, ZERO_KEY } from './mask-key.ts';
import { type ReadSink, SocketReads } from './socket-reads.ts';
import { SocketWrites } from './socket-writes.ts';
import {
  applyMask,
  CLOSE,
  OPCODE,
  readCloseCode,
  WebSocketError,
  WS_CONTROL_BYTES_MAX,
  WS_HEADER_BYTES_MAX,
  WsFrameReader,
  type WsFrameSink,
  writeWsHeader,
} from './ws-frames.ts';

export interface WsLinkOptions {
  readonly socket: Socket;
  /** Bytes that came with the handshake. */
  readonly head: Buffer;
  /** `none` at the server. */
  readonly mask: MaskKey;
}

/** Bytes of a batch buffer; a turn that writes more sends several messages. */
const BATCH_BYTES = 64 * 1024;
/** Payload from here on is not copied (measured with prototypes: 4 KiB). */
const UNCOPIED_BYTES_MIN = 4096;
/** A message beyond the frame limit: the batch that shares it. */
const MESSAGE_SLACK_BYTES = BATCH_BYTES;
/** How long a closing handshake may take before the socket is destroyed. Guess. */
const CLOSE_TIMEOUT_MS = 2000;
/** WebSocket pings in WS_PINGS_WINDOW_MS. Ours never sends any, an intermediary may. Guess. */
const WS_PINGS_MAX = 100;
const WS_PINGS_WINDOW_MS = 10_000;
/** Batch buffers kept for the next turn, shared by the links of this thread. */
const FREE_BATCHES_MAX = 16;

const freeBatches: Buffer[] = [];

export class WsLink implements Link, WsFrameSink, ReadSink {
  readonly kind = 'websocket';
  receivedBytes = 0;
  readonly #socket: Socket;
  readonly #writes: SocketWrites;
  readonly #head: Buffer;
  readonly #mask: MaskKey;
  #sink: LinkSink | undefined;
  #decoder: FrameDecoder | undefined;
  #reader: WsFrameReader | undefined;
  #state: 'idle' | 'open' | 'closing' | 'closed' = 'idle';
  #batch: Buffer | undefined;
  #start = 0;
  #end = 0;
  #flushAt: NodeJS.Immediate | undefined;
  #closeTimer: Timer | undefined;
  #closeCode: ErrorCode = 'SLW_LINK_LOST';
  #closeDetail = '';
  /** Status to close with when the peer broke RFC 6455; 0 otherwise. */
  #errorStatus = 0;
  #pings = 0;
  #pingsSinceMs = 0;
  readonly #pace = new LinkPace();
  /** All bytes that were given to the socket. */
  #writtenBytes = 0;
  readonly #flushSoon = (): void => {
    this.#flushAt = undefined;
    this.#flush();
  };

  constructor(options: WsLinkOptions) {
    this.#socket = options.socket;
    this.#writes = new SocketWrites(options.socket, () => this.#onTaken());
    this.#head = options.head;
    this.#mask = options.mask;
  }

  get isCongested(): boolean {
    return this.queuedBytes >= this.#pace.queuedBytesMax;
  }

  get frameBytesMax(): number {
    return this.#pace.frameBytesMax;
  }

  get queuedBytes(): number {
    return this.#writes.queuedBytes + this.#end - this.#start;
  }

  start({ sink, frameBytesMax }: LinkStart): void {
    this.#sink = sink;
    this.#decoder = new FrameDecoder(sink, frameBytesMax);
    this.#reader = new WsFrameReader({
      sink: this,
      isMasked: this.#mask === 'none',
      messageBytesMax: frameBytesMax + MESSAGE_SLACK_BYTES,
    });
    this.#state = 'open';
    const socket = this.#socket;
    socket.setNoDelay(true);
    socket.setTimeout(0);
    socket.on('end', () => this.destroy());
    socket.on('error', (error) => {
      this.#closeDetail = error.message;
    });
    socket.on('close', () => this.#onClose());
    if (this.#head.length > 0) this.onRead(this.#head);
    new SocketReads(socket, this);
    if (socket.destroyed) process.nextTick(() => this.#onClose());
    else socket.resume();
  }

  writeValue(type: FrameType, stream: number, value: number): void {
    if (this.#state !== 'open') return;
    const at = this.#reserve(FRAME_HEADER_BYTES);
    const batch = this.#batch as Buffer;
    putHeader(batch, at, type, stream);
    putArgument(batch, at, MARK.UINT32, value);
  }

  writeBody(type: FrameType, stream: number, body: Uint8Array): void {
    if (this.#state !== 'open') {
      readPool.release(body, body.length);
      return;
    }
    const isCopied = body.length < UNCOPIED_BYTES_MIN;
    // A batch and DATA fit the peer's limit of a message; a long control body may not.
    if (!isCopied && type !== FRAME.DATA) this.#flush();
    const at = this.#reserve(FRAME_HEADER_BYTES + (isCopied ? body.length : 0));
    const batch = this.#batch as Buffer;
    putHeader(batch, at, type, stream);
    putArgument(batch, at, MARK.BIN32, body.length);
    if (isCopied) {
      batch.set(body, at + FRAME_HEADER_BYTES);
      readPool.release(body, body.length);
    } else this.#send(OPCODE.BINARY, body);
  }

  close(code: ErrorCode): void {
    if (this.#state === 'closing' || this.#state === 'closed') return;
    this.#closeCode = code;
    this.#sendClose(this.#errorStatus || closeStatus(code), code);
  }

  destroy(): void {
    this.#socket.destroy();
  }

  // --- ReadSink ----------------------------------------------------------------------------

  onRead(bytes: Buffer): void {
    if (this.#state !== 'open' || this.#decoder === undefined) {
      readPool.release(bytes, bytes.length);
      return;
    }
    this.receivedBytes += bytes.length;
    this.#receive(bytes, this.#decoder);
  }

  readBytes(bytesMax: number): number {
    return this.#reader?.readBytes(bytesMax) ?? bytesMax;
  }

  // --- WsFrameSink -------------------------------------------------------------------------

  onPayload(piece: Buffer): void {
    this.#decoder?.push(piece);
  }

  onMessageEnd(): void {
    this.#decoder?.endMessage();
  }

  onControl(opcode: number, payload: Buffer): void {
    // Behind a close in the same read: our last frame is written.
    if (this.#state !== 'open') return;
    if (opcode === OPCODE.CLOSE) {
      const status = readCloseCode(payload);
      this.#closeCode = 'SLW_LINK_ENDED';
      this.#sendClose(status, 'SLW_LINK_ENDED');
    } else if (opcode === OPCODE.PING) {
      this.#countPing();
      this.#sendControl(OPCODE.PONG, payload);
    }
  }

  // --- inside ------------------------------------------------------------------------------

  /** Sends what waits to the reader; what it does not hand on is used up when it returns. */
  #receive(bytes: Buffer, decoder: FrameDecoder): void {
    const handedOnBytes = decoder.handedOnBytes;
    try {
      this.#reader?.push(bytes);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      if (error instanceof WebSocketError) this.#errorStatus = error.closeCode;
      this.#sink?.onWireError(error);
    }
    readPool.release(bytes, bytes.length - (decoder.handedOnBytes - handedOnBytes));
  }

  /** Room for `bytes` in the batch, whose offset is returned; the flush is under way. */
  #reserve(bytes: number): number {
    if (this.#batch !== undefined && this.#end + bytes > this.#batch.length) this.#flush();
    if (this.#batch === undefined) {
      this.#batch = freeBatches.pop() ?? Buffer.allocUnsafeSlow(BATCH_BYTES);
      this.#start = WS_HEADER_BYTES_MAX;
      this.#end = WS_HEADER_BYTES_MAX;
    }
    this.#flushAt ??= setImmediate(this.#flushSoon);
    const at = this.#end;
    this.#end += bytes;
    return at;
  }

  #flush(): void {
    if (this.#end > this.#start) this.#send(OPCODE.BINARY, undefined);
  }

  /** Sends the batch and `body` behind it as one message. */
  #send(opcode: number, body: Uint8Array | undefined): void {
    const batch = this.#batch as Buffer;
    const length = this.#end - this.#start + (body?.length ?? 0);
    const key = createMaskKey(this.#mask);
    const from = writeWsHeader(batch, this.#start, { opcode, length, key });
    if (key !== undefined && key !== ZERO_KEY) {
      applyMask(batch.subarray(this.#start, this.#end), key, 0);
      // In place: what is written is ours, and is read by nobody after that.
      if (body !== undefined) applyMask(body, key, this.#end - this.#start);
    }
    const head = batch.subarray(from, this.#end);
    this.#start = this.#end + WS_HEADER_BYTES_MAX;
    this.#end = this.#start;
    const whole = body === undefined ? undefined : readPool.wholeOf(body);
    if (body === undefined) this.#writes.write(head);
    else if (whole !== undefined && head.length <= HEADROOM_BYTES) {
      whole.set(head, HEADROOM_BYTES - head.length);
      const end = HEADROOM_BYTES + body.length;
      this.#writes.write(whole.subarray(HEADROOM_BYTES - head.length, end), body);
    } else this.#writes.writeBoth(head, body);
    this.#watchPace(head.length + (body?.length ?? 0));
    this.#recycle(batch);
  }

  /** After each write: does anything wait for the line? */
  #watchPace(bytes: number): void {
    this.#writtenBytes += bytes;
    const waitingBytes = this.#writes.queuedBytes;
    if (waitingBytes === 0) this.#pace.pass(bytes);
    else this.#pace.begin(systemClock.nowMs(), this.#writtenBytes - waitingBytes);
  }

  /** Some of what had to wait was taken. */
  #onTaken(): void {
    this.#samplePace();
    if (this.#state !== 'closed' && this.#writes.queuedBytes === 0) this.#sink?.onDrain();
  }

  #samplePace(): void {
    const waitingBytes = this.#writes.queuedBytes;
    const takenBytes = this.#writtenBytes - waitingBytes;
    this.#pace.sample(systemClock.nowMs(), takenBytes, waitingBytes > 0);
  }

  #recycle(batch: Buffer): void {
    if (this.#writes.queuedBytes === 0) {
      // The kernel has taken every byte, so the buffer is free for any link of this thread.
      this.#batch = undefined;
      if (freeBatches.length < FREE_BATCHES_MAX) freeBatches.push(batch);
    } else if (this.#end + FRAME_HEADER_BYTES + UNCOPIED_BYTES_MIN > batch.length) {
      this.#batch = undefined;
    }
    if (this.#batch !== undefined) return;
    this.#start = 0;
    this.#end = 0;
  }

  #countPing(): void {
    const nowMs = systemClock.nowMs();
    if (nowMs - this.#pingsSinceMs > WS_PINGS_WINDOW_MS) {
      this.#pingsSinceMs = nowMs;
      this.#pings = 0;
    }
    this.#pings += 1;
    if (this.#pings > WS_PINGS_MAX) throw new WebSocketError(CLOSE.POLICY, 'too many pings');
  }

  #sendControl(opcode: number, payload: Buffer): void {
    this.#flush();
    const frame = Buffer.alloc(WS_HEADER_BYTES_MAX + payload.length);
    const key = createMaskKey(this.#mask);
    const from = writeWsHeader(frame, WS_HEADER_BYTES_MAX, { opcode, length: payload.length, key });
    payload.copy(frame, WS_HEADER_BYTES_MAX);
    if (key !== undefined) applyMask(frame.subarray(WS_HEADER_BYTES_MAX), key, 0);
    this.#writes.write(frame.subarray(from));
  }

  #sendClose(status: number, reason: string): void {
    const payload = Buffer.alloc(2 + reason.length);
    payload.writeUInt16BE(status, 0);
    payload.write(reason, 2, 'latin1');
    this.#sendControl(OPCODE.CLOSE, payload.subarray(0, WS_CONTROL_BYTES_MAX));
    this.#state = 'closing';
    this.#writes.end();
    this.#closeTimer = systemClock.after(CLOSE_TIMEOUT_MS, () => this.destroy());
  }

  #onClose(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#closeTimer?.cancel();
    if (this.#flushAt !== undefined) clearImmediate(this.#flushAt);
    this.#batch = undefined;
    this.#start = 0;
    this.#end = 0;
    this.#sink?.onLinkClose(this.#closeCode, this.#closeDetail);
  }
}

function closeStatus(code: ErrorCode): number {
  if (code === 'SLW_WIRE_FLOOD' || code === 'SLW_LINK_LIMIT') return CLOSE.POLICY;
  if (code.startsWith('SLW_WIRE_')) return CLOSE.PROTOCOL;
  return code === 'SLW_LINK_DRAINING' ? CLOSE.GOING_AWAY : CLOSE.NORMAL;
}
