// Goal: a client has what its credential lets it have, and no other takes its place. Method: a
// registry whose scopes are made up, with hosts by owner.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { type ErrorCode, SluicewayError } from '../../src/base/errors.ts';
import { Registry } from '../../src/control/registry.ts';
import { PLAIN } from './registry-bench.ts';

const ownerOf = (credential: string): string => credential.split('#', 1)[0] ?? '';

/** `OWNER#secret`: an owner may have one client, two links, and hosts that begin with its name. */
class ScopedBench {
  readonly over = new Set<string>();
  readonly registry: Registry;
  readonly closed: (readonly [string, ErrorCode])[] = [];

  constructor() {
    this.registry = new Registry({
      ...PLAIN,
      doubtLinks: () => undefined,
      closeLinks: (_shard, links, code) =>
        this.closed.push(...links.map((link) => [link, code] as const)),
      scopes: {
        mayServe: ({ credential }, tunnel) =>
          !this.over.has(credential) && tunnel.startsWith(ownerOf(credential)),
        limitsOf: ({ credential }) =>
          this.over.has(credential) ? undefined : { clientsMax: 1, linksMax: 2 },
        ownerOf,
        entryNameOf: ownerOf,
      },
    });
  }

  /** The code that the hello is refused with; empty for none. */
  hello(link: string, client: string, credential?: string, instance = 'i'): string {
    const about = { link, client, instance, agent: 'a/1', remoteAddress: '192.0.2.1:1' };
    const hello = credential === undefined ? about : { ...about, credential };
    try {
      this.registry.hello(hello, 0);
      return '';
    } catch (error) {
      return error instanceof SluicewayError ? error.code : String(error);
    }
  }

  async offer(link: string, name: string): Promise<string | undefined> {
    return (await this.registry.register(link, [{ name, label: name }], 1))[0]?.code;
  }
}

test('an owner has so many clients and links, and one that is replaced makes room', () => {
  const bench = new ScopedBench();
  assert.equal(bench.hello('0-1', 'c', 'ann#1'), '');
  assert.equal(bench.hello('0-2', 'c', 'ann#2'), '', 'another secret of the same owner');
  assert.equal(bench.hello('0-3', 'c', 'ann#1'), 'SLW_LINK_LIMIT', 'a third link');
  assert.equal(bench.hello('0-4', 'd', 'ann#1'), 'SLW_LINK_LIMIT', 'a second client');
  assert.equal(bench.hello('0-5', 'd', 'bob#1'), '', 'another owner');
  assert.equal(bench.hello('0-6', 'c', 'ann#1', 'restarted'), '');
  assert.deepEqual(
    bench.closed.map(([link]) => link),
    ['0-1', '0-2'],
  );
  assert.equal(bench.hello('0-7', 'e'), '', 'who has no credential has no limit');
});

test('nobody takes the id of a client with another owner, with or without a credential', () => {
  const bench = new ScopedBench();
  assert.equal(bench.hello('0-1', 'c', 'ann#1'), '');
  assert.equal(bench.hello('0-2', 'c', 'bob#1', 'other'), 'SLW_LINK_ID_TAKEN');
  assert.equal(bench.hello('0-3', 'c', undefined, 'other'), 'SLW_LINK_ID_TAKEN');
  assert.equal(bench.hello('0-4', 'd'), '');
  assert.equal(bench.hello('0-5', 'd', 'ann#1', 'other'), 'SLW_LINK_ID_TAKEN');
  assert.deepEqual(bench.closed, []);
});

test('a credential that is over lets nobody in, and what it does not name is refused', async () => {
  const bench = new ScopedBench();
  assert.equal(bench.hello('0-1', 'c', 'ann#1'), '');
  assert.equal(await bench.offer('0-1', 'ann.test'), '');
  assert.equal(await bench.offer('0-1', 'bob.test'), 'SLW_TUNNEL_NOT_ALLOWED');
  bench.over.add('ann#1');
  assert.equal(bench.hello('0-2', 'c', 'ann#1'), 'SLW_LINK_REVOKED');
  assert.equal(
    bench.registry.endLinks(({ credential }) => bench.over.has(credential), 'SLW_LINK_REVOKED'),
    1,
  );
  assert.deepEqual(bench.closed, [['0-1', 'SLW_LINK_REVOKED']]);
  assert.equal(bench.registry.isServed('ann.test'), false);
});

test('a credential without scopes to look it up in serves nothing', async () => {
  const registry = new Registry(PLAIN);
  const about = { client: 'c', instance: 'i', agent: 'a/1', remoteAddress: '192.0.2.1:1' };
  registry.hello({ link: '0-1', ...about, credential: 'ann#1' }, 0);
  const [answer] = await registry.register('0-1', [{ name: 'a.test', label: 'a' }], 1);
  assert.equal(answer?.code, 'SLW_TUNNEL_NOT_ALLOWED');
});

test('a link that leaves serves nothing from then on, and can still be ended', async () => {
  const published: string[] = [];
  const ended: string[] = [];
  const registry = new Registry({
    ...PLAIN,
    publish: (changes) => published.push(...changes.map(({ kind, link }) => `${kind} ${link}`)),
    closeLinks: (_shard, links) => ended.push(...links),
  });
  const about = { instance: 'i', agent: 'x', remoteAddress: '192.0.2.1:7' };
  registry.hello({ ...about, link: '0-1', client: 'a' }, 0);
  const offers = [
    { name: 'a.test', label: 'a' },
    { name: 'tcp:2222', label: 't' },
  ];
  await registry.register('0-1', offers, 1);
  // One more is under way while it leaves.
  const late = registry.register('0-1', [{ name: 'tcp:3333', label: 't' }], 1);
  registry.linkLeaving('0-1');
  assert.deepEqual(
    (await late).map(({ code }) => code),
    ['SLW_LINK_LOST'],
  );
  const again = await registry.register('0-1', offers, 1);
  assert.deepEqual(
    again.map(({ code }) => code),
    ['SLW_LINK_LOST', 'SLW_LINK_LOST'],
  );
  for (const { name } of offers) assert.equal(registry.isServed(name), false);
  assert.equal(published.filter((one) => one === 'add 0-1').length, 2);
  assert.equal(
    registry.endLinks(() => true, 'SLW_LINK_REVOKED'),
    1,
  );
  assert.deepEqual(ended, ['0-1']);
});

test('a tunnel of one token is not mixed with another upstream of a second token', async () => {
  const registry = new Registry({
    ...PLAIN,
    scopes: {
      mayServe: () => true,
      limitsOf: () => ({}),
      ownerOf,
      entryNameOf: ownerOf,
    },
  });
  const hello = (link: string, client: string, credential: string): void =>
    registry.hello(
      { link, client, instance: 'i', agent: 'a/1', remoteAddress: '192.0.2.1:1', credential },
      0,
    );
  const offer = async (link: string, label: string): Promise<string | undefined> =>
    (await registry.register(link, [{ name: 'site', label }], 1))[0]?.code;
  hello('1', 'one', 'red#1');
  hello('2', 'two', 'blue#1');
  hello('3', 'three', 'red#2');
  assert.equal(await offer('1', 'site=http://a'), '');
  assert.equal(await offer('2', 'site=http://b'), 'SLW_TUNNEL_TAKEN');
  assert.equal(await offer('2', 'site=http://a'), '', 'the same upstream');
  assert.equal(await offer('3', 'site=http://c'), 'SLW_TUNNEL_TAKEN', 'beside one of blue');
  registry.linkGone('2');
  assert.equal(await offer('3', 'site=http://c'), '', 'the same token');
  registry.linkGone('1');
  registry.linkGone('3');
  hello('4', 'four', 'blue#1');
  assert.equal(await offer('4', 'site=http://b'), '', 'nobody else is left');
});

/** A registry whose ports open when the test says so, and whose scopes may change. */
function portBench() {
  const state = { mayServe: true };
  const opening: (() => void)[] = [];
  const closed: string[] = [];
  const registry = new Registry({
    ...PLAIN,
    openPort: () => new Promise((resolve) => opening.push(resolve)),
    closePort: async (name) => void closed.push(name),
    scopes: {
      mayServe: () => state.mayServe,
      limitsOf: () => ({}),
      ownerOf,
      entryNameOf: ownerOf,
    },
  });
  const hello = (link: string, client: string, credential: string): void =>
    registry.hello(
      { link, client, instance: 'i', agent: 'a/1', remoteAddress: '192.0.2.1:1', credential },
      0,
    );
  const offer = async (link: string, label: string): Promise<string | undefined> =>
    (await registry.register(link, [{ name: 'tcp:2222', label }], 1))[0]?.code;
  return { registry, state, opening, closed, hello, offer };
}

test('of two tokens that ask for one port while it is opened, one has it', async () => {
  const { registry, opening, closed, hello, offer } = portBench();
  hello('1', 'one', 'red#1');
  hello('2', 'two', 'blue#1');
  const offers = [offer('1', '2222=a:1'), offer('2', '2222=b:1')];
  await setImmediate();
  assert.equal(opening.length, 1);
  opening[0]?.();
  assert.deepEqual(await Promise.all(offers), ['', 'SLW_TUNNEL_TAKEN']);
  assert.deepEqual([...(registry.clientOf('2')?.tunnels ?? [])], []);
  await setImmediate();
  assert.deepEqual([registry.isServed('tcp:2222'), closed], [true, []]);
});

test('a port that its token no longer names once it is open is closed', async () => {
  const { registry, state, opening, closed, hello, offer } = portBench();
  hello('1', 'one', 'red#1');
  const offered = offer('1', '2222=a:1');
  await setImmediate();
  state.mayServe = false;
  opening[0]?.();
  assert.equal(await offered, 'SLW_TUNNEL_NOT_ALLOWED');
  await setImmediate();
  assert.deepEqual([registry.isServed('tcp:2222'), closed], [false, ['tcp:2222']]);
});

test('a client that came by two secrets goes on by the one that is valid', async () => {
  const bench = new ScopedBench();
  const end = (): number =>
    bench.registry.endLinks(({ credential }) => bench.over.has(credential), 'SLW_LINK_REVOKED');
  assert.equal(bench.hello('0-1', 'c', 'ann#old'), '');
  assert.equal(bench.hello('0-2', 'c', 'ann#new'), '');
  assert.equal(await bench.offer('0-2', 'ann.test'), '');
  bench.over.add('ann#old');
  assert.equal(end(), 1);
  assert.deepEqual(bench.closed, [['0-1', 'SLW_LINK_ENDED']], 'it may dial again');
  assert.deepEqual([bench.registry.isServed('ann.test'), end()], [true, 0]);
  assert.equal(await bench.offer('0-2', 'ann.more'), '', 'its first secret does not count');
  bench.over.add('ann#new');
  assert.equal(end(), 1);
  assert.deepEqual(bench.closed.at(-1), ['0-2', 'SLW_LINK_REVOKED']);
  assert.equal(bench.registry.hasClient('c'), false);
});

test('of a client in two networks the links of one are judged by their own address', async () => {
  const registry = new Registry(PLAIN);
  const about = { client: 'c', instance: 'i', agent: 'a/1', credential: 'ann#1' };
  registry.hello({ link: '0-1', ...about, remoteAddress: '192.0.2.1:1' }, 0);
  registry.hello({ link: '0-2', ...about, remoteAddress: '[2001:db8::1]:2' }, 0);
  const isAway = ({ remoteAddress }: { remoteAddress: string }): boolean =>
    remoteAddress.startsWith('[2001:db8:');
  assert.equal(registry.endLinks(isAway, 'SLW_LINK_REVOKED'), 1);
  assert.equal(registry.clientOf('0-2'), undefined);
  assert.equal(registry.clientOf('0-1')?.id, 'c');
});
