// An HTTP ingress behind the real router of a shard: clients come and go as control would say, and
// the link of each leads to an upstream on loopback.
//
// Invariant: changes are numbered as control numbers them; a client has one link, with its name.
// Must not know: what is asked of it.

import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { ErrorCode } from '../../src/base/errors.ts';
import { networkSet } from '../../src/base/network-set.ts';
import { declareLogin } from '../../src/base/visitor-login.ts';
import type { RouteChange } from '../../src/bridge/exit-messages.ts';
import type { HttpIngressOptions } from '../../src/shard/http-context.ts';
import { Meters } from '../../src/shard/meters.ts';
import { ShardRouter } from '../../src/shard/router.ts';
import { type Edge, type Peer, startEdge, type Upstream } from '../support/http-edge.ts';
import { LoopbackOpener } from '../support/http-stream.ts';

export const SHARD = 0;
/** The one tunnel. */
export const SITE = 'a.example';
export const HEAD_END = /\r\n\r\n$/;
/** What opens the tunnel to Ann, and what she shows. */
export const LOGIN = { 'visitor-login': [declareLogin('basic', 'ann:secret', '0'.repeat(32))] };
export const ANN = `Authorization: Basic ${Buffer.from('ann:secret').toString('base64')}\r\n`;
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

export class RoutedEdge {
  readonly edge: Edge;
  readonly #router: ShardRouter;
  readonly #opener: LoopbackOpener;
  #number = 0;

  private constructor(edge: Edge, router: ShardRouter, opener: LoopbackOpener) {
    this.edge = edge;
    this.#router = router;
    this.#opener = opener;
  }

  /** Visitors come from a trusted proxy, which may pool its connections. */
  static async start(
    t: TestContext,
    more: Pick<HttpIngressOptions, 'logins'> = {},
  ): Promise<RoutedEdge> {
    const meters = new Meters();
    t.after(() => meters.close());
    const opener = new LoopbackOpener();
    const router = new ShardRouter(SHARD, opener, meters);
    const trustedProxies = networkSet([{ address: '127.0.0.1', prefixBits: 32 }]);
    const edge = await startEdge(t, { ingress: { router, trustedProxies, ...more } });
    return new RoutedEdge(edge, router, opener);
  }

  visit(): Promise<Peer> {
    return this.edge.visit();
  }

  /** The upstream of a client that is to come. */
  async link(client: string): Promise<Upstream> {
    const upstream = await this.edge.upstream(client);
    this.#opener.ports.set(client, upstream.port);
    return upstream;
  }

  add(client: string, options: RouteChange['options'] = {}, shard = SHARD): void {
    this.#apply('add', client, { options, shard });
  }

  withdraw(client: string): void {
    this.#apply('remove', client);
  }

  #apply(kind: 'add' | 'remove', client: string, more: Partial<RouteChange> = {}): void {
    this.#number += 1;
    const route = { tunnel: SITE, client, link: client, shard: SHARD };
    this.#router.apply([{ number: this.#number, kind, ...route, ...more }]);
  }

  /** Streams stay unaccepted from now on, as those must be that a client refuses in the end. */
  acceptNothing(): void {
    this.#opener.accepts = false;
  }

  /** The newest stream asks whoever writes to wait. */
  holdBack(): void {
    const stream = this.#opener.streams.at(-1);
    assert.ok(stream !== undefined);
    stream.isHeldBack = true;
  }

  /** The newest stream ends as if its session said so. */
  lose(code: ErrorCode): void {
    this.#opener.streams.at(-1)?.lose(code);
  }

  /** What became of the streams so far. */
  get endings(): string[] {
    return this.#opener.streams.map(({ log }) => log.join());
  }
}

/** Asks, and has the upstream answer; gives its side of the stream. */
export async function ask(visitor: Peer, upstream: Upstream, request: string): Promise<Peer> {
  visitor.send(request);
  const peer = await upstream.next();
  await answer(visitor, peer);
  return peer;
}

/** Gives the request that the upstream has read, and the response that the visitor has. */
export async function answer(
  visitor: Peer,
  peer: Peer,
  end: RegExp | string = HEAD_END,
): Promise<{ readonly request: string; readonly response: string }> {
  const request = await peer.read(end);
  peer.send(OK);
  const response = await visitor.read('ok');
  assert.match(response, /^HTTP\/1\.1 200 /);
  return { request, response };
}
