// Goal: who serves what is the same for every shard at every moment, ports are open on all of them
// or on none, and a new instance replaces an old one at once. Method: shards are maps that apply
// what is published; opening and closing ports ends when the test says so.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { SluicewayError } from '../../src/base/errors.ts';
import type { LinkPort, RouteChange } from '../../src/bridge/exit-messages.ts';
import { Registry } from '../../src/control/registry.ts';
import { NaiveRegistry } from './naive-registry.ts';
import { Bench, PLAIN, Replica } from './registry-bench.ts';

const REPLACED = { code: 'SLW_LINK_REPLACED' };

/** Lets everything that was begun go on as far as it can. */
async function settle(turns = 6): Promise<void> {
  for (let turn = 0; turn < turns; turn += 1) await new Promise((done) => setImmediate(done));
}

test('links of one instance join: one client, one count, tunnels on each link', async () => {
  const bench = new Bench();
  bench.hello('0-1', 'c');
  bench.hello('1-1', 'c', 'first', 1);
  assert.deepEqual(await bench.register('0-1', 'a.example', 'tcp:2000'), ['', '']);
  assert.deepEqual(await bench.register('1-1', 'a.example', 'tcp:2000'), ['', '']);
  const { registry, replica } = bench;
  assert.deepEqual([registry.clientsCount, registry.linksCount], [1, 2]);
  assert.deepEqual(replica.routes(), [
    'a.example 0-1',
    'a.example 1-1',
    'tcp:2000 0-1',
    'tcp:2000 1-1',
  ]);
  assert.deepEqual(bench.steps, ['open tcp:2000'], 'a port opens once');
  assert.equal(registry.connects.get('c'), 1);
  const [client] = registry.clients;
  assert.deepEqual([...(client?.tunnels.values() ?? [])], ['a.example=label', 'tcp:2000=label']);
  registry.linkGone('0-1');
  await settle();
  assert.deepEqual(replica.routes(), ['a.example 1-1', 'tcp:2000 1-1']);
  assert.deepEqual(bench.steps, ['open tcp:2000'], 'and stays while somebody serves it');
});

test('who came by the port of visitors alone is not waited for when the control port moves', async () => {
  const bench = new Bench();
  const about = { instance: 'i', agent: 'sluiceway/1', remoteAddress: '192.0.2.1:1' };
  const serve = async (link: string, client: string, port: LinkPort, ...names: string[]) => {
    bench.registry.hello({ link, client, port, ...about }, 0);
    await bench.register(link, ...names);
  };
  await serve('0-1', 'early', 'control', 'a.example', 'both.example');
  await serve('0-2', 'late', 'visitors', 'b.example', 'both.example');
  await serve('0-3', 'two-ways', 'visitors', 'c.example');
  await serve('0-4', 'two-ways', 'control', 'c.example');
  bench.registry.linkLeaving('0-4');
  assert.deepEqual(bench.registry.moving(), {
    clients: ['early', 'two-ways'],
    tunnels: ['a.example', 'both.example'],
    served: ['a.example', 'both.example', 'b.example', 'c.example'],
  });
});

test('a new instance replaces the old one: its links are closed, its routes are gone', async () => {
  const bench = new Bench();
  bench.hello('0-1', 'c', 'old', 0);
  bench.hello('0-2', 'c', 'old', 0);
  bench.hello('1-1', 'c', 'old', 1);
  bench.hello('0-3', 'other', 'old', 0);
  for (const link of ['0-1', '0-2', '1-1', '0-3']) await bench.register(link, 'a.example');
  bench.hello('1-2', 'c', 'new', 1);
  assert.deepEqual(bench.replica.routes(), ['a.example 0-3'], 'at once, before any answer');
  assert.deepEqual(bench.closedLinks, [
    { shard: 0, links: ['0-1', '0-2'], code: 'SLW_LINK_REPLACED' },
    { shard: 1, links: ['1-1'], code: 'SLW_LINK_REPLACED' },
  ]);
  assert.equal(bench.registry.connects.get('c'), 2);
  await bench.register('1-2', 'a.example');
  assert.deepEqual(bench.replica.routes(), ['a.example 0-3', 'a.example 1-2']);
  // What the old links still have to say comes too late.
  bench.registry.linkGone('0-1');
  assert.deepEqual(await bench.register('0-2', 'b.example'), ['SLW_LINK_LOST']);
  bench.registry.unregister('1-1', ['a.example']);
  assert.deepEqual(bench.replica.routes(), ['a.example 0-3', 'a.example 1-2']);
  assert.equal(bench.registry.clientOf('1-2')?.instance, 'new');
  assert.deepEqual([bench.registry.clientsCount, bench.registry.linksCount], [2, 2]);
});

test('a link that dies while its port is being opened leaves the port closed', async () => {
  const bench = new Bench();
  bench.isPrompt = false;
  bench.hello('0-1', 'c');
  const answer = bench.register('0-1', 'tcp:2000');
  await settle();
  bench.registry.linkGone('0-1');
  bench.pending[0]?.done();
  assert.deepEqual(await answer, ['SLW_LINK_LOST']);
  await settle();
  assert.deepEqual(bench.steps, ['open tcp:2000', 'close tcp:2000']);
  bench.pending[0]?.done();
  await settle();
  assert.deepEqual([...bench.openPorts], []);
  assert.deepEqual(bench.registry.openPorts(), []);
  assert.deepEqual(bench.replica.names(), []);
});

test('what was given up is not registered, whenever its port has opened', async () => {
  const bench = new Bench();
  bench.isPrompt = false;
  bench.hello('0-1', 'c');
  const answer = bench.register('0-1', 'tcp:2000', 'a.example');
  await settle();
  assert.deepEqual(bench.replica.routes(), ['a.example 0-1'], 'this one waits for no port');
  bench.registry.giveUp('0-1', bench.call);
  assert.deepEqual(bench.replica.routes(), []);
  bench.pending[0]?.done();
  assert.deepEqual(await answer, ['SLW_CALL_TIMEOUT', 'SLW_CALL_TIMEOUT']);
  await settle();
  assert.deepEqual(bench.steps, ['open tcp:2000', 'close tcp:2000']);
  bench.pending[0]?.done();
  await settle();
  assert.deepEqual([bench.registry.openPorts(), bench.replica.routes()], [[], []]);
  // Nothing is left that a later one would be refused for.
  const again = bench.register('0-1', 'tcp:2000', 'a.example');
  await settle();
  bench.pending[0]?.done();
  assert.deepEqual(await again, ['', '']);
});

test('what was given up as its answer was on the way is withdrawn', async () => {
  const bench = new Bench();
  bench.hello('0-1', 'c');
  bench.hello('0-2', 'c');
  assert.deepEqual(await bench.register('0-2', 'a.example'), ['']);
  const other = bench.call;
  assert.deepEqual(await bench.register('0-1', 'a.example', 'b.example'), ['', '']);
  bench.registry.giveUp('0-1', other);
  assert.equal(bench.replica.routes().length, 3, 'a call of another link');
  bench.registry.giveUp('0-1', bench.call);
  assert.deepEqual(bench.replica.routes(), ['a.example 0-2']);
});

test('a call that is given up takes nothing with it that another one has brought', async () => {
  const bench = new Bench();
  bench.isPrompt = false;
  bench.hello('0-1', 'c');
  assert.deepEqual(await bench.register('0-1', 'a.example'), ['']);
  const first = bench.register('0-1', 'a.example', 'b.example', 'c.example', 'tcp:2000');
  const call = bench.call;
  assert.deepEqual(await bench.register('0-1', 'b.example'), [''], 'while the first one waits');
  bench.registry.giveUp('0-1', call);
  assert.deepEqual(bench.replica.routes(), ['a.example 0-1', 'b.example 0-1']);
  bench.pending[0]?.done();
  assert.deepEqual(new Set(await first), new Set(['SLW_CALL_TIMEOUT']));
});

test('opening waits for closing, and closing for opening', async () => {
  const bench = new Bench();
  bench.isPrompt = false;
  bench.hello('0-1', 'a');
  bench.hello('0-2', 'b');
  const first = bench.register('0-1', 'tcp:2000');
  await settle();
  bench.pending[0]?.done();
  assert.deepEqual(await first, ['']);
  bench.registry.linkGone('0-1');
  await settle();
  const second = bench.register('0-2', 'tcp:2000');
  await settle();
  assert.deepEqual(bench.steps, ['open tcp:2000', 'close tcp:2000']);
  bench.pending[0]?.done();
  await settle();
  assert.deepEqual(bench.steps, ['open tcp:2000', 'close tcp:2000', 'open tcp:2000']);
  bench.pending[0]?.done();
  assert.deepEqual(await second, ['']);
  assert.deepEqual(bench.replica.routes(), ['tcp:2000 0-2']);
});

test('a port that somebody else takes over at the last moment is not closed', async () => {
  const bench = new Bench();
  bench.hello('0-1', 'a');
  bench.hello('0-2', 'b');
  await bench.register('0-1', 'tcp:2000');
  // In one turn, in both orders.
  bench.registry.linkGone('0-1');
  assert.deepEqual(await bench.register('0-2', 'tcp:2000'), ['']);
  bench.hello('0-3', 'a');
  const third = bench.register('0-3', 'tcp:2000');
  bench.registry.linkGone('0-2');
  assert.deepEqual(await third, ['']);
  await settle();
  assert.deepEqual([...bench.openPorts], ['tcp:2000']);
  assert.deepEqual(bench.replica.routes(), ['tcp:2000 0-3']);
});

test('a port that cannot be opened is refused with the reason, and may be tried again', async () => {
  const bench = new Bench();
  bench.isPrompt = false;
  bench.hello('0-1', 'c');
  const refused = bench.register('0-1', 'tcp:2000', 'a.example');
  await settle();
  bench.pending[0]?.done(new SluicewayError('SLW_TUNNEL_PORT_TAKEN'));
  assert.deepEqual(await refused, ['SLW_TUNNEL_PORT_TAKEN', '']);
  assert.deepEqual(bench.replica.names(), ['a.example']);
  assert.equal(bench.registry.isServed('tcp:2000'), false);
  assert.deepEqual([...(bench.registry.clientOf('0-1')?.tunnels.keys() ?? [])], ['a.example']);
  const again = bench.register('0-1', 'tcp:2000');
  await settle();
  bench.pending[0]?.done();
  assert.deepEqual(await again, ['']);
  assert.equal(bench.registry.isServed('tcp:2000'), true);
});

test('bad names and ports outside the range are refused, each by itself', async () => {
  const bench = new Bench();
  bench.hello('0-1', 'c');
  const codes = await bench.register('0-1', 'A.example', 'tcp:80', 'tcp:99999', 'ok.example', '');
  assert.deepEqual(codes, [
    'SLW_TUNNEL_NAME',
    'SLW_TUNNEL_PORT_NOT_ALLOWED',
    'SLW_TUNNEL_NAME',
    '',
    'SLW_TUNNEL_NAME',
  ]);
  assert.deepEqual(bench.steps, []);
  assert.deepEqual(await bench.register('9-9', 'ok.example'), ['SLW_LINK_LOST'], 'no such link');
});

test('a name stays known when nobody serves it any more; a port does not', async () => {
  const bench = new Bench();
  bench.hello('0-1', 'c');
  await bench.register('0-1', 'a.example', 'tcp:2000');
  bench.registry.linkGone('0-1');
  await settle();
  assert.deepEqual(bench.replica.names(), ['a.example']);
  assert.equal(bench.registry.isServed('a.example'), false);
  const late = new Replica();
  late.apply(bench.registry.snapshot());
  assert.deepEqual(late.names(), ['a.example'], 'a shard that starts later knows it too');
});

test('how many clients serve a tunnel is told of names and ports that nobody serves, too', async () => {
  const bench = new Bench();
  const counts = () => Object.fromEntries(bench.registry.tunnelClients());
  bench.hello('0-1', 'c');
  await bench.register('0-1', 'a.example', 'tcp:2000', 'udp:2000');
  assert.deepEqual(counts(), { 'a.example': 1, 'tcp:2000': 1, 'udp:2000': 1 });
  bench.registry.linkGone('0-1');
  await settle();
  assert.deepEqual(counts(), { 'a.example': 0, 'tcp:2000': 0, 'udp:2000': 0 });
  bench.hello('0-2', 'other');
  await bench.register('0-2', 'tcp:2000');
  assert.deepEqual(counts(), { 'a.example': 0, 'tcp:2000': 1, 'udp:2000': 0 });
});

test('and of so many closed ports and no more, the longest closed goes first', async () => {
  const bench = new Bench();
  for (let round = 0; round < 11; round += 1) {
    bench.hello(`0-${round}`, `c${round}`);
    const names = Array.from({ length: 1000 }, (_, index) => `tcp:${2000 + round * 1000 + index}`);
    await bench.register(`0-${round}`, ...names);
    bench.registry.linkGone(`0-${round}`);
    await settle();
  }
  const counts = bench.registry.tunnelClients();
  assert.equal(counts.size, 10_000);
  assert.ok(!counts.has('tcp:2999') && counts.get('tcp:3000') === 0);
});

test('beyond a bound the oldest name that nobody serves is forgotten', async () => {
  const bench = new Bench();
  bench.hello('0-1', 'keeper');
  await bench.register('0-1', 'kept.example');
  // Each client serves as many as it may, and goes.
  for (let round = 0; round < 11; round += 1) {
    bench.hello(`1-${round}`, `c${round}`);
    const names = Array.from({ length: 1000 }, (_, index) => `n${round}-${index}.example`);
    await bench.register(`1-${round}`, ...names);
    bench.registry.linkGone(`1-${round}`);
  }
  const names = new Set(bench.replica.names());
  assert.equal(names.size, 10_000);
  assert.ok(names.has('kept.example'), 'served ones stay');
  assert.ok(!names.has('n0-0.example') && names.has('n10-999.example'));
  assert.ok(bench.registry.connects.size <= 10_000);
});

test('one client holds so many links and tunnels and no more', async () => {
  const bench = new Bench();
  for (let link = 0; link < 64; link += 1) bench.hello(`0-${link}`, 'c');
  assert.throws(() => bench.hello('0-64', 'c'), { code: 'SLW_LINK_LIMIT' });
  bench.hello('0-65', 'other');
  const names = Array.from({ length: 1001 }, (_, index) => `n${index}.example`);
  const codes = await bench.register('0-0', ...names);
  assert.equal(codes.filter((code) => code === '').length, 1000);
  assert.equal(codes.at(-1), 'SLW_TUNNEL_LIMIT');
  assert.deepEqual(await bench.register('0-1', 'n0.example'), [''], 'the same on another link');
});

test('a replaced client that still has a HELLO under way ends alone', async () => {
  const bench = new Bench();
  bench.hello('0-1', 'c', 'a');
  bench.hello('0-2', 'c', 'b');
  await bench.register('0-2', 'a.example');
  assert.throws(() => bench.hello('0-3', 'c', 'a'), REPLACED);
  bench.hello('1-1', 'c', 'third', 1);
  assert.throws(() => bench.hello('0-4', 'c', 'a'), REPLACED, 'by whom the newest replaced');
  assert.throws(() => bench.hello('0-5', 'c', 'b'), REPLACED);
  assert.deepEqual(
    bench.closedLinks.map(({ links }) => links),
    [['0-1'], ['0-2']],
  );
  assert.equal(bench.registry.clientOf('1-1')?.instance, 'third');
  assert.equal(bench.registry.linksCount, 1);
  bench.registry.linkGone('1-1');
  bench.hello('0-6', 'c', 'a');
  assert.equal(bench.registry.clientOf('0-6')?.instance, 'a', 'nobody else is there any more');
});

test('so many replaced clients are remembered and no more', () => {
  const bench = new Bench();
  for (let start = 0; start <= 17; start += 1) bench.hello(`0-${start}`, 'c', `i${start}`);
  assert.throws(() => bench.hello('1-1', 'c', 'i1', 1), REPLACED);
  bench.hello('1-0', 'c', 'i0', 1);
  assert.equal(bench.registry.clientOf('1-0')?.instance, 'i0');
});

// --- against the model ---------------------------------------------------------------------------

const LINKS = ['0-1', '0-2', '1-1', '1-2', '2-1'] as const;
const NAMES = ['a.example', '*.example', 'tcp:2000', 'tcp:2001'] as const;

interface Command {
  readonly kind: 'hello' | 'register' | 'unregister' | 'linkGone' | 'shardGone' | 'settle';
  readonly link: (typeof LINKS)[number];
  readonly name: (typeof NAMES)[number];
  readonly client: string;
  readonly instance: string;
}

const COMMAND: fc.Arbitrary<Command> = fc.record({
  kind: fc.constantFrom(
    ...(['hello', 'hello', 'register', 'register', 'register'] as const),
    ...(['unregister', 'linkGone', 'shardGone', 'settle'] as const),
  ),
  link: fc.constantFrom(...LINKS),
  name: fc.constantFrom(...NAMES),
  client: fc.constantFrom('x', 'y'),
  instance: fc.constantFrom('1', '2', '3'),
});

/** Runs one command on both; registrations end when they end, as clients do not wait. */
function run(bench: Bench, model: NaiveRegistry, command: Command): Promise<unknown> | undefined {
  const { kind, link, name, client, instance } = command;
  const shard = Number(link[0]);
  switch (kind) {
    case 'hello':
      if (model.links.has(link)) return undefined;
      if (model.hello(link, { client, instance, shard })) {
        bench.hello(link, client, instance, shard);
      } else {
        assert.throws(() => bench.hello(link, client, instance, shard), REPLACED);
      }
      return undefined;
    case 'register':
      model.register(link, name);
      return bench.register(link, name);
    case 'unregister':
      bench.registry.unregister(link, [name]);
      model.unregister(link, name);
      return undefined;
    case 'linkGone':
      bench.registry.linkGone(link);
      model.linkGone(link);
      return undefined;
    case 'shardGone':
      bench.registry.shardGone(shard);
      model.shardGone(shard);
      return undefined;
    case 'settle':
      return settle();
  }
}

function assertEqualTo(bench: Bench, model: NaiveRegistry): void {
  const { registry, replica } = bench;
  assert.deepEqual(replica.routes(), model.routes(), 'what was published');
  assert.deepEqual(replica.names(), model.names(), 'what is known');
  const late = new Replica();
  late.apply(registry.snapshot());
  assert.deepEqual(late.routes(), replica.routes(), 'the snapshot');
  assert.deepEqual(late.names(), replica.names(), 'names in the snapshot');
  assert.deepEqual([...bench.openPorts].sort(), model.openPorts(), 'ports that are open');
  assert.deepEqual(registry.openPorts().sort(), model.openPorts(), 'ports as it says');
  assert.deepEqual([...registry.clients].map(({ id }) => id).sort(), model.clients(), 'clients');
  assert.equal(registry.linksCount, model.links.size);
  replica.number = late.number;
}

test('any history gives what the model says, once everything has settled', async (t: TestContext) => {
  const seed = 20_261;
  t.diagnostic(`seed ${seed}`);
  const histories = fc.array(COMMAND, { maxLength: 40, size: 'max' });
  await fc.assert(
    fc.asyncProperty(histories, async (commands) => {
      const bench = new Bench();
      const model = new NaiveRegistry();
      for (const command of commands) {
        const running = run(bench, model, command);
        if (command.kind === 'settle') await running;
      }
      await settle(12);
      assertEqualTo(bench, model);
    }),
    { seed, numRuns: 2000 },
  );
});

test('what is passed through undecrypted can have no header rules', async () => {
  const bench = new Bench();
  bench.hello('0-1', 'c');
  const options = [['host-header', ['a.example']]] as const;
  const offers = [
    { name: 'tls:a.example', label: 'a' },
    { name: 'tls:b.example', label: 'b', options },
  ];
  const [bare, ruled] = await bench.registry.register('0-1', offers, 1);
  assert.deepEqual([bare?.code, ruled?.code], ['', 'SLW_TUNNEL_OPTION']);
});

test('what a client declares goes with its route, and anew when it has changed', async () => {
  const changes: RouteChange[] = [];
  const registry = new Registry({
    ...PLAIN,
    publish: (published) => changes.push(...published),
  });
  const about = { agent: 'sluiceway/1', remoteAddress: '192.0.2.1:1' };
  for (const link of ['0-1', '0-2']) {
    registry.hello({ link, client: link, instance: 'i', ...about }, 0);
  }
  const offer = (host: string) => ({
    ...{ name: 'a.example/api', label: 'l' },
    options: [['host-header', [host]]] as const,
  });
  const codes = async (link: string, ...offers: Parameters<Registry['register']>[1]) =>
    (await registry.register(link, offers, 1)).map(({ code }) => code);
  const last = () => changes.at(-1);
  assert.deepEqual(await codes('0-1', offer('one')), ['']);
  assert.deepEqual(last()?.options, { 'host-header': ['one'] });
  assert.deepEqual(await codes('0-2', { name: 'a.example/api', label: 'l' }), ['']);
  assert.equal(last()?.options, undefined);
  assert.deepEqual(await codes('0-1', offer('one')), ['']);
  assert.equal(changes.length, 2, 'nothing new, nothing told');
  assert.deepEqual(await codes('0-1', offer('two')), ['']);
  assert.deepEqual([last()?.kind, last()?.options], ['add', { 'host-header': ['two'] }]);
  const snapshot = registry.snapshot().map(({ link, options }) => [link, options]);
  assert.deepEqual(snapshot, [
    ['', undefined],
    ['0-1', { 'host-header': ['two'] }],
    ['0-2', undefined],
  ]);
  // A rule that is not understood may protect something: nothing is served without it.
  const later = { name: 'a.example/api', label: 'l', options: [['guard', ['x']]] as const };
  assert.deepEqual(await codes('0-1', later), ['SLW_TUNNEL_OPTION']);
  assert.deepEqual([last()?.kind, last()?.link], ['remove', '0-1']);
  assert.deepEqual(await codes('0-2', { ...offer('x'), name: 'tcp:2222' }), ['SLW_TUNNEL_OPTION']);
  assert.equal(registry.isServed('a.example/api'), true);
  assert.equal(registry.isServed('tcp:2222'), false);
});

test('links of a client that dials once more are doubted, also when it is refused', () => {
  const bench = new Bench();
  bench.hello('0-1', 'a', 'first', 0);
  bench.hello('1-1', 'a', 'first', 1);
  bench.hello('0-2', 'b', 'first', 0);
  bench.doubted.length = 0;
  bench.hello('1-2', 'a', 'first', 1);
  assert.deepEqual(bench.doubted, [
    { shard: 0, links: ['0-1'] },
    { shard: 1, links: ['1-1'] },
  ]);
  for (let link = 3; link < 64; link += 1) bench.hello(`1-${link}`, 'a');
  bench.doubted.length = 0;
  assert.throws(() => bench.hello('1-64', 'a'), { code: 'SLW_LINK_LIMIT' });
  assert.ok(bench.doubted.some(({ links }) => links.includes('0-1')));
  bench.doubted.length = 0;
  bench.hello('0-9', 'a', 'second');
  assert.deepEqual(bench.doubted, [], 'another instance replaces it');
});
