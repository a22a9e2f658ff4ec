// Goal: a route is found by its tunnel and by its link until it is withdrawn, and a client is one
// object while it has routes. Method: changes as control would publish them, in random orders
// against a plain list.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { RouteTable } from '../../src/shard/route-table.ts';
import { TokenBudgets } from '../../src/shard/token-budgets.ts';
import { FakeClock } from '../support/fake-clock.ts';

function add(table: RouteTable, name: string, link: string, token?: string): void {
  const meter = { streams: 0, bytesIn: 0, bytesOut: 0, results: new Map(), reopened: 0 };
  const tunnel = table.tunnels.get(name) ?? table.know(name, meter);
  const client = link.split('/')[0] ?? '';
  const rest = token === undefined ? {} : { token };
  table.add(tunnel, { number: 1, kind: 'add', tunnel: name, client, link, shard: 0, ...rest });
}

function routesOf(table: RouteTable, name: string) {
  return table.tunnels.get(name)?.routes ?? [];
}

test('has the routes that were added and not withdrawn, each at its place', () => {
  const names = fc.constantFrom('x', 'y', '__proto__');
  const links = fc.constantFrom('a/1', 'a/2', 'b/1', 'c/1', 'd/1');
  const step = fc.constantFrom('add', 'add', 'add', 'remove', 'removeLink', 'forget');
  fc.assert(
    fc.property(fc.array(fc.tuple(step, names, links), { maxLength: 40 }), (steps) => {
      const table = new RouteTable();
      let wanted: (readonly [name: string, link: string])[] = [];
      for (const [kind, name, link] of steps) {
        if (kind === 'forget') table.forget(name);
        else if (kind === 'remove') table.remove(name, link);
        else if (kind === 'removeLink') table.removeLink(link);
        else add(table, name, link);
        wanted = wanted.filter(([known, by]) => {
          if (kind === 'forget') return known !== name;
          return by !== link || (kind !== 'removeLink' && known !== name);
        });
        if (kind === 'add') wanted.push([name, link]);
        const found = [...table.tunnels].flatMap(([known, { routes }]) =>
          routes.map((route, at) => {
            assert.equal(route.at, at);
            assert.equal(route.tunnel, table.tunnels.get(known));
            return [known, route.link];
          }),
        );
        assert.deepEqual(found.toSorted(), wanted.toSorted());
      }
    }),
    { seed: 3, numRuns: 1000 },
  );
});

test('a client is the same for all of its routes, and another when it comes anew', () => {
  const table = new RouteTable();
  for (const [name, link] of [
    ['x', 'a/1'],
    ['x', 'a/2'],
    ['y', 'a/1'],
  ] as const) {
    add(table, name, link);
  }
  const clients = () => [...table.tunnels.values()].flatMap(({ routes }) => routes);
  const [first] = clients();
  assert.ok(first !== undefined && clients().every(({ client }) => client === first.client));
  table.remove('x', 'a/1');
  table.removeLink('a/2');
  add(table, 'x', 'a/3');
  assert.ok(clients().every(({ client }) => client === first.client));
  for (const link of ['a/1', 'a/3']) table.removeLink(link);
  add(table, 'x', 'a/4');
  assert.notEqual(clients()[0]?.client, first.client, 'its counts are those of a start');
});

test('a route has the budget of its token, known before it or after', () => {
  const table = new RouteTable();
  const budgets = new TokenBudgets({ clock: new FakeClock(), askSlots() {} });
  const limit = (...tokens: string[]) =>
    budgets.apply({ isWhole: true, shares: tokens.map((token) => ({ token, slots: 1 })) });
  add(table, 'x', 'a/1', 'one');
  limit('one', 'two');
  table.setBudgets(budgets);
  add(table, 'x', 'b/1', 'two');
  add(table, 'x', 'c/1');
  const tokens = () => routesOf(table, 'x').map(({ budget }) => budget?.token);
  assert.deepEqual(tokens(), ['one', 'two', undefined]);
  limit('two');
  table.setBudgets(budgets);
  assert.deepEqual(tokens(), [undefined, 'two', undefined]);
});
