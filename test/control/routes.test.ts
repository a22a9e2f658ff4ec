// Routes of links that need no shard: what is told, in which order, and what is remembered.

import assert from 'node:assert/strict';
import test from 'node:test';
import type { RouteChange } from '../../src/bridge/exit-messages.ts';
import { Clients } from '../../src/control/clients.ts';
import { HeldLink } from '../../src/control/held-link.ts';
import { Routes } from '../../src/control/routes.ts';

class Bench {
  readonly published: RouteChange[] = [];
  readonly routes = new Routes({
    entryNameOf: (credential) => credential.split('#', 1)[0] ?? '',
    publish: (changes) => this.published.push(...changes),
  });
  readonly #clients = new Clients({ scopes: undefined, wallMs: () => 0 });

  link(key: string, client: string, credential = ''): HeldLink {
    const about = { instance: 'i', agent: '', remoteAddress: '192.0.2.1:1', credential };
    const hello = { link: key, client, ...about };
    const known = this.#clients.get(client) ?? this.#clients.add(hello);
    return new HeldLink(hello, known, Number(key[0]));
  }

  /** What was published since the last time. */
  told(): string[] {
    const told = this.published.splice(0);
    return told.map(({ kind, tunnel, link }) => `${kind} ${tunnel} ${link}`.trim());
  }
}

test('each change is numbered, and has the link, its client, token and options', () => {
  const bench = new Bench();
  const { routes, published } = bench;
  const held = bench.link('2-7', 'c', 'team#1234');
  held.grant('a.example', { 'host-header': ['b'] }, 1);
  routes.add('a.example', held);
  routes.remove('a.example', held);
  const route = { tunnel: 'a.example', link: '2-7', client: 'c', shard: 2 };
  const options = { 'host-header': ['b'] };
  assert.deepEqual(published, [
    { number: 1, kind: 'add', ...route, token: 'team', options },
    { number: 2, kind: 'remove', ...route },
  ]);
});

test('a snapshot has every known name, then its links, with numbers of their own', () => {
  const bench = new Bench();
  const link = bench.link('0-1', 'c');
  bench.routes.add('a.example', link);
  bench.routes.add('b.example', link);
  bench.routes.remove('b.example', link);
  const snapshot = bench.routes.snapshot();
  assert.deepEqual(
    snapshot.map(({ number, kind, tunnel, link: key }) => [number, kind, tunnel, key]),
    [
      [4, 'add', 'a.example', ''],
      [5, 'add', 'a.example', '0-1'],
      [6, 'add', 'b.example', ''],
    ],
  );
  assert.deepEqual(bench.routes.served(), ['a.example']);
});

test('clients are counted, not links; names and closed ports that nobody serves count 0', () => {
  const bench = new Bench();
  const links = [bench.link('0-1', 'c'), bench.link('1-1', 'c'), bench.link('0-2', 'd')];
  for (const link of links) bench.routes.add('a.example', link);
  const [link] = links;
  assert.ok(link !== undefined);
  for (const name of ['b.example', 'tcp:2000']) {
    bench.routes.add(name, link);
    bench.routes.remove(name, link);
  }
  bench.told();
  bench.routes.closePort('tcp:2000');
  bench.routes.closePort('tcp:2001');
  assert.deepEqual(bench.told(), ['forget tcp:2000'], 'the other one was never a tunnel');
  const counts = () => Object.fromEntries(bench.routes.clientCounts());
  assert.deepEqual(counts(), { 'a.example': 2, 'b.example': 0, 'tcp:2000': 0 });
  bench.routes.add('tcp:2000', link);
  assert.equal(counts()['tcp:2000'], 1);
});

test('beyond ten thousand names the one that was left the longest ago is forgotten', () => {
  const bench = new Bench();
  const link = bench.link('0-1', 'c');
  bench.routes.add('served.example', link);
  for (let count = 1; count <= 10_000; count += 1) {
    bench.routes.add(`n${count}.example`, link);
    bench.routes.remove(`n${count}.example`, link);
  }
  const forgotten = bench.told().filter((change) => change.startsWith('forget'));
  assert.deepEqual(forgotten, ['forget n1.example']);
  assert.equal(bench.routes.clientCounts().size, 10_000);
});

test('a name that is known for longest but was left last stays, as its client may come again', () => {
  const bench = new Bench();
  const link = bench.link('0-1', 'c');
  const leave = (name: string): void => bench.routes.remove(name, link);
  for (let count = 1; count <= 10_000; count += 1) bench.routes.add(`n${count}.example`, link);
  for (const name of ['n3.example', 'n2.example', 'n1.example']) leave(name);
  // This one comes back, and is left again.
  bench.routes.add('n3.example', link);
  leave('n3.example');
  leave('n3.example');
  bench.told();
  for (let count = 1; count <= 4; count += 1) bench.routes.add(`m${count}.example`, link);
  const forgotten = bench.told().filter((change) => change.startsWith('forget'));
  const expected = ['forget n2.example', 'forget n1.example', 'forget n3.example'];
  assert.deepEqual(forgotten, expected);
  assert.equal(bench.routes.clientCounts().size, 10_001, 'served ones stay');
});
