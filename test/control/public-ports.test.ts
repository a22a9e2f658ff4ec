// Goal: a port is open in all shards or in none, whatever opens, closes and starts meanwhile, and
// nothing opens behind a drain. Method: shards that only note which ports they have open, over real
// bridges; what they hold back they answer when the test says so.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { MessageChannel } from 'node:worker_threads';
import { Bridge, type Serve } from '../../src/bridge/calls.ts';
import type {
  ExitControlMethods,
  ExitShardMethods,
  ListenRequest,
} from '../../src/bridge/exit-messages.ts';
import { PublicPorts } from '../../src/control/public-ports.ts';
import { TunnelPorts } from '../../src/control/tunnel-ports.ts';
import { undoAfter } from '../support/cleanup.ts';
import { serverConfig } from '../support/configs.ts';
import { eventually } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { SILENT_LOG } from '../support/silent-log.ts';

const WAIT_MS = 5000;

class Shard {
  readonly bridge: Bridge<ExitControlMethods, ExitShardMethods>;
  readonly open = new Set<string>();
  /** What was asked for, in order. */
  readonly steps: string[] = [];
  /** Answers to `listen` of this name are held back. */
  held = '';
  readonly #releases: (() => void)[] = [];
  readonly #fd: number;

  constructor(t: TestContext, shard: number) {
    this.#fd = 100 + shard;
    const { port1, port2 } = new MessageChannel();
    const onBug = (error: unknown): void => assert.fail(String(error));
    const shardSide = {
      listen: (request: ListenRequest) => this.#listen(request),
      unlisten: ({ name }: { name: string }) => {
        this.steps.push(`unlisten ${name}`);
        this.open.delete(name);
      },
    } as unknown as Serve<ExitShardMethods>;
    const none = {} as unknown as Serve<ExitControlMethods>;
    const there = new Bridge<ExitShardMethods, ExitControlMethods>(port2, shardSide, onBug);
    this.bridge = new Bridge<ExitControlMethods, ExitShardMethods>(port1, none, onBug);
    undoAfter(t, () => {
      this.bridge.close();
      there.close();
    });
  }

  /** Resolves when it was asked `count` times to listen as `name`. */
  asked(name: string, count: number): Promise<void> {
    return eventually(WAIT_MS, `${count} times listen ${name}`, async () => {
      const times = this.steps.filter((step) => step === `listen ${name}`).length;
      assert.equal(times, count);
    });
  }

  closed(name: string): Promise<void> {
    return eventually(WAIT_MS, `${name} closed`, async () => assert.ok(!this.open.has(name)));
  }

  /** Answers what was held back, in order. */
  release(): void {
    this.held = '';
    for (const release of this.#releases.splice(0)) release();
  }

  async #listen({ name, port }: ListenRequest) {
    this.steps.push(`listen ${name}`);
    this.open.add(name);
    const { promise, resolve } = Promise.withResolvers<void>();
    if (name === this.held) this.#releases.push(resolve);
    else resolve();
    await promise;
    return { port, fds: [this.#fd] };
  }
}

class Place {
  readonly shards = new Map<number, Shard>();
  readonly served = new Set<string>();
  readonly ports: PublicPorts;
  readonly tunnels: TunnelPorts;
  readonly #t: TestContext;

  constructor(t: TestContext) {
    this.#t = t;
    this.ports = new PublicPorts({
      config: serverConfig(),
      acceptsEverywhere: true,
      bridges: () => [...this.shards].map(([shard, { bridge }]) => [shard, bridge] as const),
      log: SILENT_LOG,
    });
    this.tunnels = new TunnelPorts({
      openPort: (name) => this.ports.open(name),
      closePort: (name) => this.ports.close(name),
      isServed: (name) => this.served.has(name),
      onUnserved: () => undefined,
    });
  }

  /** Takes the place of one that is gone; `held`: what it does not answer yet. */
  start(shard: number, held = ''): Shard {
    const started = new Shard(this.#t, shard);
    started.held = held;
    this.ports.shardGone(shard);
    // As in the pool: whoever started last is asked last.
    this.shards.delete(shard);
    this.shards.set(shard, started);
    return started;
  }

  bringUp(shard: number): Promise<void> {
    const { bridge } = this.shards.get(shard) ?? assert.fail();
    return this.ports.bringUp(shard, bridge, {
      openPorts: () => this.tunnels.names(),
      isPortOpen: (name) => this.tunnels.isOpen(name),
    });
  }

  async serve(name: string): Promise<void> {
    this.served.add(name);
    await this.tunnels.open(name);
  }

  unserve(name: string): void {
    this.served.delete(name);
    this.tunnels.closeUnserved(name);
  }

  fdsOf(name: string): readonly number[] | undefined {
    return this.ports.sockets().find((socket) => socket.name === name)?.fds;
  }
}

async function startPlace(t: TestContext) {
  const place = new Place(t);
  for (const shard of [0, 1]) {
    place.start(shard);
    await place.bringUp(shard);
  }
  const [first, second] = [`tcp:${await freePort()}`, `tcp:${await freePort()}`];
  for (const name of [first, second]) await place.serve(name);
  return { place, first, second };
}

test('a port that opens again while a shard comes up with it is open in all', async (t) => {
  const { place, first } = await startPlace(t);
  const shard = place.start(1, first);
  const up = place.bringUp(1);
  await shard.asked(first, 1);
  place.unserve(first);
  await shard.closed(first);
  const again = place.serve(first);
  await shard.asked(first, 2);
  shard.release();
  await Promise.all([up, again]);
  assert.equal(place.tunnels.isOpen(first), true);
  for (const [, { open }] of place.shards) assert.ok(open.has(first));
  assert.deepEqual(place.fdsOf(first)?.toSorted(), [100, 101]);
});

test('a port that closes while a shard comes up with it is open in none', async (t) => {
  const { place, first, second } = await startPlace(t);
  const shard = place.start(1, first);
  const up = place.bringUp(1);
  await shard.asked(first, 1);
  for (const name of [first, second]) place.unserve(name);
  await shard.closed(first);
  shard.release();
  await up;
  for (const [, { open }] of place.shards) {
    assert.deepEqual([...open].toSorted(), ['control', 'http']);
  }
  for (const name of [first, second]) assert.equal(place.fdsOf(name), undefined);
});

test('behind a drain a shard that comes up opens nothing more', async (t) => {
  const { place } = await startPlace(t);
  const shard = place.start(1, 'control');
  const up = place.bringUp(1);
  await shard.asked('control', 1);
  place.ports.stopOpening();
  shard.release();
  await up;
  assert.deepEqual(shard.steps, ['listen control']);
});

test('behind a drain a tunnel that was being opened is refused, and open in no shard', async (t) => {
  const { place } = await startPlace(t);
  const late = `tcp:${await freePort()}`;
  const [first, second] = [place.shards.get(0), place.shards.get(1)];
  assert.ok(first !== undefined && second !== undefined);
  first.held = late;
  const opening = place.serve(late);
  await first.asked(late, 1);
  place.ports.stopOpening();
  first.release();
  await assert.rejects(opening, { code: 'SLW_TUNNEL_SHUTDOWN' });
  assert.ok(!second.steps.includes(`listen ${late}`));
  assert.ok(!first.open.has(late));
});

test('behind a drain nothing opens again, also when a take-over fails then', async (t) => {
  const { place } = await startPlace(t);
  const counts = (): number[] =>
    [...place.shards.values()].map(
      ({ steps }) => steps.filter((step) => step.startsWith('listen')).length,
    );
  const before = counts();
  place.ports.stopOpening();
  await place.ports.leaveControl();
  await place.ports.advance('all', { openPorts: () => [], isPortOpen: () => false });
  assert.deepEqual(counts(), before);
});
