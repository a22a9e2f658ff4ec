// Visitors of an HTTP ingress who read nothing, over one real session whose peer a test answers
// for: its answers wait in this process.
//
// Invariant: every tunnel leads over the one link. Must not know: what is asserted.

import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { ErrorCode } from '../../src/base/errors.ts';
import type { Stream, StreamSink } from '../../src/mux/stream.ts';
import type { OpenedStream, VisitorInfo } from '../../src/shard/router.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { bodyFrame, RawPeer, REQUEST, valueFrame } from '../mux/raw-peer.ts';
import { eventually } from '../support/deadline.ts';
import { type Edge, type Peer, startEdge, turns } from '../support/http-edge.ts';
import { LoopbackRouter, ROUTE_CLIENT } from '../support/http-stream.ts';

export const WAIT_MS = 5000;
export const GET = 'GET / HTTP/1.1\r\nHost: a.example\r\n\r\n';
export const KEPT = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';
export const CLOSING = 'HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n';
export const CHUNK = `8000\r\n${'x'.repeat(0x8000)}\r\n`;
export const END = '0\r\n\r\n';
/** Of each answer so much waits in the process at least, whatever the kernels take. */
export const WAITING_BYTES = 0x8000;

/** All tunnels lead over one link. */
export class LinkRouter extends LoopbackRouter {
  readonly opened: Stream[] = [];
  readonly #link: RawPeer;

  constructor(link: RawPeer) {
    super();
    this.#link = link;
    this.tunnels.set('a.example', 1);
  }

  override openStream(
    _tunnel: string,
    _visitor: VisitorInfo,
    sink: StreamSink,
  ): OpenedStream | ErrorCode {
    const stream = this.#link.session.open(REQUEST, sink);
    if (typeof stream === 'string') return stream;
    this.opened.push(stream);
    return { stream, way: { edits: undefined, budget: undefined, client: ROUTE_CLIENT } };
  }
}

export interface Scene {
  readonly edge: Edge;
  readonly link: RawPeer;
  readonly router: LinkRouter;
}

export async function scene(t: TestContext, memoryBytes = 64 << 20): Promise<Scene> {
  const link = new RawPeer({ limits: { memoryBytes } });
  const router = new LinkRouter(link);
  return { edge: await startEdge(t, { ingress: { router } }), link, router };
}

export function say({ link }: Scene, stream: Stream, text: string): void {
  link.deliver(bodyFrame(FRAME.DATA, stream.id, Buffer.from(text)));
}

/** The stream of the next request, which was accepted. */
export async function nextStream({ link, router }: Scene, count: number): Promise<Stream> {
  await eventually(WAIT_MS, 'a stream is opened', async () => {
    assert.equal(router.opened.length, count);
  });
  const stream = router.opened[count - 1];
  assert.ok(stream !== undefined);
  link.deliver(valueFrame(FRAME.OPENED, stream.id, 0));
  return stream;
}

/** A visitor who has asked with `request`, and reads nothing. */
export async function ask(at: Scene, request = GET): Promise<{ visitor: Peer; stream: Stream }> {
  const visitor = await at.edge.visit();
  visitor.socket.pause();
  visitor.send(request);
  return { visitor, stream: await nextStream(at, at.router.opened.length + 1) };
}

/** Answers with `head` and a body of which some waits in this process in the end. */
export async function answer(at: Scene, stream: Stream, head: string): Promise<void> {
  say(at, stream, head);
  await turns();
  while (stream.window.heldBytes < WAITING_BYTES) {
    say(at, stream, CHUNK);
    await turns(5);
  }
  say(at, stream, END);
  await turns();
}

/** Another visitor's answer fills the session, which takes back what waits on `stream`. */
export async function untilTakenBack(at: Scene, stream: Stream): Promise<void> {
  at.link.clock.advance(1000);
  const { stream: other } = await ask(at);
  say(at, other, KEPT);
  while (stream.window.heldBytes > 0) {
    say(at, other, CHUNK);
    await turns(5);
  }
}

/** The upstream has closed. */
export async function close({ link }: Scene, stream: Stream): Promise<void> {
  link.deliver(valueFrame(FRAME.FIN, stream.id, 0));
  await turns();
}

export async function readWhole(visitor: Peer): Promise<void> {
  visitor.socket.resume();
  await visitor.until('the answer is whole', () => visitor.text.endsWith(END));
}

export async function untilNothingIsHeld({ link }: Scene): Promise<void> {
  await eventually(WAIT_MS, 'nothing is held', async () => {
    assert.deepEqual([link.session.memory.heldBytes, link.session.streamsCount], [0, 0]);
  });
}
