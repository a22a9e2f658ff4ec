// A peer that writes whatever a test wants, joined in memory to a real session.
//
// Owns one session under test, its events, and the frames that it wrote. Invariant: `deliver` lets
// nothing but a WireError's goodbye out of the session: an exception fails the test. Must not know:
// what is asserted.

import type { ErrorCode } from '../../src/base/errors.ts';
import { Session } from '../../src/mux/session.ts';
import type { SessionEvents } from '../../src/mux/session-options.ts';
import type { Stream, StreamSink } from '../../src/mux/stream.ts';
import { FrameDecoder } from '../../src/wire/decoder.ts';
import { FRAME, FRAME_HEADER_BYTES, type FrameType, writeHeader } from '../../src/wire/frame.ts';
import type { PeerLimits } from '../../src/wire/hello.ts';
import { DEFAULT_LIMITS, type SessionLimits } from '../../src/wire/limits.ts';
import { encodeOpen, type Open } from '../../src/wire/open.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createLinkPair, type MemoryLink } from '../support/memory-link.ts';

export interface WrittenFrame {
  readonly type: number;
  readonly stream: number;
  /** The value, or a copy of the body. */
  readonly content: number | Buffer;
}

/** A sink that notes what it was told, and takes bytes only when the test says so. */
export class RecordingSink implements StreamSink {
  stream: Stream | undefined;
  readonly pieces: Buffer[] = [];
  readonly calls: string[] = [];
  readonly resets: ErrorCode[] = [];
  heldBytes = 0;
  isGreedy = false;

  get bytes(): Buffer {
    return Buffer.concat(this.pieces);
  }

  onOpened(): void {
    this.calls.push('opened');
  }

  onData(piece: Buffer): void {
    this.pieces.push(piece);
    this.heldBytes += piece.length;
    if (this.isGreedy) this.take();
  }

  onFin(): void {
    this.calls.push('fin');
  }

  onReset(code: ErrorCode): void {
    this.calls.push('reset');
    this.resets.push(code);
  }

  onWritable(): void {
    this.calls.push('writable');
  }

  /** Takes everything that is held. */
  take(): void {
    const bytes = this.heldBytes;
    this.heldBytes = 0;
    this.stream?.consumed(bytes);
  }
}

export interface RawPeerOptions {
  /** Of the session under test: a server opens even ids, a client odd ones. */
  readonly opens?: 'odd' | 'even';
  readonly limits?: Partial<SessionLimits>;
  readonly congestionBytes?: number;
  readonly isGreeting?: boolean;
  readonly firstId?: number;
  /** What to do with the peer's OPEN; accepted when left out. */
  readonly onOpen?: (stream: Stream, open: Open) => void;
  readonly onControl?: SessionEvents['onControl'];
  readonly openTimeoutMs?: number;
  /** What the raw peer announces of itself. */
  readonly announces?: Partial<PeerLimits>;
}

/** Enough for every test that does not say otherwise. */
const PEER_LIMITS: PeerLimits = { frame: 262_144, streams: 20_000, credit: 65_536 };

export class RawPeer {
  readonly clock = new FakeClock();
  readonly session: Session;
  readonly accepted: RecordingSink[] = [];
  readonly goAways: ErrorCode[] = [];
  readonly ends: { code: ErrorCode; detail: string }[] = [];
  idles = 0;
  /** The session's end of the link. */
  readonly link: MemoryLink;
  readonly #raw: MemoryLink;
  readonly #options: RawPeerOptions;

  constructor(options: RawPeerOptions = {}) {
    this.#options = options;
    [this.link, this.#raw] = createLinkPair(options.congestionBytes ?? 1 << 20);
    this.session = new Session({
      link: this.link,
      events: this.#createEvents(),
      clock: this.clock,
      limits: { ...DEFAULT_LIMITS, ...options.limits },
      keepalive: { pingIntervalMs: 10_000, deadAfterMs: 30_000, random: () => 0.5 },
      opens: options.opens ?? 'even',
      openTimeoutMs: options.openTimeoutMs ?? 15_000,
      ...(options.firstId === undefined ? {} : { firstId: options.firstId }),
    });
    this.session.start();
    if (options.isGreeting !== true)
      this.session.activate({ ...PEER_LIMITS, ...options.announces });
  }

  /** Id of the n-th stream (from 0) that the raw peer may open. */
  peerId(index: number): number {
    return index * 2 + (this.#options.opens === 'odd' ? 2 : 1);
  }

  /** Sends bytes and has the session read them, in pieces of `cut`. */
  deliver(bytes: Uint8Array, cut = Number.MAX_SAFE_INTEGER): void {
    for (let at = 0; at < bytes.length; at += cut) {
      this.#raw.inject(bytes.subarray(at, at + cut));
      this.#raw.move(cut);
    }
  }

  /** The raw peer reads: what the session wrote leaves its link. */
  read(bytes = Number.MAX_SAFE_INTEGER): number {
    return this.link.move(bytes);
  }

  /** Opens a stream from the raw peer's side and gives its id. */
  open(index = 0, fields: Partial<Open> = {}): number {
    const id = this.peerId(index);
    this.deliver(openFrame(id, fields));
    return id;
  }

  /** Everything that the session ever wrote, as frames. */
  written(type?: FrameType): WrittenFrame[] {
    const frames = framesOf(Buffer.concat(this.link.written));
    return type === undefined ? frames : frames.filter((one) => one.type === type);
  }

  #createEvents(): SessionEvents {
    return {
      onControl: this.#options.onControl ?? (() => {}),
      onOpen: this.#options.onOpen ?? ((stream) => this.#accept(stream)),
      onGoAway: (code) => this.goAways.push(code),
      onIdle: () => {
        this.idles += 1;
      },
      onEnd: (code, detail) => this.ends.push({ code, detail }),
    };
  }

  #accept(stream: Stream): void {
    const sink = new RecordingSink();
    sink.stream = stream;
    stream.sink = sink;
    this.accepted.push(sink);
    stream.accept();
  }
}

/** What a visitor of tunnel `a` asks for. */
export const REQUEST = { tunnel: 'a', address: '192.0.2.1', port: 1, link: '' } as const;

/** A stream of the session's own that the peer has not answered. */
export function openUnanswered(peer: RawPeer): RecordingSink {
  const sink = new RecordingSink();
  const stream = peer.session.open(REQUEST, sink);
  if (typeof stream === 'string') throw new Error(stream);
  sink.stream = stream;
  return sink;
}

/** One that the peer has answered, granting so much. */
export function openOurs(peer: RawPeer, grant = 0): RecordingSink {
  const sink = openUnanswered(peer);
  peer.deliver(valueFrame(FRAME.OPENED, idOf(sink), grant));
  return sink;
}

export function idOf(sink: RecordingSink): number {
  if (sink.stream === undefined) throw new Error('no stream');
  return sink.stream.id;
}

export function repeat(bytes: Buffer, times: number): Buffer {
  return Buffer.concat(Array<Buffer>(times).fill(bytes));
}

export function valueFrame(type: FrameType, stream: number, value: number): Buffer {
  const bytes = Buffer.alloc(FRAME_HEADER_BYTES);
  writeHeader(bytes, 0, { type, stream, argument: value });
  return bytes;
}

export function bodyFrame(type: FrameType, stream: number, body: Uint8Array): Buffer {
  const bytes = Buffer.alloc(FRAME_HEADER_BYTES + body.length);
  writeHeader(bytes, 0, { type, stream, argument: body.length });
  bytes.set(body, FRAME_HEADER_BYTES);
  return bytes;
}

export function dataFrame(stream: number, length: number, fill = 0x61): Buffer {
  return bodyFrame(FRAME.DATA, stream, Buffer.alloc(length, fill));
}

export function openFrame(stream: number, fields: Partial<Open> = {}): Buffer {
  const open = { tunnel: 'a', window: 65_536, address: '192.0.2.1', port: 1, link: '', ...fields };
  return bodyFrame(FRAME.OPEN, stream, encodeOpen(open, open.window, open.link));
}

/** Decodes whole frames. */
export function framesOf(bytes: Buffer): WrittenFrame[] {
  const frames: WrittenFrame[] = [];
  let data: { stream: number; length: number; pieces: Buffer[] } | undefined;
  const decoder = new FrameDecoder(
    {
      onValue: (type, stream, value) => frames.push({ type, stream, content: value }),
      onBody: (type, stream, body) => frames.push({ type, stream, content: Buffer.from(body) }),
      onDataStart: (stream, length) => {
        data = { stream, length, pieces: [] };
      },
      onDataPiece: (piece) => {
        if (data === undefined) return;
        data.pieces.push(piece);
        data.length -= piece.length;
        if (data.length > 0) return;
        const content = Buffer.concat(data.pieces);
        frames.push({ type: FRAME.DATA, stream: data.stream, content });
      },
    },
    1 << 20,
  );
  decoder.push(bytes);
  decoder.endMessage();
  return frames;
}
