// Goal: of all routes that a visitor may take it gets one than which none is better. Method: tables
// of every shape, against the rules written down as a list of numbers to compare.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Affinity, addressScore } from '../../src/shard/affinity.ts';
import { RouteChoice, refusalOf } from '../../src/shard/route-choice.ts';
import { type Route, RouteTable, type Tunnel } from '../../src/shard/route-table.ts';

const SHARD = 0;
/** Of all links of a client: while some have not declared another yet, which counts is chance. */
const WEIGHTS = { a: 1, b: 2, c: 3 } as const;

interface Shape {
  readonly client: keyof typeof WEIGHTS;
  readonly shard: number;
  readonly streams: number;
  readonly state: 'well' | 'full' | 'doubted';
}

/** A tunnel with a route of each shape, and a choice among them. */
function serve(shapes: readonly Shape[], affinity: Affinity | 'none' = 'none') {
  const table = new RouteTable();
  const meter = { streams: 0, bytesIn: 0, bytesOut: 0, results: new Map(), reopened: 0 };
  const tunnel = table.know('site', meter);
  for (const [at, { client, shard, streams }] of shapes.entries()) {
    const weight = [String(WEIGHTS[client])];
    const options = affinity === 'none' ? { weight } : { weight, affinity: [affinity] };
    const change = { number: at, kind: 'add', tunnel: 'site', client, shard, options } as const;
    table.add(tunnel, { ...change, link: String(at) });
    const route = tunnel.routes[at] as Route;
    route.own.streams = streams;
    route.client.meter.streams += streams;
  }
  const stateOf = (link: string) => shapes[Number(link)]?.state;
  const choice = new RouteChoice(SHARD, {
    canOpen: (link) => stateOf(link) !== 'full',
    isDoubted: (link, shard) => shard === SHARD && stateOf(link) === 'doubted',
  });
  return { tunnel, choice, stateOf };
}

const SHAPES = fc.array(
  fc.record({
    client: fc.constantFrom<Shape['client']>('a', 'b', 'c'),
    shard: fc.nat(1),
    streams: fc.nat(3),
    state: fc.constantFrom<Shape['state']>('well', 'well', 'full', 'doubted'),
  }),
  { maxLength: 6 },
);

/** Smaller is better, the first difference decides; what is equal takes turns. */
function ranks({ client, weight, link, shard }: Route, states: readonly Shape[]): number[] {
  const isDoubted = shard === SHARD && states[Number(link)]?.state === 'doubted';
  return [isDoubted ? 1 : 0, (client.meter.streams + 1) / weight];
}

function isBetter(left: readonly number[], right: readonly number[]): boolean {
  const at = left.findIndex((rank, index) => rank !== right[index]);
  return at !== -1 && (left[at] ?? 0) < (right[at] ?? 0);
}

test('no route is better than the one that is chosen, whichever turn it is', () => {
  fc.assert(
    fc.property(SHAPES, fc.nat(7), (shapes, turns) => {
      const { tunnel, choice } = serve(shapes);
      const free = tunnel.routes.filter(({ link }) => shapes[Number(link)]?.state !== 'full');
      for (let turn = 0; turn < turns; turn += 1) choice.choose(tunnel, {});
      const chosen = choice.choose(tunnel, {});
      assert.equal(chosen === undefined, free.length === 0);
      if (chosen === undefined) return;
      assert.ok(free.includes(chosen));
      const own = ranks(chosen, shapes);
      for (const other of free) {
        assert.ok(!isBetter(ranks(other, shapes), own), `${other.link} before ${chosen.link}`);
        // Of one client the links of this shard, and of those the one with the least on it.
        const isAlike = other.client === chosen.client && ranks(other, shapes)[0] === own[0];
        if (!isAlike) continue;
        if (other.shard === SHARD) assert.equal(chosen.shard, SHARD);
        if (other.shard === chosen.shard || chosen.shard !== SHARD) {
          assert.ok(chosen.own.streams <= other.own.streams);
        }
      }
    }),
    { seed: 7, numRuns: 3000 },
  );
});

test('a visitor by address gets the best of its client, of those that have room', () => {
  fc.assert(
    fc.property(SHAPES, fc.constantFrom('192.0.2.1', '192.0.2.2', '2001:db8::1'), (shapes, key) => {
      // A client has one weight here: which of several counts would be chance.
      const weights = shapes.map((shape) => ({
        ...shape,
        weight: shape.client.charCodeAt(0) - 96,
      }));
      const { tunnel, choice } = serve(weights, 'ip');
      const free = tunnel.routes.filter(({ link }) => shapes[Number(link)]?.state !== 'full');
      const scores = free.map(({ client, weight }) => addressScore(key, client, weight));
      const wanted = free[scores.indexOf(Math.max(...scores))]?.client;
      assert.equal(choice.choose(tunnel, { key })?.client, wanted);
      const except = wanted && [wanted];
      assert.notEqual(choice.choose(tunnel, { key, except })?.client, wanted ?? 'nobody');
    }),
    { seed: 7, numRuns: 2000 },
  );
});

/** Of three shards: as each knows of its own links alone. */
const SPREAD = fc.array(
  fc.record({
    client: fc.constantFrom<Shape['client']>('a', 'b'),
    shard: fc.nat(2),
    streams: fc.constant(0),
    state: fc.constantFrom<Shape['state']>('well', 'full', 'doubted'),
  }),
  { maxLength: 8 },
);

test('what another shard has chosen is put right by those that know, and never in a circle', () => {
  fc.assert(
    fc.property(SPREAD, (shapes) => {
      const { tunnel, stateOf } = serve(shapes);
      const choices = [0, 1, 2].map(
        (own) =>
          new RouteChoice(own, {
            canOpen: (link, shard) => shard !== own || stateOf(link) !== 'full',
            isDoubted: (link, shard) => shard === own && stateOf(link) === 'doubted',
          }),
      );
      const isWell = ({ link }: Route) => stateOf(link) === 'well';
      for (const asked of tunnel.routes) {
        const ofClient = tunnel.routes.filter(({ client }) => client === asked.client);
        let [named, shard] = [asked, asked.shard];
        const steps = [shard];
        for (let isThere = false; !isThere; ) {
          const way = choices[shard]?.correct(named);
          assert.ok(way !== undefined, 'whoever is sent there is meant');
          assert.equal(way.to.client, asked.client);
          // The shard of the link opens the stream; any other is asked in its turn.
          isThere = way.to.shard === shard;
          if (isThere) assert.equal(way.named, way.to);
          ({ named } = way);
          ({ shard } = way.to);
          steps.push(shard);
          assert.ok(steps.length <= 2 * ofClient.length + 1, `in a circle: ${steps}`);
        }
        assert.equal(isWell(named), ofClient.some(isWell), `${named.link} by ${asked.link}`);
        if (isWell(asked)) assert.equal(named, asked, 'as asked');
      }
    }),
    { seed: 7, numRuns: 5000 },
  );
});

test('of several links that are well the youngest takes a visitor of another shard', () => {
  fc.assert(
    fc.property(SHAPES, (shapes) => {
      const ours = shapes.map((shape) => ({ ...shape, shard: SHARD }));
      const { tunnel, choice, stateOf } = serve(ours);
      for (const asked of tunnel.routes) {
        const well = tunnel.routes.filter(
          ({ client, link }) => client === asked.client && stateOf(link) === 'well',
        );
        const wanted = well.includes(asked) ? asked : (well.at(-1) ?? asked);
        assert.equal(choice.correct(asked)?.to, wanted, `by ${asked.link}`);
      }
    }),
    { seed: 7, numRuns: 2000 },
  );
});

test('a link that was meant and has gone is none', () => {
  const { tunnel, choice } = serve([
    { client: 'a', shard: 1, streams: 0, state: 'well' },
    { client: 'b', shard: SHARD, streams: 0, state: 'well' },
  ]);
  assert.equal(choice.correct(tunnel.routes[0] as Route), undefined);
});

test('who is to be avoided serves nobody whom another can, nor its own visitors by address', () => {
  fc.assert(
    fc.property(SHAPES, fc.constantFrom(undefined, '192.0.2.1'), (shapes, key) => {
      const { tunnel, choice } = serve(shapes, key === undefined ? 'none' : 'ip');
      const free = tunnel.routes.filter(({ link }) => shapes[Number(link)]?.state !== 'full');
      const avoid = new Set(free.filter((_, at) => at % 2 === 0).map(({ client }) => client));
      const chosen = choice.choose(tunnel, { key }, avoid)?.client;
      const others = free.filter(({ client }) => !avoid.has(client));
      if (others.length > 0) assert.ok(others.some(({ client }) => client === chosen));
      else if (key !== undefined) assert.equal(chosen, choice.choose(tunnel, { key })?.client);
      else assert.equal(chosen === undefined, free.length === 0);
      if (chosen === undefined || key === undefined) return;
      assert.ok(choice.mayStay(tunnel, chosen, key, avoid), 'whoever was sent there stays');
    }),
    { seed: 7, numRuns: 3000 },
  );
});

test('a cookie leads to a client to avoid only when no other has room', () => {
  fc.assert(
    fc.property(SHAPES, fc.nat(5), fc.subarray(['a', 'b', 'c'] as const), (shapes, at, names) => {
      const { tunnel, choice } = serve(shapes, 'cookie');
      const own = tunnel.routes[at]?.client;
      const key = own?.mark ?? 'of a client that is gone';
      const avoid = new Set(
        tunnel.routes.flatMap(({ client, link }) =>
          names.some((name) => name === shapes[Number(link)]?.client) ? [client] : [],
        ),
      );
      const free = tunnel.routes.filter(({ link }) => shapes[Number(link)]?.state !== 'full');
      const others = free.filter(({ client }) => !avoid.has(client));
      const among = others.length > 0 ? others : free;
      const wanted = among.some(({ client }) => client === own) ? own : undefined;
      const chosen = choice.choose(tunnel, { key }, avoid)?.client;
      assert.equal(chosen === undefined, among.length === 0);
      assert.ok(chosen === undefined || among.some(({ client }) => client === chosen));
      assert.equal(chosen, wanted ?? chosen);
      // It sends the old cookie once more while the new one is on its way.
      if (chosen !== undefined) assert.ok(choice.mayStay(tunnel, chosen, key, avoid));
    }),
    { seed: 7, numRuns: 3000 },
  );
});

test('whoever serves a visitor needs no further room for it', () => {
  const full = { shard: SHARD, streams: 1, state: 'full' } as const;
  const well = { shard: SHARD, streams: 1, state: 'well' } as const;
  const ofBoth = (a: object, b: object, affinity?: 'ip') =>
    serve(
      [
        { ...full, ...a, client: 'a' },
        { ...full, ...b, client: 'b' },
      ],
      affinity,
    );
  const keys = Array.from({ length: 50 }, (_, host) => `192.0.2.${host}`);
  const staying = ({ tunnel, choice }: ReturnType<typeof ofBoth>, at: number) =>
    keys.filter((key) => {
      const client = tunnel.routes[at]?.client;
      return client !== undefined && choice.mayStay(tunnel, client, key);
    });
  const free = ofBoth(well, well, 'ip');
  const [ofA, ofB] = [staying(free, 0), staying(free, 1)];
  assert.deepEqual([...ofA, ...ofB].toSorted(), keys.toSorted(), 'each has one client of its own');
  assert.ok(ofA.length > 0 && ofB.length > 0);
  assert.deepEqual(staying(ofBoth(full, well, 'ip'), 0), ofA, 'its own, though that has no room');
  assert.deepEqual(staying(ofBoth(full, well, 'ip'), 1), keys, 'another, while its own has none');
  assert.deepEqual(staying(ofBoth(well, well), 1), keys, 'whichever, where nothing holds it');
});

test('without routes, or with links alone that have no room, there is no way', () => {
  const full = { client: 'a', shard: SHARD, streams: 0, state: 'full' } as const;
  for (const shapes of [[], [full]] as const) {
    const { tunnel, choice }: { tunnel: Tunnel; choice: RouteChoice } = serve(shapes);
    assert.equal(choice.choose(tunnel, {}), undefined);
    assert.equal(refusalOf(tunnel, {}), 'SLW_STREAM_NO_LINK');
  }
});
