// Ports that open and close as slowly as the test says.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { SluicewayError } from '../../src/base/errors.ts';
import { TunnelPorts } from '../../src/control/tunnel-ports.ts';

class Bench {
  readonly log: string[] = [];
  readonly served = new Set<string>();
  /** Settles the step under way. */
  settle: (error?: Error) => void = () => undefined;
  readonly ports = new TunnelPorts({
    openPort: (name) => this.#step(`open ${name}`),
    closePort: (name) => this.#step(`close ${name}`),
    isServed: (name) => this.served.has(name),
    onUnserved: (name) => this.log.push(`unserved ${name}`),
  });

  #step(what: string): Promise<void> {
    this.log.push(what);
    return new Promise((resolve, reject) => {
      this.settle = (error) => (error === undefined ? resolve() : reject(error));
    });
  }

  async go(error?: Error): Promise<void> {
    this.settle(error);
    await turn();
  }
}

/** With the port `tcp:1` open. */
async function openBench(): Promise<Bench> {
  const bench = new Bench();
  const opened = bench.ports.open('tcp:1');
  await turn();
  await bench.go();
  await opened;
  return bench;
}

test('a port opens once, however many ask', async () => {
  const bench = new Bench();
  const both = [bench.ports.open('tcp:1'), bench.ports.open('tcp:1')];
  await turn();
  assert.equal(bench.ports.isOpen('tcp:1'), false, 'not before it is');
  await bench.go();
  await Promise.all(both);
  assert.deepEqual(bench.log, ['open tcp:1']);
  assert.deepEqual(bench.ports.names(), ['tcp:1']);
});

test('one that cannot be opened is told, and may be asked for again', async () => {
  const bench = new Bench();
  const first = bench.ports.open('tcp:1');
  await turn();
  bench.settle(new SluicewayError('SLW_TUNNEL_PORT_TAKEN'));
  await assert.rejects(first, { code: 'SLW_TUNNEL_PORT_TAKEN' });
  assert.equal(bench.ports.isOpen('tcp:1'), false);
  const second = bench.ports.open('tcp:1');
  await turn();
  await bench.go();
  await second;
  assert.equal(bench.ports.isOpen('tcp:1'), true);
});

test('opening and closing never overlap', async () => {
  const bench = await openBench();
  bench.ports.closeUnserved('tcp:1');
  const again = bench.ports.open('tcp:1');
  await turn();
  assert.deepEqual(bench.log, ['open tcp:1', 'unserved tcp:1', 'close tcp:1']);
  await bench.go();
  assert.deepEqual(bench.log.at(-1), 'open tcp:1', 'after the close has ended');
  await bench.go();
  await again;
  assert.equal(bench.ports.isOpen('tcp:1'), true);
});

test('one that is served again by then stays open', async () => {
  const bench = await openBench();
  bench.ports.closeUnserved('tcp:1');
  bench.served.add('tcp:1');
  await turn();
  assert.deepEqual(bench.log, ['open tcp:1']);
  assert.equal(bench.ports.isOpen('tcp:1'), true);
});

test('what follows the steps of a port comes at once when there are none', async () => {
  const bench = new Bench();
  const seen: string[] = [];
  bench.ports.afterSteps('tcp:1', () => seen.push('at once'));
  assert.deepEqual(seen, ['at once']);
  const opened = bench.ports.open('tcp:1');
  bench.ports.afterSteps('tcp:1', () => seen.push('then'));
  await turn();
  assert.deepEqual(seen, ['at once']);
  await bench.go();
  await opened;
  assert.deepEqual(seen, ['at once', 'then']);
});
