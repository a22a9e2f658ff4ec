// Goal: who interrupts `exit-node create` waits for nothing but what has to be known to leave
// nothing behind. Method: a provider in memory, and the clock's own sleep, longer than the test.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sleep } from '../../src/base/clock.ts';
import { SluicewayError } from '../../src/base/errors.ts';
import { type CreateOptions, createExitNode } from '../../src/provision/exit-node.ts';
import { type Machine, type Provider, Unheard } from '../../src/provision/provider.ts';
import { within } from '../support/deadline.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { REQUEST } from './started-cloud.ts';

const ADDRESS = '198.51.100.9';
const MACHINE: Machine = {
  ...{ id: 'm-1', name: REQUEST.name, state: 'running', region: 'x', address: ADDRESS },
};
const LONG_MS = 20_000;
const SOON_MS = 5_000;

function world(over: Partial<Provider> = {}) {
  const stop = new AbortController();
  const deleted: string[] = [];
  const provider: Provider = {
    create: async () => MACHINE,
    get: async () => MACHINE,
    list: async () => [],
    delete: async (id) => void deleted.push(id),
    ...over,
  };
  const create = async (how: Pick<CreateOptions<string>, 'reach' | 'sleep'>) =>
    await createExitNode({
      ...{ provider, request: REQUEST, clock: new FakeClock(), deadlineMs: 60_000 },
      ...{ signal: stop.signal, onProgress: () => {}, ...how },
    });
  const interrupt = (): void => stop.abort(new SluicewayError('SLW_INTERRUPTED'));
  return { deleted, create, interrupt };
}

const INTERRUPTED = { code: 'SLW_INTERRUPTED' };

test('one that comes while the server is asked is heard before the wait that follows', async () => {
  const { deleted, create, interrupt } = world();
  const making = create({
    reach: async () => void interrupt(),
    sleep: async (_ms, signal) => await sleep(LONG_MS, signal),
  });
  await assert.rejects(within(SOON_MS, 'it ends', making), INTERRUPTED);
  assert.deepEqual(deleted, [MACHINE.id]);
});

test('one that comes in the wait ends it', async () => {
  const { deleted, create, interrupt } = world();
  const making = create({
    reach: async () => undefined,
    sleep: async (_ms, signal) => {
      const waiting = sleep(LONG_MS, signal);
      interrupt();
      await waiting;
    },
  });
  await assert.rejects(within(SOON_MS, 'it ends', making), INTERRUPTED);
  assert.deepEqual(deleted, [MACHINE.id]);
});

test('what may have been made is waited for all the same, and removed', async () => {
  let waits = 0;
  const unheard = new Unheard(new Error('no answer'));
  const { deleted, create, interrupt } = world({
    create: async () => {
      interrupt();
      throw unheard;
    },
    // Listed after a while.
    list: async () => (waits < 3 ? [] : [MACHINE]),
  });
  const making = create({
    reach: async () => assert.fail('it is not asked'),
    sleep: async (_ms, signal) => {
      if (signal?.aborted !== true) waits += 1;
    },
  });
  await assert.rejects(making, unheard);
  assert.deepEqual(deleted, [MACHINE.id]);
});
