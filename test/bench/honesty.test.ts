// What is no answer is no part of a rate, what was not measured is no figure, and the guard fails
// for what it does not look at.

import assert from 'node:assert/strict';
import { createServer, type Server, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { latencyOf, newHistogram, recordMs } from '../../native-free-bench/harness/histogram.ts';
import { measureLoneEchoes, measurePacedEchoes } from '../../native-free-bench/harness/latency.ts';
import {
  type LoadOptions,
  measureConnects,
  measureDownload,
  measureEchoes,
  measureRequests,
  measureUpload,
} from '../../native-free-bench/harness/load.ts';
import { failuresIn, measureRounds, newSamples } from '../../native-free-bench/harness/rounds.ts';
import type { Side } from '../../native-free-bench/harness/side.ts';
import { median, ratio, ratiosOf } from '../../native-free-bench/harness/table.ts';
import { judge } from '../../native-free-bench/suites/check.ts';
import { startTcp } from '../support/upstream.ts';

const ANSWER = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const ERROR = 'HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno';

/** Says `answers` one after the other, and the last one from then on; then ends where asked. */
async function serve(
  t: TestContext,
  answers: readonly string[],
  isEnding: boolean,
): Promise<number> {
  let asked = 0;
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket.on('error', () => undefined));
    socket.on('data', () => {
      const answer = answers[Math.min(asked, answers.length - 1)] ?? '';
      asked += 1;
      if (isEnding) socket.end(answer);
      else socket.write(answer);
    });
  });
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as { port: number }).port;
}

function load(port: number) {
  return { target: { port }, connections: 2, ms: 100, warmUpMs: 1 };
}

test('answers of 200 are a rate', async (t) => {
  const kept = await serve(t, [ANSWER], false);
  assert.ok((await measureRequests(load(kept), 'a.example')) > 0);
  const once = await serve(t, [ANSWER], true);
  assert.ok((await measureConnects(load(once), 'a.example')) > 0);
});

test('errors of the same length are none, from the first on or later', async (t) => {
  for (const answers of [[ERROR], [ANSWER, ANSWER, ANSWER, ERROR]]) {
    const kept = await serve(t, answers, false);
    await assert.rejects(measureRequests(load(kept), 'a.example'), /lost, or refused|503/);
    const once = await serve(t, answers, true);
    await assert.rejects(measureConnects(load(once), 'a.example'), /no whole answer|503/);
  }
});

test('an answer that is cut is none', async (t) => {
  const port = await serve(t, [ANSWER, ANSWER.slice(0, -1)], true);
  await assert.rejects(measureConnects(load(port), 'a.example'), /no whole answer/);
});

test('a connection that is lost ends the measurement', async (t) => {
  const port = await serve(t, ['e'.repeat(64)], true);
  await assert.rejects(measureEchoes(load(port)), /2 of 2 connections were lost/);
});

test('a connection that is lost has no latency, and one that hangs has waited', async (t) => {
  const ending = await serve(t, ['e'.repeat(64)], true);
  const lost = /2 of 2 connections were lost/;
  await assert.rejects(measureLoneEchoes(load(ending)), lost);
  await assert.rejects(measurePacedEchoes({ ...load(ending), perSecond: 100 }), lost);
  let echoes = 0;
  const hanging = await startTcp(t, (socket) => {
    socket.on('data', () => {
      echoes += 1;
      // Then both hang.
      if (echoes < 4) socket.write('e'.repeat(64));
    });
  });
  const { maxUs } = await measureLoneEchoes({ ...load(hanging), ms: 300 });
  assert.ok(maxUs > 300_000, `the slowest has waited ${maxUs} µs`);
});

/** As the harness's origin, but that one connection gets nothing after its first `answers`. */
function serveAllButOne(t: TestContext, answers: number): Promise<number> {
  let opened = 0;
  return startTcp(t, (socket) => {
    opened += 1;
    const isHeld = opened === 2;
    let got = 0;
    socket.once('data', (first: Buffer) => {
      const want = first.toString('latin1', 0, 1);
      const serve = (piece: Buffer): void => {
        got += 1;
        if (isHeld && got > answers) return void socket.pause();
        if (want === 'G') socket.write(ANSWER);
        else socket.write(want === 'e' ? piece : Buffer.alloc(1024));
        if (want === 'd' && !socket.destroyed) setTimeout(serve, 1, piece);
        if (piece.includes('Connection: close')) socket.end();
      };
      const rest = want === 'e' ? first.subarray(1) : first;
      if (rest.length > 0) serve(rest);
      socket.on('data', serve);
    });
  });
}

for (const [what, measure] of [
  ['download', measureDownload],
  ['upload', measureUpload],
  ['echoes', measureEchoes],
  ['requests', (options: LoadOptions) => measureRequests(options, 'a.example')],
  ['connects', (options: LoadOptions) => measureConnects(options, 'a.example')],
] as const) {
  test(`one connection of ${what} that stands still beside one that moves is named`, async (t) => {
    // Of new connections each, only what comes behind the first one is held.
    const port = await serveAllButOne(t, what === 'connects' ? 0 : 1);
    // An upload fills the buffers of the kernel first.
    const options = { ...load(port), warmUpMs: 300 };
    const still = /^Error: 1 of 2 connections stood still: number [12] from port \d+$/;
    await assert.rejects(measure(options), still);
  });
}

test('one that pauses in a short round is given time, and is no error', async (t) => {
  const port = await startTcp(t, (socket) => {
    socket.once('data', () => {
      const answer = setInterval(() => socket.write('e'.repeat(64)), 300);
      socket.on('close', () => clearInterval(answer));
    });
  });
  assert.ok((await measureEchoes({ ...load(port), ms: 1 })) >= 0);
});

test('of nothing there is no latency', () => {
  const histogram = newHistogram();
  assert.deepEqual(latencyOf(histogram).p50Us, Number.NaN);
  recordMs(histogram, 1);
  assert.equal(latencyOf(histogram).p50Us, 1000);
});

test('what is compared was measured in the same round', () => {
  // Each side grows slower by half in the second round: the tunnel is twice as fast in both.
  assert.deepEqual(ratiosOf([200, 100], [100, 50]), [2, 2]);
  assert.deepEqual(ratiosOf([200], [100, 50]), []);
  assert.equal(ratio([200, 100, 90], [100, 50, 30]), '2.00');
  assert.ok(Number.isNaN(median(ratiosOf([200], []))));
});

test('a side that fails once has no figure but the reason, of whatever round', async () => {
  const side = (name: string): Side => ({
    ...{ name, version: '', ports: {}, pids: { server: [], client: [] } },
  });
  const sides = [side('one'), side('other')];
  let asked = 0;
  const measure = async ({ name }: Side): Promise<number> => {
    asked += 1;
    if (name === 'other' && asked === 4) throw new Error('lost');
    return asked;
  };
  const scenarios = [{ name: 'load', unit: '/s', measure }];
  const samples = newSamples({ scenarios, sides });
  const options = { scenarios, sides, rounds: 1, tell: () => undefined, samples };
  for (let round = 0; round < 3; round += 1) await measureRounds(options);
  const [{ sides: found = {} } = {}] = samples;
  assert.deepEqual(found.one?.rates, [1, 3, 5]);
  assert.deepEqual([found.other?.rates, found.other?.failure], [[], 'lost']);
  assert.deepEqual(failuresIn(samples), ['other: load: lost']);
});

test('the guard fails for what is stored and was not measured, and the other way round', () => {
  const found = new Map([['a', [1]]]);
  const fallen = (stored: Record<string, number>): string[] =>
    judge(found, stored, 0.9)
      .filter(({ hasFallen }) => hasFallen)
      .map(({ name }) => name);
  assert.deepEqual(fallen({ a: 1 }), []);
  assert.deepEqual(fallen({ a: 1, b: 1 }), ['b']);
  assert.deepEqual(fallen({}), ['a']);
});
