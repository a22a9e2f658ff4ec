// A thousand visitors who never finish their request head, by slowhttptest, while another visitor
// asks as fast as it can: the slow ones are closed in time, and the fast one hardly notices.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import test from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { startProcess } from '../support/process.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';
import { httpTunnel } from '../support/tunnel.ts';
import { startHttp } from '../support/upstream.ts';

const HOST = 'slow.example.com';
const SLOW = 1000;
/** `--header-timeout` is 10 s. */
const CLOSED_WITHIN_S = 15;
const RATE_SECONDS = 3;
/** Connections of the visitor who asks fast. */
const FAST = 8;
const RATE_KEPT_LEAST = 0.8;

interface Rate {
  readonly perSecond: number;
  readonly failures: number;
}

/** Asks again and again over kept-alive connections, for so long. */
async function measureRate(port: number, seconds: number): Promise<Rate> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: FAST });
  const endMs = performance.now() + seconds * 1000;
  let answers = 0;
  let failures = 0;
  const ask = async (): Promise<void> => {
    const request = http.get({ port, host: '127.0.0.1', agent, headers: { host: HOST } });
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    const ended = once(response, 'end');
    response.resume();
    await ended;
    if (response.statusCode === 200) answers += 1;
    else failures += 1;
  };
  const loop = async (): Promise<void> => {
    while (performance.now() < endMs) await ask();
  };
  await Promise.all(Array.from({ length: FAST }, loop));
  agent.destroy();
  return { perSecond: answers / seconds, failures };
}

interface Share {
  /** What the exit node under attack does of one that is left alone, in the same seconds. */
  readonly ofControl: number;
  readonly perSecond: number;
  readonly failures: number;
}

/** Both at once: what else the machine does takes as much from the one as from the other. */
async function measureShare(port: number, controlPort: number): Promise<Share> {
  const [one, control] = await Promise.all([
    measureRate(port, RATE_SECONDS),
    measureRate(controlPort, RATE_SECONDS),
  ]);
  return {
    ofControl: one.perSecond / control.perSecond,
    perSecond: one.perSecond,
    failures: one.failures + control.failures,
  };
}

/** The most that were connected at once, of a row a second: seconds, closed, pending, connected. */
function mostConnected(file: string): number {
  const rows = readFileSync(file, 'utf8').split('\n').slice(1);
  return Math.max(...rows.map((row) => Number(row.split(',')[3] ?? 0)));
}

/** The second in which the last one was closed; undefined when some were still open at the end. */
function lastClosed(lines: readonly string[]): number | undefined {
  const text = stripVTControlCharacters(lines.join('\n'));
  if (!text.includes('No open connections left')) return undefined;
  return Number(/Test ended on (\d+)/u.exec(text)?.[1]);
}

test('a thousand slow heads are closed in time and slow nobody down', async (t) => {
  const programs = requirePrograms(t, ['slowhttptest', 'stdbuf']);
  if (programs === undefined) return;
  const upstream = await startHttp(t, (_request, response) => response.end('page'));
  const { httpPort } = await httpTunnel(t, HOST, upstream);
  const { httpPort: controlPort } = await httpTunnel(t, HOST, upstream);
  await Promise.all([measureRate(httpPort, 1), measureRate(controlPort, 1)]);
  const before = await measureShare(httpPort, controlPort);

  const folder = scratchFolder(t);
  const slow = startProcess(t, {
    name: 'slowhttptest',
    // Into a pipe it would tell nothing before its end.
    command: programs.stdbuf,
    args: [
      ...['-oL', programs.slowhttptest],
      ...['-H', '-c', String(SLOW), '-r', String(SLOW), '-i', '3', '-p', '3', '-x', '24'],
      ...['-l', '20', '-g', '-o', path.join(folder, 'slow')],
      ...['-u', `http://127.0.0.1:${httpPort}/`],
    ],
    endsItself: true,
  });
  await slow.line('it has begun', (line) => line.includes('slow HTTP test status'));
  const beside = await measureShare(httpPort, controlPort);
  assert.ok(slow.isRunning, 'the slow visitors were gone before the fast one had measured');
  await slow.ended;

  const after = await measureShare(httpPort, controlPort);
  const most = mostConnected(path.join(folder, 'slow.csv'));
  const done = lastClosed(slow.stdout);
  const alone = (before.ofControl + after.ofControl) / 2;
  const kept = beside.ofControl / alone;
  t.diagnostic(
    `${most} slow at once, all closed after ${done} s; ${beside.perSecond.toFixed(0)}/s beside ` +
      `them; of an exit node left alone ${alone.toFixed(2)} before and after, ` +
      `${beside.ofControl.toFixed(2)} beside them: ${kept.toFixed(2)}`,
  );
  assert.ok(most >= SLOW * 0.9, `only ${most} were connected at once`);
  assert.ok(done !== undefined && done <= CLOSED_WITHIN_S, `all closed after ${done} s`);
  assert.equal(before.failures + beside.failures + after.failures, 0, 'failed requests');
  assert.ok(kept >= RATE_KEPT_LEAST, `the rate fell to ${kept.toFixed(2)}`);
});
