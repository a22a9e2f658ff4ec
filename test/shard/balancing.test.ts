// Goal: clients of a tunnel share its visitors by weight, and a visitor with a key gets its own
// client on every shard. Method: routes as control would publish them, many addresses.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OpenWish } from '../../src/shard/route-choice.ts';
import { TokenBudgets } from '../../src/shard/token-budgets.ts';
import { RecordingSink } from '../mux/raw-peer.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { Bench, VISITOR } from './router-bench.ts';

/** Adds clients to `site`, each with one link. */
function serve(
  bench: Bench,
  clients: readonly string[],
  options: Readonly<Record<string, readonly string[]>> = {},
): void {
  for (const client of clients) bench.apply('add', 'site', `${client}/1`, { options });
}

/** The client that a visitor with `key` is given. */
function clientOf(bench: Bench, key: string): string {
  const opened = bench.router.openStream('site', VISITOR, new RecordingSink(), { key });
  assert.ok(typeof opened !== 'string', String(opened));
  opened.stream.reset('SLW_STREAM_CANCELLED');
  return bench.opener.chosen.at(-1)?.link.split('/')[0] ?? '';
}

function shareOf(all: readonly string[], one: string): number {
  return all.filter((each) => each === one).length / all.length;
}

test('weights share visitors out, and a change of them holds for the next', (t) => {
  const bench = new Bench(t);
  bench.apply('add', 'site', 'a/1', { options: { weight: ['3'] } });
  bench.apply('add', 'site', 'b/1', { options: { weight: ['1'] } });
  const first = bench.choices('site', 400).map((link) => link.split('/')[0] ?? '');
  assert.ok(Math.abs(shareOf(first, 'a') - 0.75) < 0.02, String(shareOf(first, 'a')));
  bench.apply('add', 'site', 'a/1', { options: { weight: ['1'] } });
  const later = bench.choices('site', 200).map((link) => link.split('/')[0] ?? '');
  assert.equal(shareOf(later, 'b'), 1, 'b has fewer streams for its weight now');
});

const ADDRESSES = Array.from({ length: 3000 }, (_, index) => `10.${index >> 8}.${index & 255}.1`);

test('by address: evenly, the same each time, and only those of a lost client move', (t) => {
  const bench = new Bench(t);
  serve(bench, ['a', 'b', 'c'], { affinity: ['ip'] });
  const before = new Map(ADDRESSES.map((address) => [address, clientOf(bench, address)]));
  for (const client of ['a', 'b', 'c']) {
    const share = shareOf([...before.values()], client);
    assert.ok(Math.abs(share - 1 / 3) < 0.03, `${client} has ${share}`);
  }
  for (const address of ADDRESSES) assert.equal(clientOf(bench, address), before.get(address));
  bench.opener.full.add('b/1');
  for (const address of ADDRESSES) {
    const now = clientOf(bench, address);
    const was = before.get(address);
    if (was === 'b') assert.notEqual(now, 'b');
    else assert.equal(now, was);
  }
  bench.opener.full.clear();
  for (const address of ADDRESSES) assert.equal(clientOf(bench, address), before.get(address));
  // Another shard, which heard of the clients in another order, chooses alike.
  const other = new Bench(t);
  serve(other, ['c', 'a', 'b'], { affinity: ['ip'] });
  for (const address of ADDRESSES) assert.equal(clientOf(other, address), before.get(address));
});

test('by address, weights count', (t) => {
  const bench = new Bench(t);
  bench.apply('add', 'site', 'a/1', { options: { affinity: ['ip'], weight: ['3'] } });
  bench.apply('add', 'site', 'b/1', { options: { affinity: ['ip'] } });
  const all = ADDRESSES.map((address) => clientOf(bench, address));
  assert.ok(Math.abs(shareOf(all, 'a') - 0.75) < 0.03, String(shareOf(all, 'a')));
});

test('by address: who is served by its own client stays there, though it has no more room', (t) => {
  const bench = new Bench(t);
  serve(bench, ['a', 'b', 'c'], { affinity: ['ip'] });
  for (const key of ADDRESSES.slice(0, 20)) {
    const opened = bench.router.openStream('site', VISITOR, new RecordingSink(), { key });
    assert.ok(typeof opened !== 'string', String(opened));
    const own = bench.opener.chosen.at(-1)?.link ?? '';
    bench.opener.full.add(own);
    assert.equal(bench.router.mayStay('site', opened.way, key), true, own);
    const [other] = ['a/1', 'b/1', 'c/1'].filter((link) => link !== own);
    bench.opener.full.delete(own);
    bench.opener.full.add(other ?? '');
    assert.equal(bench.router.mayStay('site', opened.way, key), true, 'nor does another count');
    bench.opener.full.clear();
  }
});

test('by address: who was given another client comes back when its own has room again', (t) => {
  const bench = new Bench(t);
  serve(bench, ['a', 'b'], { affinity: ['ip'] });
  const key = '192.0.2.7';
  const own = clientOf(bench, key);
  bench.opener.full.add(`${own}/1`);
  const opened = bench.router.openStream('site', VISITOR, new RecordingSink(), { key });
  assert.ok(typeof opened !== 'string', String(opened));
  assert.equal(bench.router.mayStay('site', opened.way, key), true);
  bench.opener.full.clear();
  assert.equal(bench.router.mayStay('site', opened.way, key), false);
});

test('by cookie: a mark finds its client, and an unknown one whoever is free', (t) => {
  const bench = new Bench(t);
  serve(bench, ['a', 'b', 'c'], { affinity: ['cookie'] });
  const { way } = bench.opened('site');
  const own = bench.opener.chosen.at(-1)?.link.split('/')[0] ?? '';
  for (let visit = 0; visit < 20; visit += 1) assert.equal(clientOf(bench, way.client.mark), own);
  assert.equal(bench.router.mayStay('site', way, way.client.mark), true);
  assert.equal(bench.router.mayStay('site', way, 'nobody'), true);
  const [other] = ['a', 'b', 'c'].filter((client) => client !== own);
  bench.opener.full.add(`${own}/1`);
  assert.notEqual(clientOf(bench, way.client.mark), own);
  bench.opener.full.clear();
  bench.opener.full.add(`${other}/1`);
  const next = bench.opened('site');
  if (next.way.client !== way.client) {
    assert.equal(bench.router.mayStay('site', way, next.way.client.mark), false);
  }
  assert.match(way.client.mark, /^[\w-]{16}$/u);
});

test('without affinity a key means nothing, and clients that disagree get the cookie', (t) => {
  const bench = new Bench(t);
  serve(bench, ['a', 'b']);
  assert.equal(bench.router.affinityOf('site'), undefined);
  assert.notEqual(clientOf(bench, 'x'), clientOf(bench, 'x'));
  bench.apply('add', 'site', 'a/1', { options: { affinity: ['ip'] } });
  assert.equal(bench.router.affinityOf('site'), 'ip');
  bench.apply('add', 'site', 'b/1', { options: { affinity: ['cookie'] } });
  assert.equal(bench.router.affinityOf('site'), 'cookie');
  bench.apply('remove', 'site', 'b/1');
  assert.equal(bench.router.affinityOf('site'), 'ip');
});

test('another client than the one that failed is chosen, or none', (t) => {
  const bench = new Bench(t);
  serve(bench, ['a', 'b'], { affinity: ['ip'] });
  const { way } = bench.opened('site');
  const failed = bench.opener.chosen.at(-1)?.link ?? '';
  for (let visit = 0; visit < 10; visit += 1) {
    const again = bench.router.openStream('site', VISITOR, new RecordingSink(), {
      ...{ except: [way.client], key: '192.0.2.7' },
    });
    assert.ok(typeof again !== 'string');
    assert.notEqual(bench.opener.chosen.at(-1)?.link, failed);
  }
  bench.apply('remove', 'site', failed === 'a/1' ? 'b/1' : 'a/1');
  const none = bench.router.openStream('site', VISITOR, new RecordingSink(), {
    except: [way.client],
  });
  assert.equal(none, 'SLW_STREAM_NO_LINK');
});

/** Slots of two tokens, for a client each, and which tokens have asked for more since last. */
function limit(bench: Bench, slots: Readonly<Record<'one' | 'two', number>>) {
  const asked: string[] = [];
  const clock = new FakeClock();
  const budgets = new TokenBudgets({ clock, askSlots: (token) => asked.push(token) });
  const shares = Object.entries(slots).map(([token, count]) => ({ token, slots: count }));
  budgets.apply({ isWhole: true, shares });
  bench.router.setBudgets(budgets);
  bench.apply('add', 'site', 'a/1', { token: 'one' });
  bench.apply('add', 'site', 'b/1', { token: 'two' });
  const takeAsked = () => {
    clock.advance(1000);
    return asked.splice(0).toSorted();
  };
  const limited = () =>
    budgets.takeUses().flatMap((use) => use.limited.map(([key]) => `${use.token} ${key}`));
  return { budgets, takeAsked, limited };
}

function openSite(bench: Bench, wish: OpenWish = {}) {
  const opened = bench.router.openStream('site', VISITOR, new RecordingSink(), wish);
  return typeof opened === 'string' ? opened : opened.way;
}

test('of several tokens without room each asks for more, and the one that gets it serves', (t) => {
  const bench = new Bench(t);
  const { budgets, takeAsked, limited } = limit(bench, { one: 1, two: 1 });
  openSite(bench);
  openSite(bench);
  takeAsked();
  for (let visitor = 0; visitor < 3; visitor += 1) {
    assert.equal(openSite(bench), 'SLW_STREAM_TOKEN_LIMIT');
    assert.deepEqual(takeAsked(), ['one', 'two'], 'both may have slots in another shard');
  }
  assert.deepEqual(limited(), ['one streams-max', 'two streams-max']);
  budgets.gain('two', 1);
  assert.equal(typeof openSite(bench), 'object');
  assert.equal(bench.opener.chosen.at(-1)?.link, 'b/1');
});

test('who wants another client than the one that failed is refused by none of its limits', (t) => {
  const bench = new Bench(t);
  const { takeAsked, limited } = limit(bench, { one: 1, two: 0 });
  const way = openSite(bench);
  assert.ok(typeof way === 'object');
  takeAsked();
  assert.equal(openSite(bench, { except: [way.client] }), 'SLW_STREAM_TOKEN_LIMIT');
  assert.deepEqual([takeAsked(), limited()], [['two'], ['two streams-max']]);
});
