// Micro-benchmarks of what every byte and every request goes through: frames, streams, heads.
//
// Each is a fixed piece of work that checks its own result, so that none is fast because it does
// nothing. Invariant: the yardstick beside them never changes with our code; it does what they do,
// copies bytes, looks at each and fills small maps. Must not know: how often they run, and time.

import { systemClock } from '../../src/base/clock.ts';
import { RequestParser } from '../../src/http/request-head.ts';
import { Session } from '../../src/mux/session.ts';
import type { SessionEvents } from '../../src/mux/session-options.ts';
import type { Stream, StreamSink } from '../../src/mux/stream.ts';
import { FrameDecoder } from '../../src/wire/decoder.ts';
import { FRAME, FRAME_HEADER_BYTES, writeHeader } from '../../src/wire/frame.ts';
import { DEFAULT_LIMITS } from '../../src/wire/limits.ts';
import { JoinedLink } from './joined-link.ts';

/** Pieces of work in one call: enough to be measured, some 0.1 ms. */
const TIMES = 200;
const PAYLOAD_BYTES = 64;
const STREAMS = 8;

type Work = () => void;

export interface Micro {
  readonly name: string;
  readonly run: Work;
}

export const YARDSTICK = 'yardstick';

export function createMicros(): Micro[] {
  return [
    { name: 'frames, written and read', run: createCodec() },
    { name: 'streams, both ends of a session', run: createMux() },
    { name: 'request heads', run: createHeads() },
  ];
}

/** A fixed loop that is none of ours. */
export function createYardstick(): Micro {
  const source = Buffer.alloc(700, 'Accept-Language: en-GB,en;q=0.9\r\n');
  const target = Buffer.alloc(source.length);
  const run = (): void => {
    let found = 0;
    for (let time = 0; time < TIMES; time += 1) {
      source.copy(target, 0);
      const seen = new Map<number, number>();
      for (let at = 0; at < target.length; at += 1) {
        const byte = target[at] ?? 0;
        if (byte === 0x3a) seen.set(at, byte);
        found += byte & 1;
      }
      found += seen.size;
    }
    if (found === 0) throw new Error('the yardstick did nothing');
  };
  return { name: YARDSTICK, run };
}

function createCodec(): Work {
  const frameBytes = FRAME_HEADER_BYTES + PAYLOAD_BYTES;
  const bytes = Buffer.alloc(TIMES * frameBytes);
  let payload = 0;
  const decoder = new FrameDecoder(
    {
      onValue: unexpected,
      onBody: unexpected,
      onDataStart: () => undefined,
      onDataPiece: (piece) => {
        payload += piece.length;
      },
    },
    DEFAULT_LIMITS.frameBytes,
  );
  return () => {
    for (let time = 0; time < TIMES; time += 1) {
      const frame = { type: FRAME.DATA, stream: time + 1, argument: PAYLOAD_BYTES };
      writeHeader(bytes, time * frameBytes, frame);
    }
    payload = 0;
    decoder.push(bytes);
    if (payload !== TIMES * PAYLOAD_BYTES) throw new Error('frames were lost');
  };
}

function createMux(): Work {
  const [left, right] = JoinedLink.pair();
  const accepted: Stream[] = [];
  let received = 0;
  const sinkOf = (stream: () => Stream | undefined): StreamSink => ({
    onOpened: () => undefined,
    onData: (piece) => {
      received += piece.length;
      stream()?.consumed(piece.length);
    },
    onFin: unexpected,
    onReset: unexpected,
    onWritable: () => undefined,
  });
  const near = createSession(left, 'odd', unexpected);
  const far = createSession(right, 'even', (stream) => {
    stream.sink = sinkOf(() => stream);
    accepted.push(stream);
  });
  near.start();
  far.start();
  near.activate(far.announce());
  far.activate(near.announce());
  const opened = Array.from({ length: STREAMS }, () => {
    const stream: Stream | string = near.open(
      { tunnel: 'micro', address: '127.0.0.1', port: 1, link: '' },
      sinkOf(() => undefined),
    );
    if (typeof stream === 'string') throw new Error(`no stream: ${stream}`);
    return stream;
  });
  flush(left, right);
  for (const stream of accepted) stream.accept();
  flush(left, right);
  return () => {
    received = 0;
    for (let time = 0; time < TIMES; time += 1) {
      opened[time % STREAMS]?.write(Buffer.alloc(PAYLOAD_BYTES));
      if (time % STREAMS === STREAMS - 1) flush(left, right);
    }
    flush(left, right);
    if (received !== TIMES * PAYLOAD_BYTES) throw new Error('bytes were lost');
  };
}

function createSession(
  link: JoinedLink,
  opens: 'odd' | 'even',
  onOpen: (stream: Stream) => void,
): Session {
  const events: SessionEvents = {
    onControl: unexpected,
    onOpen,
    onGoAway: unexpected,
    onIdle: () => undefined,
    onEnd: unexpected,
  };
  return new Session({
    ...{ link, events, opens, limits: DEFAULT_LIMITS, clock: systemClock },
    keepalive: { pingIntervalMs: 10_000, deadAfterMs: 30_000, random: () => 0.5 },
    openTimeoutMs: 60_000,
  });
}

function flush(left: JoinedLink, right: JoinedLink): void {
  for (let isMoving = true; isMoving; ) {
    const [sent, answered] = [left.flush(), right.flush()];
    isMoving = sent || answered;
  }
}

/** As a browser sends it. */
function createHeads(): Work {
  const head = Buffer.from(
    [
      'GET /assets/app.js?v=4711 HTTP/1.1',
      'Host: shop.example.com',
      'User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0',
      'Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8',
      'Accept-Language: en-GB,en;q=0.5',
      'Accept-Encoding: gzip, deflate, br, zstd',
      'Referer: https://shop.example.com/',
      'Connection: keep-alive',
      `Cookie: session=${'0123456789abcdef'.repeat(8)}; theme=dark`,
      'Sec-Fetch-Dest: script',
      'Sec-Fetch-Mode: no-cors',
      'Sec-Fetch-Site: same-origin',
      'If-None-Match: "5f3e-61a0b4c5d6e7f"',
      'Cache-Control: max-age=0',
      '\r\n',
    ].join('\r\n'),
  );
  const parser = new RequestParser();
  return () => {
    for (let time = 0; time < TIMES; time += 1) {
      parser.reset();
      if (parser.push(head, 0) !== head.length || parser.host !== 'shop.example.com') {
        throw new Error(`the head was not understood: ${parser.error}`);
      }
    }
  };
}

function unexpected(): never {
  throw new Error('a frame that the micro-benchmark has no use for');
}
