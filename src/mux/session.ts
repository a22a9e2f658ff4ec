// Streams over one link: who may open, what each frame does, and how all of it ends.
//
// Invariant: a frame is checked in full before anything changes; a peer's mistake ends this
// session and nothing else; a lost link resets every stream, and never looks like a clean end.
// Driven by its link and by `tick`; reads no clock but the given one. Must not know: sockets,
// tunnels, tokens. The owner reads control bodies (HELLO, REGISTER ...) and decides.

import { assert } from '../base/assert.ts';
import { codeOfWire, ERRORS, type ErrorCode, WireError } from '../base/errors.ts';
import { readPool } from '../base/read-pool.ts';
import type { Link, LinkSink } from '../link/link.ts';
import { SessionMemory } from '../wire/flow.ts';
import { FRAME } from '../wire/frame.ts';
import type { PeerLimits } from '../wire/hello.ts';
import { CREDIT_INITIAL, CREDIT_MAX, FRAME_BYTES_MIN } from '../wire/limits.ts';
import { decodeOpen, encodeOpen, type Open } from '../wire/open.ts';
import { canReceive, EVENT, STREAM } from '../wire/stream-state.ts';
import { dropAll, resetStalest, resetUnanswered } from './forced-ends.ts';
import { Keepalive, TICK } from './keepalive.ts';
import { PeerBounds } from './peer-bounds.ts';
import { Sender } from './sender.ts';
import type { OpenRequest, SessionOptions } from './session-options.ts';
import { Stream, type StreamCarrier, type StreamSink, UNSET_SINK } from './stream.ts';
import { StreamTable } from './stream-table.ts';

const PHASE = { GREETING: 0, ACTIVE: 1, LEAVING: 2, ENDED: 3 } as const;

export class Session implements LinkSink, StreamCarrier {
  readonly memory: SessionMemory;
  readonly #options: SessionOptions;
  readonly #link: Link;
  readonly #keepalive: Keepalive;
  readonly #streams: StreamTable;
  readonly #sender: Sender;
  readonly #bounds: PeerBounds;
  #phase: number = PHASE.GREETING;
  #peer: PeerLimits = { frame: FRAME_BYTES_MIN, streams: 0, credit: 0 };
  #receiving: Stream | undefined;
  #endCode: ErrorCode = 'SLW_LINK_LOST';
  #endDetail = '';

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#link = options.link;
    this.memory = new SessionMemory(options.limits);
    this.#keepalive = new Keepalive(options.keepalive, options.clock.nowMs());
    this.#streams = new StreamTable(options);
    this.#sender = new Sender(options.link, options.clock);
    this.#bounds = new PeerBounds(options);
  }

  /** Begins to read the link. */
  start(): void {
    this.#link.start({ sink: this, frameBytesMax: this.#options.limits.frameBytes });
  }

  get streamsCount(): number {
    return this.#streams.count;
  }

  get roundTripMs(): number {
    return this.#keepalive.roundTripMs;
  }

  get queuedBytes(): number {
    return this.#link.queuedBytes;
  }

  get canOpen(): boolean {
    return this.#phase === PHASE.ACTIVE && this.#streams.mayOpen(this.#peer.streams);
  }

  get isLeaving(): boolean {
    return this.#phase === PHASE.LEAVING;
  }

  /** Streams that may be opened here yet, by the side that may open fewer. */
  get idsLeft(): number {
    return this.#streams.idsLeft;
  }

  countStalled(): { held: number; waiting: number } {
    return this.#streams.countStalled();
  }

  /** What we tell the peer of our limits. */
  announce(): PeerLimits {
    const { frameBytes, streams, windowInitialBytes } = this.#options.limits;
    return { frame: frameBytes, streams, credit: Math.min(CREDIT_INITIAL, windowInitialBytes) };
  }

  /** The greeting is done: streams may flow under the peer's limits. */
  activate(peer: PeerLimits): void {
    assert(this.#phase === PHASE.GREETING, 'a session is greeted once');
    this.#peer = peer;
    this.#sender.frameBytesMax = peer.frame;
    this.#phase = PHASE.ACTIVE;
    this.#ping();
  }

  sendControl(type: number, body: Uint8Array): void {
    if (this.#phase === PHASE.ENDED) return;
    this.#link.writeBody(type as typeof FRAME.HELLO, 0, body);
  }

  /** Opens a stream, or says why not. `link` is for the peer to choose by, on the mesh. */
  open(request: OpenRequest, sink: StreamSink, link = ''): Stream | ErrorCode {
    if (this.#phase !== PHASE.ACTIVE) return 'SLW_STREAM_NO_LINK';
    if (!this.#streams.mayOpen(this.#peer.streams)) return 'SLW_STREAM_LIMIT';
    const id = this.#streams.takeId();
    if (id === 0) {
      this.leave('SLW_LINK_IDS_SPENT');
      return 'SLW_STREAM_NO_LINK';
    }
    const { windowBytesMax = CREDIT_MAX } = request;
    const windowBytes = Math.min(this.memory.initialWindowBytes(), windowBytesMax);
    const stream = this.#createStream(id, STREAM.OPENING, windowBytes, sink);
    this.#link.writeBody(FRAME.OPEN, id, encodeOpen(request, windowBytes, link));
    return stream;
  }

  /** No new streams from either side, but for a move, which is only announced. Others go on. */
  leave(code: ErrorCode): void {
    if (this.#phase !== PHASE.ACTIVE) return;
    if (code !== 'SLW_LINK_MOVED') this.#phase = PHASE.LEAVING;
    this.#link.writeValue(FRAME.GOAWAY, 0, ERRORS[code].wire);
    if (this.isLeaving && this.#streams.count === 0) this.#options.events.onIdle();
  }

  /** Ends the session: GOAWAY, what was accepted is flushed, streams that live are reset. */
  close(code: ErrorCode): void {
    if (this.#phase === PHASE.ENDED) return;
    this.#link.writeValue(FRAME.GOAWAY, 0, ERRORS[code].wire);
    this.#phase = PHASE.ENDED;
    this.#endCode = code;
    // A stream that lives is not one that was refused: its request may have been served.
    this.#dropAll(code === 'SLW_LINK_DRAINING' ? 'SLW_STREAM_DRAINED' : code);
    this.#link.close(code);
  }

  /** Its peer has dialled anew, and may have lost this link: an answer is wanted soon. */
  doubt(): void {
    if (this.#phase !== PHASE.ACTIVE && this.#phase !== PHASE.LEAVING) return;
    const nowMs = this.#options.clock.nowMs();
    if (this.#keepalive.doubt(nowMs, this.#link.receivedBytes)) this.#ping();
  }

  /** Was it doubted, and is silent since then? */
  get isDoubted(): boolean {
    return this.#keepalive.isDoubted(this.#link.receivedBytes);
  }

  /** Time passes: pings, deadlines, a limit of memory that fell. About once a second. */
  tick(nowMs: number): void {
    if (this.#phase === PHASE.ENDED) return;
    this.#bounds.tick();
    // Those who take nothing are sent nothing, and no frame would come that looks.
    if (this.memory.isFull) resetStalest(this.#streams, this.memory);
    const verdict = this.#keepalive.tick(nowMs, this.#link.receivedBytes);
    if (verdict === TICK.DEAD) this.#destroy('SLW_LINK_DEAD', '');
    else if (this.#bounds.isFloodedBy(this.#link.queuedBytes)) {
      this.#destroy('SLW_WIRE_FLOOD', 'the peer asks for answers and reads none');
    } else if (verdict === TICK.PING && this.#phase !== PHASE.GREETING) this.#ping();
    resetUnanswered(this.#streams, nowMs - this.#options.openTimeoutMs);
  }

  // --- StreamCarrier: what streams ask for -------------------------------------------------

  sendOpened(stream: Stream): void {
    const grantBytes = Math.max(0, this.memory.initialWindowBytes() - this.announce().credit);
    stream.window.extend(grantBytes);
    this.#link.writeValue(FRAME.OPENED, stream.id, grantBytes);
  }

  sendReset(stream: Stream, code: ErrorCode): void {
    if (this.#phase === PHASE.ENDED) return;
    this.#link.writeValue(FRAME.RST, stream.id, ERRORS[code].wire);
  }

  stopReceiving(stream: Stream): void {
    if (this.#receiving === stream) this.#receiving = undefined;
  }

  grant(stream: Stream, bytes: number): void {
    const nowMs = this.#options.clock.nowMs();
    stream.progressMs = nowMs;
    if (stream.creditLane !== undefined) stream.owe(bytes, stream.creditLane);
    else this.#sendCredit(stream, stream.window.take(bytes, nowMs, this.#keepalive.roundTripMs));
  }

  touch(stream: Stream): void {
    stream.progressMs = this.#options.clock.nowMs();
  }

  grantPaid(stream: Stream, bytes: number): void {
    const { clock } = this.#options;
    this.#sendCredit(stream, stream.window.pay(bytes, clock.nowMs(), this.#keepalive.roundTripMs));
  }

  hold(stream: Stream): void {
    this.#streams.hold(stream);
  }

  release(stream: Stream): void {
    if (!this.#streams.delete(stream)) return;
    this.stopReceiving(stream);
    stream.free();
    if (this.#phase === PHASE.LEAVING && this.#streams.count === 0) this.#options.events.onIdle();
  }

  // --- LinkSink: what the link brings ------------------------------------------------------

  onValue(type: number, id: number, value: number): void {
    if (this.#phase === PHASE.ENDED) return;
    switch (type) {
      case FRAME.PING:
        this.#expectActive(id, 0);
        this.#bounds.countIdle();
        this.#sender.outflow.pong(value);
        return;
      case FRAME.PONG:
        this.#expectActive(id, 0);
        this.#bounds.countIdle();
        this.#sender.outflow.answer(value);
        this.#keepalive.pong(value, this.#options.clock.nowMs());
        return;
      case FRAME.GOAWAY:
        if (id !== 0) throw new WireError('SLW_WIRE_STREAM_ID', 'GOAWAY on a stream');
        this.#bounds.countIdle();
        this.#onGoAway(codeOfWire(value));
        return;
      default:
        this.#expectActive(id, id);
        this.#onStreamValue(type, id, value);
    }
  }

  onBody(type: number, id: number, body: Uint8Array): void {
    if (this.#phase === PHASE.ENDED) return;
    if (type === FRAME.OPEN) {
      this.#expectActive(id, id);
      this.#onOpen(id, decodeOpen(body));
      return;
    }
    if (id !== 0) throw new WireError('SLW_WIRE_STREAM_ID', 'control frame on a stream');
    this.#options.events.onControl(type, body);
  }

  onDataStart(id: number, length: number): void {
    this.#receiving = undefined;
    if (this.#phase === PHASE.ENDED) return;
    this.#expectActive(id, id);
    const stream = this.#streams.lookUp(id);
    if (stream === undefined || stream.isEnded) {
      this.#bounds.countIdle();
      return;
    }
    if (!canReceive(stream.state)) {
      throw new WireError('SLW_WIRE_STREAM_STATE', `DATA on stream ${id} in state ${stream.state}`);
    }
    stream.window.receive(length);
    for (const meter of stream.meters) meter.bytesIn += length;
    this.#receiving = stream;
    if (this.memory.isFull) resetStalest(this.#streams, this.memory);
  }

  onDataPiece(piece: Buffer): void {
    // Undefined when the stream ended while its frame was under way: the rest is dropped.
    if (this.#receiving === undefined) readPool.release(piece, piece.length);
    else this.#receiving.sink.onData(piece);
  }

  onDrain(): void {
    this.#sender.pump();
  }

  onWireError(error: WireError): void {
    if (this.#phase === PHASE.ENDED) return;
    this.#link.writeValue(FRAME.GOAWAY, 0, error.wire);
    this.#phase = PHASE.ENDED;
    this.#endCode = error.code;
    this.#dropAll('SLW_LINK_LOST');
    // The link reports its close later; the detail is only known here.
    this.#endDetail = error.message;
    this.#link.close(error.code);
  }

  onLinkClose(code: ErrorCode, detail: string): void {
    const wasEnded = this.#phase === PHASE.ENDED;
    this.#phase = PHASE.ENDED;
    const reason = wasEnded || this.#endCode !== 'SLW_LINK_LOST' ? this.#endCode : code;
    this.#dropAll(reason === 'SLW_LINK_DEAD' ? reason : 'SLW_LINK_LOST');
    this.#options.events.onEnd(reason, this.#endDetail === '' ? detail : this.#endDetail);
  }

  // --- inside ------------------------------------------------------------------------------

  #sendCredit(stream: Stream, bytes: number): void {
    if (bytes === 0 || this.#phase === PHASE.ENDED || !canReceive(stream.state)) return;
    this.#link.writeValue(FRAME.CREDIT, stream.id, bytes);
  }

  #destroy(code: ErrorCode, detail: string): void {
    this.#endCode = code;
    this.#endDetail = detail;
    this.#link.destroy();
  }

  #onStreamValue(type: number, id: number, value: number): void {
    const stream = this.#streams.lookUp(id);
    if (stream === undefined || stream.isEnded) {
      this.#bounds.countIdle();
      return;
    }
    switch (type) {
      case FRAME.CREDIT:
        stream.credit.grant(value);
        this.#sender.schedule(stream);
        return;
      case FRAME.OPENED:
        this.#move(stream, EVENT.GET_OPENED);
        this.#streams.answer(stream);
        if (value > 0) stream.credit.grant(value);
        stream.sink.onOpened();
        this.#sender.schedule(stream);
        return;
      case FRAME.FIN:
        if (value !== 0) throw new WireError('SLW_WIRE_PROTOCOL', 'FIN with a value');
        this.#move(stream, EVENT.GET_FIN);
        stream.sink.onFin();
        stream.settle();
        return;
      case FRAME.RST:
        this.#onReset(stream, value);
        return;
      default:
        throw new WireError('SLW_WIRE_FRAME_TYPE', `frame type ${type} on a stream`);
    }
  }

  #onReset(stream: Stream, value: number): void {
    const { state } = stream;
    // Withdrawn before it was answered: an OPEN without an effect.
    if (state === STREAM.ACCEPTING || state === STREAM.ACCEPTING_GOT_FIN) this.#bounds.countIdle();
    const named = codeOfWire(value);
    const code = named === 'SLW_NONE' ? 'SLW_STREAM_RESET' : named;
    stream.endByPeer(code);
  }

  #onOpen(id: number, open: Open): void {
    this.#streams.admit(id);
    const isFull = !this.#streams.mayAdmit(this.#options.limits.streams);
    const creditBytes = this.announce().credit;
    const stream = this.#createStream(id, STREAM.ACCEPTING, creditBytes, UNSET_SINK);
    stream.credit.grant(open.window);
    if (this.#phase === PHASE.LEAVING) stream.reset('SLW_LINK_DRAINING');
    else if (isFull) stream.reset('SLW_STREAM_LIMIT');
    else this.#options.events.onOpen(stream, open);
    if (stream.isEnded) this.#bounds.countIdle();
  }

  #onGoAway(code: ErrorCode): void {
    const isMove = code === 'SLW_LINK_MOVED';
    if (this.#phase === PHASE.ACTIVE && !isMove) this.#phase = PHASE.LEAVING;
    if (this.#phase === PHASE.GREETING) this.#endCode = code;
    this.#options.events.onGoAway(code);
    if (this.#phase === PHASE.LEAVING && this.#streams.count === 0) this.#options.events.onIdle();
  }

  #createStream(
    id: number,
    state: typeof STREAM.OPENING | typeof STREAM.ACCEPTING,
    windowBytes: number,
    sink: StreamSink,
  ): Stream {
    const isOpener = state === STREAM.OPENING;
    const stream = new Stream({
      id,
      carrier: this,
      sender: this.#sender,
      state,
      memory: this.memory,
      windowBytes,
      creditBytes: isOpener ? this.#peer.credit : 0,
      sink,
      nowMs: this.#options.clock.nowMs(),
    });
    if (isOpener) this.#streams.addOpening(stream);
    else this.#streams.add(stream);
    return stream;
  }

  #move(stream: Stream, event: typeof EVENT.GET_OPENED | typeof EVENT.GET_FIN): void {
    if (stream.move(event)) return;
    throw new WireError('SLW_WIRE_STREAM_STATE', `stream ${stream.id} in state ${stream.state}`);
  }

  #ping(): void {
    const mark = this.#sender.outflow.mark();
    this.#link.writeValue(FRAME.PING, 0, this.#keepalive.ping(this.#options.clock.nowMs(), mark));
  }

  #expectActive(id: number, expected: number): void {
    if (this.#phase === PHASE.GREETING) {
      throw new WireError('SLW_WIRE_FRAME_TYPE', 'frame before the greeting');
    }
    if (id !== expected) throw new WireError('SLW_WIRE_STREAM_ID', 'link frame on a stream');
  }

  /** Nothing is sent any more, and all streams end. */
  #dropAll(code: ErrorCode): void {
    this.#sender.close();
    dropAll(this.#streams, code);
  }
}
