// A relay between a real socket and a peer that writes and reads raw frames, for its tests.
//
// Owns the peer and the stream. Invariant: windows are so large that only the socket holds anything
// back; time is given by the test. Must not know: what is tested.

import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { ERRORS, type ErrorCode } from '../../src/base/errors.ts';
import { Roster } from '../../src/base/roster.ts';
import type { Stream } from '../../src/mux/stream.ts';
import { type Before, type RelayLimits, SocketRelay } from '../../src/shard/socket-relay.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { bodyFrame, RawPeer, valueFrame, type WrittenFrame } from '../mux/raw-peer.ts';
import { eventually } from '../support/deadline.ts';
import { createSocketPair } from './socket-pair.ts';

export const MIB = 1024 * 1024;
export const WINDOW_BYTES = 16 * MIB;
export const LIMITS: RelayLimits = {
  tcpIdleTimeoutMs: 0,
  halfCloseTimeoutMs: 3_600_000,
  upstreamConnectTimeoutMs: 10_000,
};

export class Bench {
  readonly relays = new Roster<SocketRelay>();
  readonly peer: RawPeer;
  readonly relay: SocketRelay;
  readonly stream: Stream;

  /** `open`: a visitor's socket. `dialling`: an upstream's. */
  constructor(
    socket: Socket,
    state: 'open' | 'dialling',
    limits: Partial<RelayLimits> = {},
    before: Before = { heldBytes: 0, owed: undefined },
  ) {
    this.relay = new SocketRelay({
      socket,
      before,
      limits: { ...LIMITS, ...limits },
      state,
      nowMs: 0,
      relays: this.relays,
    });
    const streams: Stream[] = [];
    this.peer = new RawPeer({
      limits: { windowInitialBytes: WINDOW_BYTES, windowMaxBytes: WINDOW_BYTES },
      congestionBytes: Number.MAX_SAFE_INTEGER,
      onOpen: (stream) => {
        stream.sink = this.relay;
        streams.push(stream);
      },
    });
    const request = { tunnel: 'a', address: '192.0.2.1', port: 1, link: '' };
    const opened = state === 'open' ? this.peer.session.open(request, this.relay) : undefined;
    if (state === 'dialling') this.peer.open();
    const stream = opened ?? streams[0];
    assert.ok(stream !== undefined && typeof stream !== 'string');
    this.stream = stream;
    this.relay.join(stream);
    if (state === 'open') this.fromPeer(FRAME.OPENED, MIB);
  }

  fromPeer(type: typeof FRAME.OPENED | typeof FRAME.FIN | typeof FRAME.RST, value: number): void {
    this.peer.deliver(valueFrame(type, this.stream.id, value));
  }

  /** Bytes from the peer, in frames of 64 KiB. */
  dataFromPeer(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; at += 65_536) {
      this.peer.deliver(bodyFrame(FRAME.DATA, this.stream.id, bytes.subarray(at, at + 65_536)));
    }
  }

  frames(type: WrittenFrame['type']): WrittenFrame[] {
    return this.peer.written().filter((frame) => frame.type === type);
  }

  /** What the peer got as payload. */
  payload(): Buffer {
    return Buffer.concat(this.frames(FRAME.DATA).map(({ content }) => content as Buffer));
  }

  /** Waits until the peer got just this. */
  async arrival(text: string): Promise<void> {
    await eventually(5000, text, async () => assert.equal(this.payload().toString(), text));
  }

  grantedBytes(): number {
    return this.frames(FRAME.CREDIT).reduce((sum, { content }) => sum + Number(content), 0);
  }

  /** Codes of the resets that the peer got. */
  resets(): number[] {
    return this.frames(FRAME.RST).map(({ content }) => Number(content));
  }
}

export async function visitorBench(
  t: TestContext,
  limits: Partial<RelayLimits> = {},
): Promise<{ bench: Bench; ours: Socket; theirs: Socket }> {
  const { ours, theirs } = await createSocketPair(t);
  return { bench: new Bench(ours, 'open', limits), ours, theirs };
}

export function wire(code: ErrorCode): number {
  return ERRORS[code].wire;
}
