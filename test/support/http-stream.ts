// A router for HTTP ingress tests: streams that lead straight to a loopback upstream.
//
// Owns the upstream sockets. Invariant: a stream keeps the contract of `mux/stream.ts` as the
// ingress sees it: credit of one window, FIN per direction, no call after its end. Must not know:
// what the ingress does with it.

import { connect, type Socket } from 'node:net';
import type { ErrorCode } from '../../src/base/errors.ts';
import type { HeaderEdits } from '../../src/http/header-edits.ts';
import type { OpenRequest } from '../../src/mux/session-options.ts';
import type { Stream, StreamSink } from '../../src/mux/stream.ts';
import { createRouteClient } from '../../src/shard/affinity.ts';
import type { OpenWish } from '../../src/shard/route-choice.ts';
import type { OpenedStream, Router, StreamOpener, VisitorInfo } from '../../src/shard/router.ts';

const WINDOW_BYTES = 256 * 1024;

export class LoopbackStream {
  sink: StreamSink;
  readonly tunnel: string;
  readonly visitor: VisitorInfo;
  /** Everything that the ingress did, in order. */
  readonly log: string[] = [];
  writtenBytes = 0;
  consumedBytes = 0;
  receivedBytes = 0;
  isOver = false;
  /** Its link takes no new streams. */
  isLeaving = false;
  /** Does the client say that its upstream is reached? */
  isAccepted = true;
  /** Does it ask whoever writes to wait, as one whose link is full? */
  isHeldBack = false;
  #hasEnded = false;
  readonly #socket: Socket;

  constructor(tunnel: string, visitor: VisitorInfo, port: number, sink: StreamSink) {
    this.tunnel = tunnel;
    this.visitor = visitor;
    this.sink = sink;
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    this.#socket = socket;
    socket.on('connect', () =>
      this.#unlessOver(() => {
        if (this.isAccepted) this.sink.onOpened();
      }),
    );
    socket.on('data', (piece: Buffer) => this.#unlessOver(() => this.#receive(piece)));
    socket.on('end', () =>
      this.#unlessOver(() => {
        this.log.push('fin');
        this.sink.onFin();
      }),
    );
    socket.on('drain', () => this.#unlessOver(() => this.sink.onWritable()));
    socket.on('error', (error: NodeJS.ErrnoException) => this.#lose(codeOf(error)));
    socket.on('close', () => {
      this.isOver = true;
    });
  }

  write(piece: Buffer): boolean {
    if (this.isOver) return true;
    if (this.#hasEnded) throw new Error('written after end');
    this.writtenBytes += piece.length;
    return this.#socket.write(piece) && !this.isHeldBack;
  }

  end(): void {
    this.log.push('end');
    this.#hasEnded = true;
    this.#socket.end();
  }

  reset(code: ErrorCode): void {
    this.log.push(`reset ${code}`);
    if (this.isOver) return;
    this.isOver = true;
    this.#socket.resetAndDestroy();
  }

  /** Nothing is accounted here: what is held may be consumed later, as ever. */
  cancel(code: ErrorCode): void {
    this.reset(code);
  }

  /** Nor is anything kept behind a reset. */
  keep(): boolean {
    return false;
  }

  accountsFor(): boolean {
    return true;
  }

  touch(): void {
    // Nobody asks when it was that something was taken.
  }

  /** What the upstream's socket has not taken; there is no credit beside it. */
  get queuedBytes(): number {
    return this.#socket.writableLength;
  }

  readonly credit = { availableBytes: 0 };

  /** Nothing is counted here. */
  addMeter(): void {}

  consumed(bytes: number): void {
    this.consumedBytes += bytes;
    if (this.consumedBytes > this.receivedBytes) throw new Error('more consumed than received');
    if (this.receivedBytes - this.consumedBytes < WINDOW_BYTES) this.#socket.resume();
  }

  /** As if the link was lost. */
  lose(code: ErrorCode): void {
    this.#lose(code);
    this.#socket.destroy();
  }

  /** Does it hold back who writes? */
  get isFull(): boolean {
    return this.#socket.writableNeedDrain;
  }

  #receive(piece: Buffer): void {
    this.receivedBytes += piece.length;
    if (this.receivedBytes - this.consumedBytes >= WINDOW_BYTES) this.#socket.pause();
    // In a block with others, as small reads of a link are.
    this.sink.onData(Buffer.from(piece));
  }

  #lose(code: ErrorCode): void {
    this.#unlessOver(() => {
      this.isOver = true;
      this.log.push(`lost ${code}`);
      this.sink.onReset(code);
    });
  }

  #unlessOver(act: () => void): void {
    if (!this.isOver) act();
  }
}

function codeOf(error: NodeJS.ErrnoException): ErrorCode {
  return error.code === 'ECONNREFUSED' ? 'SLW_STREAM_REFUSED' : 'SLW_STREAM_RESET';
}

/** The one client of routers that know no clients. */
export const ROUTE_CLIENT = createRouteClient('one', { streams: 0, bytesIn: 0, bytesOut: 0 });

export class LoopbackRouter implements Router {
  /** Tunnel name to upstream port, or to the code that opening a stream gives. */
  readonly tunnels = new Map<string, number | ErrorCode>();
  readonly streams: LoopbackStream[] = [];
  /** What the client of a tunnel has declared. */
  readonly edits = new Map<string, HeaderEdits>();

  matchHost(host: string): string | undefined {
    if (this.tunnels.has(host)) return host;
    return this.tunnels.has('*') ? '*' : undefined;
  }

  isServed(): boolean {
    return true;
  }

  admits(): boolean {
    return true;
  }

  loginsOf(): undefined {
    return undefined;
  }

  affinityOf(): undefined {
    return undefined;
  }

  mayStay(): boolean {
    return true;
  }

  noteEnd(): void {
    // There is no other client, whom it would be of use to.
  }

  openStream(
    tunnel: string,
    visitor: VisitorInfo,
    sink: StreamSink,
    wish: OpenWish = {},
  ): OpenedStream | ErrorCode {
    // There is no other.
    if (wish.except?.includes(ROUTE_CLIENT) === true) return 'SLW_STREAM_NO_LINK';
    const upstream = this.tunnels.get(tunnel) ?? 'SLW_STREAM_NO_LINK';
    if (typeof upstream === 'string') return upstream;
    const stream = new LoopbackStream(tunnel, visitor, upstream, sink);
    this.streams.push(stream);
    // The ingress uses what LoopbackStream has; the class has private fields, so that no other
    // class can be one to the compiler.
    const way = { edits: this.edits.get(tunnel), budget: undefined, client: ROUTE_CLIENT };
    return { stream: stream as unknown as Stream, way };
  }
}

/** Streams for the real router: each link leads to the upstream on its port. */
export class LoopbackOpener implements StreamOpener {
  readonly ports = new Map<string, number>();
  readonly streams: LoopbackStream[] = [];
  /** Are those that are opened accepted? */
  accepts = true;

  isDoubted(): boolean {
    return false;
  }

  canOpen(link: string): boolean {
    return this.ports.has(link);
  }

  open(_shard: number, request: OpenRequest, sink: StreamSink): Stream | ErrorCode {
    const { tunnel, address, port, link } = request;
    const upstream = this.ports.get(link);
    if (upstream === undefined) return 'SLW_STREAM_NO_LINK';
    const stream = new LoopbackStream(tunnel, { address, port }, upstream, sink);
    stream.isAccepted = this.accepts;
    this.streams.push(stream);
    return stream as unknown as Stream;
  }
}
