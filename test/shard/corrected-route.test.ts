// Goal: a visitor whom another shard has sent for a link that may be gone comes by another of its
// client, wherever that is. Method: the real router, streams of a session in memory; what several
// shards do together is in route-choice.test.ts.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RecordingSink } from '../mux/raw-peer.ts';
import { Bench, SHARD } from './router-bench.ts';

test('a visitor of another shard whose link may be gone comes by another of its client', (t) => {
  const bench = new Bench(t);
  for (const link of ['a/1', 'b/1', 'a/2']) bench.apply('add', 'x.example', link);
  const by = (link: string) => {
    const request = { tunnel: 'x.example', address: '192.0.2.1', port: 1, link };
    assert.equal(typeof bench.router.openFor(request, new RecordingSink()), 'object');
    return bench.opener.chosen.at(-1)?.link;
  };
  assert.equal(by('a/1'), 'a/1', 'as asked while nothing is known against it');
  bench.opener.doubted.add('a/1');
  assert.equal(by('a/1'), 'a/2');
  bench.opener.doubted.add('a/2');
  assert.equal(by('a/1'), 'a/1', 'nobody else: never another client, of which nothing was asked');
  assert.equal(by('a/9'), 'a/9', 'of which control has not told this shard yet');
});

test('and by an older one, also of another shard, while none is younger', (t) => {
  const bench = new Bench(t);
  bench.apply('add', 'x.example', 'a/1', { shard: SHARD + 1 });
  for (const link of ['a/2', 'a/3']) bench.apply('add', 'x.example', link);
  const by = (link: string) => {
    const request = { tunnel: 'x.example', address: '192.0.2.1', port: 1, link };
    const opened = bench.router.openFor(request, new RecordingSink());
    if (typeof opened === 'string') return opened;
    return bench.opener.chosen.slice(-1).map(({ link, shard }) => [link, shard])[0];
  };
  bench.opener.doubted.add('a/3');
  assert.deepEqual(by('a/3'), ['a/2', SHARD]);
  bench.opener.doubted.add('a/2');
  assert.deepEqual(by('a/3'), ['a/3', SHARD + 1], 'there an older one than that is meant');
  bench.apply('add', 'x.example', 'a/4', { shard: SHARD + 1 });
  assert.deepEqual(by('a/4'), ['a/3', SHARD + 1], 'of the older ones none is well here');
  bench.opener.doubted.delete('a/2');
  assert.deepEqual(by('a/4'), ['a/2', SHARD]);
  for (const link of ['a/2', 'a/3']) bench.apply('remove', 'x.example', link);
  assert.equal(by('a/4'), 'SLW_STREAM_NO_LINK');
});
