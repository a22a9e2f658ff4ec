// Goal: a visitor reaches the tunnel its host names and the least busy client of it, and never a
// link that is gone. Method: routes as control would publish them, streams of a session in memory.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { TargetRange } from '../../src/shard/host-table.ts';
import { createTunnelLimits } from '../../src/shard/tunnel-limits.ts';
import { RecordingSink } from '../mux/raw-peer.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { Bench, VISITOR } from './router-bench.ts';

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

test('server names find passthrough tunnels alone, and hosts none of them', (t) => {
  const bench = new Bench(t);
  for (const name of ['tls:a.example', 'tls:*.a.example', 'tls:*.x.a.example', 'a.example', '*']) {
    bench.apply('add', name, 'c/1');
  }
  const expected: readonly (readonly [string, string | undefined])[] = [
    ['a.example', 'tls:a.example'],
    ['b.a.example', 'tls:*.a.example'],
    ['y.x.a.example', 'tls:*.x.a.example'],
    ['example', undefined],
    ['b.example', undefined],
    ['__proto__', undefined],
  ];
  for (const [name, tunnel] of expected) {
    assert.equal(bench.router.matchServerName(name), tunnel, name);
    assert.equal(bench.router.matchHost(name), name === 'a.example' ? name : '*');
  }
  assert.equal(bench.router.matchHost('tls:a.example'), '*');
  bench.apply('forget', 'tls:*.x.a.example');
  assert.equal(bench.router.matchServerName('y.x.a.example'), 'tls:*.a.example');
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

test('a port that closes and opens again goes on with its counts and what it used up', (t) => {
  const bench = new Bench(t);
  const rates = { tunnelConnectionsMax: 2, tunnelBytesOutPerSecondMax: 0 };
  const limits = { ...rates, tunnelBytesInPerSecondMax: 2000 };
  const limited: string[] = [];
  const onLimited = (limit: string) => limited.push(limit);
  bench.router.setLimits(createTunnelLimits(limits, new FakeClock(), onLimited));
  bench.apply('add', 'tcp:2222', 'c/1');
  const over = bench.open('tcp:2222');
  assert.equal(over.write(Buffer.alloc(2000)), true);
  over.reset('SLW_STREAM_CANCELLED');
  bench.open('tcp:2222');
  bench.apply('remove', 'tcp:2222', 'c/1');
  bench.apply('forget', 'tcp:2222');
  const counted = () => bench.meters.sample('none').tunnels;
  const ended = [['SLW_STREAM_CANCELLED', 1]];
  const counts = { streams: 1, bytesIn: 0, bytesOut: 2000, results: ended, reopened: 0 };
  const before = [{ tunnel: 'tcp:2222', ...counts }];
  assert.deepEqual(counted(), before, 'while it is closed');
  bench.apply('add', 'tcp:2222', 'd/1');
  assert.deepEqual(counted(), before);
  assert.equal(bench.open('tcp:2222').write(Buffer.alloc(100)), false, 'the rate is used up');
  const third = bench.router.openStream('tcp:2222', VISITOR, new RecordingSink());
  assert.equal(third, 'SLW_STREAM_TUNNEL_LIMIT', 'a stream of before lives on');
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
    request: {
      ...{ tunnel: 'a', address: '192.0.2.7', port: 1234, link: 'c/1' },
      ...{ toAddress: undefined, toPort: undefined, windowBytesMax: undefined },
    },
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

test('what clients ask for holds while one of them does, whichever leaves first', (t) => {
  const bench = new Bench(t);
  const options = { 'allow-ips': ['192.0.2.0/24'], affinity: ['cookie'] };
  const clients = ['a/1', 'b/1', 'c/1', 'd/1'];
  for (const link of clients) bench.apply('add', 'site', link, { options });
  bench.apply('add', 'site', 'e/1');
  for (const link of ['b/1', 'd/1', 'a/1']) {
    bench.apply('remove', 'site', link);
    assert.equal(bench.router.admits('site', '198.51.100.1'), false, `without ${link}`);
    assert.equal(bench.router.affinityOf('site'), 'cookie');
  }
  bench.apply('add', 'site', 'c/1');
  assert.equal(bench.router.admits('site', '198.51.100.1'), true);
  assert.equal(bench.router.affinityOf('site'), undefined);
});

test('a way holds while its route is there, whichever others come and go', (t) => {
  const bench = new Bench(t);
  const links = ['a/1', 'b/1', 'c/1', 'd/1'];
  const ways = new Map(
    links.map((link) => {
      bench.apply('add', 'site', link);
      for (const other of links) if (other !== link) bench.opener.full.add(other);
      bench.opener.full.delete(link);
      return [link, bench.opened('site').way];
    }),
  );
  const holding = () =>
    [...ways].flatMap(([link, way]) =>
      bench.router.mayStay('site', way, undefined) ? [link] : [],
    );
  assert.deepEqual(holding(), links);
  bench.apply('remove', 'site', 'b/1');
  assert.deepEqual(holding(), ['a/1', 'c/1', 'd/1']);
  bench.apply('add', 'site', 'b/1');
  bench.router.removeLink('a/1');
  assert.deepEqual(holding(), ['c/1', 'd/1'], 'what came back is another route');
  bench.opener.full.clear();
  assert.deepEqual(new Set(bench.choices('site', 9)), new Set(['b/1', 'c/1', 'd/1']));
  for (const link of ['d/1', 'c/1', 'b/1']) bench.apply('remove', 'site', link);
  assert.deepEqual([holding(), bench.router.isServed('site')], [[], false]);
});

test('a tunnel that is forgotten takes its routes along', (t) => {
  const bench = new Bench(t);
  bench.apply('add', 'site', 'a/1');
  bench.apply('forget', 'site');
  bench.apply('add', 'site', 'a/1');
  assert.deepEqual(bench.choices('site', 2), ['a/1', 'a/1']);
  bench.router.removeLink('a/1');
  assert.equal(bench.router.isServed('site'), false);
});

test('a link that is declared again, withdrawn and back ends in all of its tunnels', (t) => {
  const bench = new Bench(t);
  bench.apply('add', 'site', 'a/1');
  bench.apply('add', 'site', 'a/1');
  bench.apply('remove', 'site', 'a/1');
  bench.apply('add', 'other', 'a/1');
  bench.router.removeLink('a/1');
  assert.deepEqual([bench.router.isServed('site'), bench.router.isServed('other')], [false, false]);
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

/** A request for `path` as the parser gives it, behind bytes that are not its own. */
function target(path: string): TargetRange {
  const bytes = Buffer.from(`xx${path}yy`, 'latin1');
  return { bytes, base: 1, targetStart: 1, targetEnd: 1 + path.length, targetPrefix: '' };
}

test('the longest path of the best host is chosen, and without one the next host', (t) => {
  const bench = new Bench(t);
  const names = ['a.example.com', 'a.example.com/api', 'a.example.com/api/v1', 'b.example.com/api'];
  for (const name of [...names, '*.example.com', '*.example.com/x', '*/api', '*/%2F/~a']) {
    bench.apply('add', name, 'c/1');
  }
  const cases: readonly (readonly [string, string, string | undefined])[] = [
    ['a.example.com', '/', 'a.example.com'],
    ['a.example.com', '/api', 'a.example.com/api'],
    ['a.example.com', '/api/', 'a.example.com/api'],
    ['a.example.com', '/api?x=/api/v1', 'a.example.com/api'],
    ['a.example.com', '/apix', 'a.example.com'],
    ['a.example.com', '/API', 'a.example.com'],
    ['a.example.com', '/api/v1', 'a.example.com/api/v1'],
    ['a.example.com', '/api/v1/x', 'a.example.com/api/v1'],
    ['a.example.com', '/api/v2', 'a.example.com/api'],
    ['a.example.com', '/x/../api/./v1', 'a.example.com/api/v1'],
    ['a.example.com', '/x/%2e%2E/%61pi/v%31', 'a.example.com/api/v1'],
    ['a.example.com', '/api/..', 'a.example.com'],
    ['a.example.com', '/api/v1/..', 'a.example.com/api'],
    ['a.example.com', '/../../api', 'a.example.com/api'],
    ['a.example.com', '/api%2Fv1', 'a.example.com'],
    ['a.example.com', '//api', 'a.example.com'],
    ['a.example.com', '/ap%69%', 'a.example.com'],
    ['a.example.com', '', 'a.example.com'],
    ['a.example.com', '?/api', 'a.example.com'],
    ['b.example.com', '/api/x', 'b.example.com/api'],
    ['b.example.com', '/', '*.example.com'],
    ['b.example.com', '/x/y', '*.example.com/x'],
    ['c.example.com', '/api', '*.example.com'],
    ['other', '/api', '*/api'],
    ['other', '/%2f/%7ea/', '*/%2F/~a'],
    ['other', '/', undefined],
  ];
  for (const [host, path, name] of cases) {
    assert.equal(bench.router.matchHost(host, target(path)), name, `${host}${path}`);
  }
  bench.apply('forget', 'a.example.com/api');
  bench.apply('forget', 'a.example.com/api/v1');
  assert.equal(bench.router.matchHost('a.example.com', target('/api/v1')), 'a.example.com');
  bench.apply('forget', 'a.example.com');
  assert.equal(bench.router.matchHost('a.example.com', target('/x')), '*.example.com/x');
});

test('OPTIONS * has no path, and finds the tunnel without one', (t) => {
  const bench = new Bench(t);
  bench.apply('add', 'a/api', 'c/1');
  const asterisk = { ...target('*'), targetPrefix: '*' } as const;
  assert.equal(bench.router.matchHost('a', asterisk), undefined);
  bench.apply('add', 'a', 'c/1');
  assert.equal(bench.router.matchHost('a', asterisk), 'a');
});

/** The same by RFC 3986 to the letter: strings, lists, and every prefix tried. */
function naiveMatch(names: ReadonlySet<string>, host: string, path: string): string | undefined {
  const plain = (path.split('?')[0] ?? '').replace(/%([0-9a-f]{2})/gi, (octet, hex: string) => {
    const letter = String.fromCharCode(Number.parseInt(hex, 16));
    return /[\w.~-]/.test(letter) ? letter : octet.toUpperCase();
  });
  const kept: string[] = [];
  const segments = plain.split('/').slice(1);
  for (const [index, segment] of segments.entries()) {
    const isLast = index === segments.length - 1;
    if (segment === '..') kept.pop();
    if (segment !== '.' && segment !== '..') kept.push(segment);
    else if (isLast) kept.push('');
  }
  const below = `/${kept.join('/')}`;
  const labels = host.split('.');
  const patterns = [host, ...labels.slice(1).map((_, i) => `*.${labels.slice(i + 1).join('.')}`)];
  for (const pattern of [...patterns, '*']) {
    const found = [...names]
      .filter((name) => {
        const prefix = name.slice(pattern.length);
        if (!name.startsWith(pattern) || (prefix !== '' && prefix[0] !== '/')) return false;
        return prefix === '' || below === prefix || below.startsWith(`${prefix}/`);
      })
      .toSorted((left, right) => right.length - left.length);
    if (found[0] !== undefined) return found[0];
  }
  return undefined;
}

test('matches as a naive matcher does, whatever is added and forgotten', (t) => {
  const seed = 4;
  const segment = fc.constantFrom('a', 'b', 'aa', 'A', '%2F', '~', '.a', '...');
  const pattern = fc.constantFrom('x.y', '*.y', '*', 'y', '*.x.y', 'z.x.y');
  const prefix = fc
    .array(segment, { maxLength: 3 })
    .map((list) => list.map((s) => `/${s}`).join(''));
  const name = fc.tuple(pattern, prefix).map((parts) => parts.join(''));
  const piece = fc.constantFrom(
    ...['/', '/', '/', '.', '..', 'a', 'b', 'A', '%2f', '%2F', '%61', '%2e', '%2E', '~', '%7e'],
    ...['%', '%4', '%zz', '?', '%3F', '//', '/a', '/b', '/../'],
  );
  const path = fc.array(piece, { maxLength: 12 }).map((list) => `/${list.join('')}`);
  const host = fc.constantFrom('x.y', 'y', 'z.x.y', 'w.x.y', 'v');
  fc.assert(
    fc.property(
      fc.array(name, { maxLength: 8 }),
      fc.array(fc.nat(7), { maxLength: 3 }),
      fc.array(fc.tuple(host, path), { minLength: 1, maxLength: 8 }),
      (added, forgotten, asked) => {
        const bench = new Bench(t);
        const names = new Set(added);
        for (const one of added) bench.apply('add', one, 'c/1');
        for (const index of forgotten) {
          const one = added[index];
          if (one === undefined) continue;
          names.delete(one);
          bench.apply('forget', one);
        }
        for (const [at, request] of asked) {
          const wanted = naiveMatch(names, at, request);
          assert.equal(bench.router.matchHost(at, target(request)), wanted, `${at}${request}`);
        }
        bench.meters.close();
      },
    ),
    { seed, numRuns: 2000 },
  );
});

test('a target of the greatest length takes linear time', (t) => {
  const bench = new Bench(t);
  bench.apply('add', 'a/api', 'c/1');
  for (const piece of ['/..', '/a', '/', '/%2e%2e', '%2e', '/./x/..']) {
    const path = `/api${piece.repeat(8192)}`.slice(0, 8192);
    for (let round = 0; round < 200; round += 1) bench.router.matchHost('a', target(path));
  }
});

test('a stream comes with the rules of the client that was chosen for it', (t) => {
  const bench = new Bench(t);
  bench.apply('add', 'a', 'one/1', { options: { 'host-header': ['one.internal'] } });
  bench.apply('add', 'a', 'two/1', { options: { 'host-header': ['two.internal'] } });
  bench.apply('add', 'a', 'three/1');
  const seen = new Set<string>();
  for (let visitor = 0; visitor < 6; visitor += 1) {
    const { edits } = bench.opened('a').way;
    const link = bench.opener.chosen.at(-1)?.link ?? '';
    seen.add(`${link} ${edits?.hostLine?.toString() ?? 'as it was'}`);
  }
  assert.deepEqual([...seen].toSorted(), [
    'one/1 Host: one.internal\r\n',
    'three/1 as it was',
    'two/1 Host: two.internal\r\n',
  ]);
  for (const link of ['one/1', 'three/1']) bench.router.removeLink(link);
  const before = bench.opened('a').way.edits;
  assert.equal(bench.opened('a').way.edits, before, 'made ready once, not for each stream');
  bench.apply('add', 'a', 'two/1', { options: { 'host-header': ['new.internal'] } });
  assert.equal(bench.opened('a').way.edits?.hostLine?.toString(), 'Host: new.internal\r\n');
  bench.apply('add', 'a', 'two/1');
  assert.equal(bench.opened('a').way.edits, undefined);
});

test('a link that may be gone is chosen last, and when there is no other', (t) => {
  const bench = new Bench(t);
  for (const link of ['a/1', 'a/2', 'b/1']) bench.apply('add', 'x.example', link);
  bench.opener.doubted.add('a/1');
  for (let visitor = 0; visitor < 12; visitor += 1) bench.open('x.example');
  const chosen = bench.opener.chosen.map(({ link }) => link);
  assert.ok(!chosen.includes('a/1'), String(chosen));
  assert.ok(chosen.includes('a/2') && chosen.includes('b/1'), String(chosen));
  for (const link of ['a/2', 'b/1']) bench.opener.full.add(link);
  bench.open('x.example');
  assert.equal(bench.opener.chosen.at(-1)?.link, 'a/1');
});
