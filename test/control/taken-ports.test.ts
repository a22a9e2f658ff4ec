// Goal: a port that the other process of a take-over has is waited for, once and not for long; any
// other failure is told at once. Method: ports of the test, on a clock of the test.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ErrorCode, SluicewayError } from '../../src/base/errors.ts';
import { TakenPorts } from '../../src/control/taken-ports.ts';
import { eventually } from '../support/deadline.ts';
import { FakeClock } from '../support/fake-clock.ts';

const TAKEN = { code: 'SLW_TUNNEL_PORT_TAKEN' };

class Bench {
  readonly clock = new FakeClock();
  isUnderWay = true;
  /** Why no port opens. */
  failure: ErrorCode | undefined = 'SLW_TUNNEL_PORT_TAKEN';
  tries = 0;
  readonly ports = new TakenPorts({
    open: async () => {
      this.tries += 1;
      if (this.failure !== undefined) throw new SluicewayError(this.failure);
    },
    isUnderWay: () => this.isUnderWay,
    clock: this.clock,
  });

  /** Resolves when it was tried again. */
  triedAgain(): Promise<void> {
    const before = this.tries;
    return eventually(10_000, 'another try', async () => assert.ok(this.tries > before));
  }
}

test('a port is opened when the other process has closed it, and when that is gone', async () => {
  for (const ends of [false, true]) {
    const bench = new Bench();
    const opened = bench.ports.open('tcp:2222');
    await bench.triedAgain();
    if (ends) bench.isUnderWay = false;
    await bench.triedAgain();
    bench.failure = undefined;
    await opened;
  }
});

test('a port is waited for a while after the other process was told to close it', async () => {
  const bench = new Bench();
  bench.isUnderWay = false;
  bench.ports.expectClosing();
  const opened = bench.ports.open('tcp:2222');
  await bench.triedAgain();
  bench.failure = undefined;
  await opened;
  bench.failure = 'SLW_TUNNEL_PORT_TAKEN';
  const late = bench.ports.open('tcp:2222');
  await bench.triedAgain();
  bench.clock.advance(5000);
  await assert.rejects(late, TAKEN);
  const { tries } = bench;
  await assert.rejects(bench.ports.open('tcp:3333'), TAKEN);
  assert.equal(bench.tries, tries + 1, 'by then it is another program’s');
});

test('without a take-over, or for another reason, the failure is told at once', async () => {
  const bench = new Bench();
  bench.failure = 'SLW_TUNNEL_SHUTDOWN';
  await assert.rejects(bench.ports.open('tcp:2222'), { code: 'SLW_TUNNEL_SHUTDOWN' });
  bench.failure = 'SLW_TUNNEL_PORT_TAKEN';
  bench.isUnderWay = false;
  await assert.rejects(bench.ports.open('tcp:2222'), TAKEN);
  assert.equal(bench.tries, 2);
});

test('a port is waited for once, for all links on which it is offered', async () => {
  const bench = new Bench();
  const first = bench.ports.open('tcp:2222');
  await bench.triedAgain();
  bench.clock.advance(4999);
  await bench.triedAgain();
  bench.clock.advance(1);
  await assert.rejects(first, TAKEN);
  const { tries } = bench;
  await assert.rejects(bench.ports.open('tcp:2222'), TAKEN);
  assert.equal(bench.tries, tries + 1, 'the second link has not to wait again');
  const other = bench.ports.open('tcp:3333');
  await bench.triedAgain();
  bench.failure = undefined;
  await other;
  await bench.ports.open('tcp:2222');
});

test('a port that was waited for in vain is waited for again in the next take-over', async () => {
  const bench = new Bench();
  const first = bench.ports.open('tcp:2222');
  await bench.triedAgain();
  bench.clock.advance(5000);
  await assert.rejects(first, TAKEN);
  bench.isUnderWay = false;
  await assert.rejects(bench.ports.open('tcp:3333'), TAKEN);
  bench.isUnderWay = true;
  const again = bench.ports.open('tcp:2222');
  await bench.triedAgain();
  bench.failure = undefined;
  await again;
});
