// Goal: a take-over goes through its phases in order, and a successor that fails costs nothing.
// Method: a successor, ports and clients of the test, on a clock of the test.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { SluicewayError } from '../../src/base/errors.ts';
import { HandOver, type SuccessorEvents } from '../../src/control/hand-over.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { SILENT_LOG } from '../support/silent-log.ts';

class Place {
  readonly clock = new FakeClock();
  readonly steps: string[] = [];
  events: SuccessorEvents | undefined;
  startFails = false;
  advanceFails = false;
  /** Ports of tunnels that were not offered to the successor. */
  younger: readonly string[] = [];
  readonly handOver: HandOver;

  constructor(fds: readonly number[] = [9]) {
    const note = (step: string) => this.steps.push(step);
    this.handOver = new HandOver({
      start: (sockets, events) => {
        note(`start ${sockets.map(({ name }) => name).join(' ')}`);
        if (this.startFails) throw new Error('spawn ENOMEM');
        this.events = events;
        return {
          pid: 1,
          move: ({ clients, tunnels }) => note(`move ${clients.join(' ')} ${tunnels.join(' ')}`),
          end: () => note('end successor'),
        };
      },
      ports: {
        sockets: () => [{ name: 'http', host: '::', port: 80, fds }],
        leaveControl: async () => void note('leave control'),
        advance: async (stage) => {
          note(`open ${stage}`);
          if (this.advanceFails) throw new SluicewayError('SLW_CALL_TIMEOUT');
        },
      },
      registry: {
        moving: () => ({ clients: ['alpha'], tunnels: ['example.com', ...this.younger] }),
        openPorts: () => [],
        isPortOpen: () => false,
      },
      adminSocket: () => undefined,
      tellClients: () => note('tell clients'),
      onDone: () => note('done'),
      clock: this.clock,
      log: SILENT_LOG,
    });
  }
}

const WHOLE = ['start http', 'leave control', 'move alpha example.com', 'tell clients'];

test('the successor starts, clients move, and this process is done when it serves', async () => {
  const place = new Place();
  place.handOver.begin();
  place.events?.onPrepared();
  await turn();
  assert.deepEqual(place.steps, WHOLE);
  assert.equal(place.handOver.isDone, false);
  place.events?.onReady();
  assert.deepEqual(place.steps, [...WHOLE, 'done']);
  assert.equal(place.handOver.isDone, true);
  place.events?.onEnd('later');
  place.clock.advance(120_000);
  assert.deepEqual(place.steps, [...WHOLE, 'done'], 'what comes later changes nothing');
  assert.equal(place.handOver.isDone, false, 'nobody serves');
});

test('a successor that never starts is ended, and another may be tried', async () => {
  const place = new Place();
  place.handOver.begin();
  place.handOver.begin();
  place.clock.advance(60_000);
  await turn();
  assert.deepEqual(place.steps, ['start http', 'end successor']);
  place.handOver.begin();
  assert.deepEqual(place.steps, ['start http', 'end successor'], 'not before it has gone');
  place.events?.onEnd('it ended with SIGKILL');
  place.handOver.begin();
  assert.equal(place.steps.at(-1), 'start http');
});

test('one that fails while clients move gives the control port back', async () => {
  for (const fail of ['ends', 'hangs'] as const) {
    const place = new Place();
    place.handOver.begin();
    place.events?.onPrepared();
    await turn();
    if (fail === 'hangs') {
      place.clock.advance(30_000);
      await turn();
      assert.deepEqual(place.steps, [...WHOLE, 'end successor'], 'it still has the socket');
    }
    place.events?.onEnd('it has ended');
    await turn();
    assert.deepEqual(place.steps, [...WHOLE, 'end successor', 'open all']);
    place.events?.onReady();
    assert.ok(!place.steps.includes('done'), 'too late');
  }
});

test('the control port is taken back, however often that fails', async () => {
  const place = new Place();
  place.advanceFails = true;
  place.handOver.begin();
  place.events?.onPrepared();
  await turn();
  place.events?.onEnd('it has ended');
  const tries = () => place.steps.filter((step) => step === 'open all').length;
  await turn();
  assert.equal(tries(), 1);
  place.clock.advance(1000);
  await turn();
  assert.deepEqual([tries(), place.handOver.isUnderWay], [2, true]);
  place.advanceFails = false;
  place.clock.advance(1000);
  await turn();
  assert.deepEqual([tries(), place.handOver.isUnderWay], [3, false]);
  place.clock.advance(60_000);
  assert.equal(tries(), 3);
});

test('an operator who ends the server ends a successor that does not serve yet', () => {
  const place = new Place();
  place.handOver.cancel();
  place.handOver.begin();
  place.handOver.cancel();
  place.handOver.cancel();
  assert.deepEqual(place.steps, ['start http', 'end successor']);
  assert.equal(place.handOver.isDone, false, 'it does not serve');
});

test('a server that ends does not take back the control port of a successor that failed', async () => {
  const place = new Place();
  place.handOver.begin();
  place.events?.onPrepared();
  await turn();
  place.clock.advance(30_000);
  place.handOver.cancel();
  place.events?.onEnd('it ended with SIGKILL');
  await turn();
  assert.ok(!place.steps.includes('open all'), place.steps.join(', '));
});

test('a process that cannot be started at all is a failure like another', async () => {
  const place = new Place();
  place.startFails = true;
  place.handOver.begin();
  await turn();
  assert.deepEqual(place.steps, ['start http']);
  place.startFails = false;
  place.handOver.begin();
  assert.equal(place.steps.length, 2, 'and may be tried again');
});

test('more sockets than can be handed on are a reason not to begin', () => {
  const place = new Place(Array.from({ length: 4097 }, (_, fd) => fd));
  place.handOver.begin();
  assert.deepEqual(place.steps, []);
});

test('a socket without a descriptor is a reason not to begin', () => {
  for (const fds of [[], [-1]]) {
    const place = new Place(fds);
    place.handOver.begin();
    assert.deepEqual(place.steps, []);
  }
});

test('a port that is younger than the successor is not waited for there', async () => {
  const place = new Place();
  place.handOver.begin();
  place.younger = ['tcp:2222', 'udp:53'];
  place.events?.onPrepared();
  await turn();
  assert.deepEqual(place.steps, WHOLE);
});

test('a take-over is under way from its beginning until it is done, or has failed', async () => {
  for (const end of ['serves', 'fails', 'fails early'] as const) {
    const place = new Place();
    const { handOver } = place;
    assert.equal(handOver.isUnderWay, false);
    handOver.begin();
    assert.equal(handOver.isUnderWay, true);
    if (end !== 'fails early') place.events?.onPrepared();
    await turn();
    assert.equal(handOver.isUnderWay, true);
    if (end === 'serves') place.events?.onReady();
    else place.events?.onEnd('it ended with 1');
    await turn();
    assert.equal(handOver.isUnderWay, false, end);
  }
});
