// Goal: a visitor reaches the tunnel its host names and the least busy client of it, and never a
// link that is gone. Method: routes as control would publish them, streams of a session in memory.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ErrorCode } from '../../src/base/errors.ts';
import type { RouteChange } from '../../src/bridge/messages.ts';
import type { OpenRequest } from '../../src/mux/session.ts';
import type { Stream, StreamSink } from '../../src/mux/stream.ts';
import { Meters } from '../../src/shard/meters.ts';
import { ShardRouter, type StreamOpener } from '../../src/shard/router.ts';
import { RawPeer, RecordingSink } from '../mux/raw-peer.ts';

const VISITOR = { address: '192.0.2.7', port: 1234 };
const SHARD = 0;

/** Opens every stream on one session, whichever link was chosen, and notes the choice. */
class NotingOpener implements StreamOpener {
  readonly chosen: { link: string; shard: number; request: OpenRequest }[] = [];
  readonly full = new Set<string>();
  readonly #peer = new RawPeer();

  canOpen(link: string): boolean {
    return !this.full.has(link);
  }

  open(shard: number, request: OpenRequest, sink: StreamSink): Stream | ErrorCode {
    this.chosen.push({ link: request.link, shard, request });
    return this.#peer.session.open(request, sink);
  }
}

class Bench {
  readonly opener = new NotingOpener();
  readonly meters: Meters;
  readonly router: ShardRouter;
  #number = 0;

  constructor(t: { after(step: () => void): void }) {
    this.meters = new Meters();
    t.after(() => this.meters.close());
    this.router = new ShardRouter(SHARD, this.opener, this.meters);
  }

  apply(kind: RouteChange['kind'], tunnel: string, link = '', more: Partial<RouteChange> = {}) {
    this.#number += 1;
    const client = link.split('/')[0] ?? '';
    this.router.apply([
      { number: this.#number, kind, tunnel, link, client, shard: SHARD, ...more },
    ]);
  }

  open(tunnel: string): Stream {
    const stream = this.router.openStream(tunnel, VISITOR, new RecordingSink());
    assert.ok(typeof stream !== 'string', String(stream));
    return stream;
  }

  /** Links chosen for `count` visitors who stay. */
  choices(tunnel: string, count: number): string[] {
    const before = this.opener.chosen.length;
    for (let visitor = 0; visitor < count; visitor += 1) this.open(tunnel);
    return this.opener.chosen.slice(before).map(({ link }) => link);
  }
}

test('a host finds its own tunnel, then the longest wildcard, then the catch-all', (t) => {
  const bench = new Bench(t);
  for (const name of ['a.example.com', '*.example.com', '*.b.example.com', 'tcp:2222']) {
    bench.apply('add', name, 'c/1');
  }
  const expected: readonly (readonly [string, string | undefined])[] = [
    ['a.example.com', 'a.example.com'],
    ['x.example.com', '*.example.com'],
    ['x.y.example.com', '*.example.com'],
    ['x.b.example.com', '*.b.example.com'],
    ['x.a.example.com', '*.example.com'],
    ['b.example.com', '*.example.com'],
    ['example.com', undefined],
    ['badexample.com', undefined],
    ['a.example.com.evil.test', undefined],
    ['com', undefined],
    ['', undefined],
    ['.', undefined],
    ['__proto__', undefined],
    ['constructor', undefined],
    ['hasOwnProperty', undefined],
    ['toString.example.com', '*.example.com'],
  ];
  for (const [host, tunnel] of expected) {
    assert.equal(bench.router.matchHost(host), tunnel, `host "${host}"`);
  }
  bench.apply('add', '*', 'c/1');
  for (const [host, tunnel] of expected) {
    assert.equal(bench.router.matchHost(host), tunnel ?? '*', `host "${host}" with a catch-all`);
  }
});

test('names of prototypes are tunnels like others', (t) => {
  const bench = new Bench(t);
  for (const name of ['__proto__', 'constructor', 'tostring']) {
    assert.equal(bench.router.matchHost(name), undefined);
    bench.apply('add', name, 'c/1');
    assert.equal(bench.router.matchHost(name), name);
    assert.equal(bench.choices(name, 1)[0], 'c/1');
    bench.apply('remove', name, 'c/1');
    bench.apply('forget', name);
    assert.equal(bench.router.matchHost(name), undefined);
  }
});

test('a tunnel without a client is known and serves nobody, until it is forgotten', (t) => {
  const bench = new Bench(t);
  const open = () => bench.router.openStream('a.example.com', VISITOR, new RecordingSink());
  assert.equal(open(), 'SLW_STREAM_NO_LINK');
  bench.apply('add', 'a.example.com');
  assert.equal(bench.router.matchHost('a.example.com'), 'a.example.com', 'known to a new shard');
  assert.equal(open(), 'SLW_STREAM_NO_LINK');
  bench.apply('add', 'a.example.com', 'c/1');
  assert.equal(typeof open(), 'object');
  bench.apply('remove', 'a.example.com', 'c/1');
  assert.equal(open(), 'SLW_STREAM_NO_LINK');
  assert.equal(bench.router.matchHost('a.example.com'), 'a.example.com');
  bench.apply('forget', 'a.example.com');
  assert.equal(bench.router.matchHost('a.example.com'), undefined);
});

test('a change that is not newer is ignored', (t) => {
  const bench = new Bench(t);
  bench.apply('add', 'a', 'c/1', { number: 10 });
  bench.apply('remove', 'a', 'c/1', { number: 10 });
  bench.apply('forget', 'a', '', { number: 9 });
  assert.deepEqual(bench.choices('a', 1), ['c/1']);
  bench.apply('remove', 'a', 'c/1', { number: 11 });
  bench.apply('add', 'a', 'c/1', { number: 5 });
  const sink = new RecordingSink();
  assert.equal(bench.router.openStream('a', VISITOR, sink), 'SLW_STREAM_NO_LINK');
});

test('the request says who visits which tunnel on which link', (t) => {
  const bench = new Bench(t);
  bench.apply('add', 'a', 'c/1', { shard: 2 });
  bench.open('a');
  assert.deepEqual(bench.opener.chosen[0], {
    link: 'c/1',
    shard: 2,
    request: { tunnel: 'a', address: '192.0.2.7', port: 1234, link: 'c/1' },
  });
});

test('clients with equally many streams take turns', (t) => {
  const bench = new Bench(t);
  for (const link of ['a/1', 'b/1', 'c/1']) bench.apply('add', 'site', link);
  const counts = Object.groupBy(bench.choices('site', 30), (link) => link);
  assert.deepEqual(
    Object.values(counts).map((links) => links?.length),
    [10, 10, 10],
  );
  // Visitors who leave at once would otherwise all meet the same client.
  const brief = new Set<string>();
  for (let visitor = 0; visitor < 3; visitor += 1) {
    bench.open('site').reset('SLW_STREAM_CANCELLED');
    brief.add(bench.opener.chosen.at(-1)?.link ?? '');
  }
  assert.equal(brief.size, 3);
});

test('the client with the fewest streams is chosen, however many links it has', (t) => {
  const bench = new Bench(t);
  for (const link of ['a/1', 'a/2', 'a/3']) bench.apply('add', 'site', link);
  const early = Array.from({ length: 6 }, () => bench.open('site'));
  bench.apply('add', 'site', 'b/1');
  assert.deepEqual(bench.choices('site', 6), Array(6).fill('b/1'));
  const even = bench.choices('site', 8).map((link) => link[0]);
  assert.deepEqual([even.filter((client) => client === 'a').length, even.length], [4, 8]);
  for (const stream of early) stream.reset('SLW_STREAM_CANCELLED');
  assert.deepEqual(new Set(bench.choices('site', 6).map((link) => link[0])), new Set(['a']));
});

test('streams of one client spread over its links of this shard', (t) => {
  const bench = new Bench(t);
  bench.apply('add', 'site', 'a/1');
  bench.apply('add', 'site', 'a/2');
  const counts = Object.groupBy(bench.choices('site', 20), (link) => link);
  assert.deepEqual([counts['a/1']?.length, counts['a/2']?.length], [10, 10]);
});

test("a client's link on this shard comes before one over the mesh", (t) => {
  const bench = new Bench(t);
  bench.apply('add', 'site', 'a/far', { shard: 1 });
  bench.apply('add', 'site', 'a/near');
  bench.apply('add', 'site', 'a/farther', { shard: 2 });
  assert.deepEqual(bench.choices('site', 5), Array(5).fill('a/near'));
  bench.opener.full.add('a/near');
  assert.deepEqual(new Set(bench.choices('site', 4)), new Set(['a/far', 'a/farther']));
});

test('a link that cannot take a stream is passed over', (t) => {
  const bench = new Bench(t);
  bench.apply('add', 'site', 'a/1');
  bench.apply('add', 'site', 'b/1');
  bench.opener.full.add('a/1');
  assert.deepEqual(bench.choices('site', 4), Array(4).fill('b/1'));
  bench.opener.full.add('b/1');
  const sink = new RecordingSink();
  assert.equal(bench.router.openStream('site', VISITOR, sink), 'SLW_STREAM_NO_LINK');
});

test('a link that is gone is never chosen again, in any of its tunnels', (t) => {
  const bench = new Bench(t);
  for (const tunnel of ['one', 'two']) {
    bench.apply('add', tunnel, 'a/1');
    bench.apply('add', tunnel, 'b/1');
  }
  bench.router.removeLink('a/1');
  assert.deepEqual(bench.choices('one', 3), Array(3).fill('b/1'));
  assert.deepEqual(bench.choices('two', 3), Array(3).fill('b/1'));
  // Control says so a moment later.
  bench.apply('remove', 'one', 'a/1');
  bench.apply('remove', 'two', 'a/1');
  assert.deepEqual(bench.choices('one', 1), ['b/1']);
});

test('streams are counted for their tunnel while they live', (t) => {
  const bench = new Bench(t);
  bench.apply('add', 'site', 'a/1');
  const [first, second] = [bench.open('site'), bench.open('site')];
  assert.equal(bench.meters.tunnel('site').streams, 2);
  first.reset('SLW_STREAM_IDLE');
  second.reset('SLW_STREAM_IDLE');
  assert.equal(bench.meters.tunnel('site').streams, 0);
  assert.deepEqual([...bench.meters.tunnel('site').results], [['SLW_STREAM_IDLE', 2]]);
});
