// `sluiceway bench`: loads running tunnels and one of its own, and its report and exit codes are
// what a script may rely on. Figures are not judged, but for one: waiting is never left out.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import type { SelfReport, TargetReport } from '../../native-free-bench/command/report.ts';
import { measureRound } from '../../native-free-bench/command/target.ts';
import { eventually, within } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { type Output, runProgram, startProcess } from '../support/process.ts';
import { scratchFolder } from '../support/programs.ts';
import { ENTRY, environment, startTunnel, type TestTunnel } from '../support/tunnel.ts';
import { startEcho, startHttp, startTcp } from '../support/upstream.ts';

const HOST = 'load.example.com';
const SHORT = ['--duration', '1s', '--warm-up', '0ms', '--rounds', '2', '--connections', '4'];

function bench(t: TestContext, folder: string, args: readonly string[]): Promise<Output> {
  const command = [ENTRY, 'bench', '--output', folder, ...args];
  return runProgram(t, { command: process.execPath, args: command, env: environment() });
}

/** One shard: a tunnel is whole once its first link is up. */
function httpTunnel(t: TestContext, upstream: number): Promise<TestTunnel> {
  return startTunnel(t, ['--upstream', `${HOST}=http://127.0.0.1:${upstream}`], { shards: 1 });
}

async function tcpTunnel(t: TestContext, upstream: number): Promise<string> {
  const port = await freePort();
  await startTunnel(t, ['--tcp', `${port}=127.0.0.1:${upstream}`], { shards: 1 });
  return `tcp://127.0.0.1:${port}`;
}

function reportIn(folder: string): TargetReport {
  return JSON.parse(readFileSync(path.join(folder, 'report.json'), 'utf8')) as TargetReport;
}

for (const [title, more, perSecond] of [
  ['as fast as it goes', [], 0],
  ['at a fixed rate', ['--rate', '100'], 100],
] as const) {
  test(`a running HTTP tunnel is loaded ${title}, and there is a report`, async (t) => {
    const upstream = await startHttp(t, (_request, response) => response.end('x'.repeat(128)));
    const tunnel = await httpTunnel(t, upstream);
    const folder = path.join(scratchFolder(t), 'new');
    const url = `http://127.0.0.1:${tunnel.httpPort}/page?token=hunter1`;
    const headers = ['--header', `Host: ${HOST}`, '--header', 'Authorization: hunter2'];
    const run = await bench(t, folder, ['--url', url, ...SHORT, ...headers, ...more, '--json']);
    assert.equal(run.code, 0, run.stderr);
    const report = reportIn(folder);
    assert.deepEqual(JSON.parse(run.stdout), report);
    assert.equal(report.url, `http://127.0.0.1:${tunnel.httpPort}/page?…`);
    assert.deepEqual(report.headerNames, ['Host', 'Authorization']);
    assert.deepEqual([report.rounds.length, report.options.perSecond], [2, perSecond]);
    for (const round of report.rounds) {
      assert.ok(round.answers > 10, `${round.answers} answers`);
      assert.deepEqual(round.failures, {});
      assert.ok((round.latency?.p50Us ?? 0) > 0 && round.curve.length > 3);
    }
    const page = readFileSync(path.join(folder, 'report.html'), 'utf8');
    assert.match(page, /<svg |<polyline /);
    assert.doesNotMatch(page, /<script|src=|href=|url\(|@import/i);
    for (const told of [page, run.stdout, run.stderr]) assert.doesNotMatch(told, /hunter/);
  });
}

test('tables are what is printed without --json, and nothing moves where nobody watches', async (t) => {
  const upstream = await startHttp(t, (_request, response) => response.end('ok'));
  const url = `http://127.0.0.1:${upstream}/`;
  const run = await bench(t, scratchFolder(t), ['--url', url, ...SHORT]);
  assert.equal(run.code, 0, run.stderr);
  assert.match(run.stdout, /^round 2 +[\d,]+ \/s +[\d.]+ MB\/s +[\d.]+ ms .* 0$/m);
  assert.match(run.stdout, /^report: .*report\.json, .*report\.html$/m);
  assert.equal(run.stderr, '');
});

for (const [what, code, stderr] of [
  ['a full disk', 1, /^sluiceway: cannot write to stdout: ENOSPC.*\n$/],
  ['a reader that has gone', 0, /^$/],
] as const) {
  test(`figures lost to ${what} are exit code ${code}, and there is a report`, async (t) => {
    const port = await startHttp(t, (_request, response) => response.end('ok'));
    const folder = scratchFolder(t);
    const full = openSync('/dev/full', 'w');
    t.after(() => closeSync(full));
    const args = ['--output', folder, '--url', `http://127.0.0.1:${port}/`, ...SHORT, '--json'];
    const running = spawn(process.execPath, [ENTRY, 'bench', ...args], {
      ...{ stdio: ['ignore', code === 1 ? full : 'pipe', 'pipe'], env: environment() },
    });
    t.after(() => running.kill('SIGKILL'));
    running.stdout?.destroy();
    assert.ok(running.stderr !== null);
    const ended = within(30_000, 'it ends', once(running, 'close'));
    const [said, [endCode]] = await Promise.all([text(running.stderr), ended]);
    assert.equal(endCode, code, said);
    assert.match(said, stderr);
    assert.equal(reportIn(folder).kind, 'target');
  });
}

test('a TCP tunnel is loaded with echoes, at a rate too, and with bulk each way', async (t) => {
  const folder = scratchFolder(t);
  const echo = await tcpTunnel(t, await startEcho(t));
  for (const more of [[], ['--rate', '100']]) {
    const run = await bench(t, folder, ['--url', echo, ...SHORT, ...more]);
    assert.equal(run.code, 0, run.stderr);
    const { load, rounds } = reportIn(folder);
    assert.equal(load, 'echo');
    for (const { answers, latency } of rounds) assert.ok(answers > 10 && latency !== undefined);
  }
  const pouring = await startTcp(t, (socket) => {
    const push = (): void => {
      while (!socket.destroyed && socket.write(Buffer.alloc(16_384)));
    };
    socket.on('drain', push);
    socket.resume();
    push();
  });
  for (const load of ['download', 'upload']) {
    const url = await tcpTunnel(t, pouring);
    const run = await bench(t, folder, ['--url', url, '--tcp-load', load, ...SHORT]);
    assert.equal(run.code, 0, run.stderr);
    const report = reportIn(folder);
    assert.equal(report.load, load);
    assert.ok(report.summary.bytesPerSecond > 1e5, `${report.summary.bytesPerSecond} B/s`);
    assert.match(run.stdout, /^median +[\d,]+ MB\/s +0$/m);
  }
});

test('without --url it measures a tunnel of its own beside relays and beside none', async (t) => {
  const folder = scratchFolder(t);
  const brief = ['--duration', '200ms', '--warm-up', '0ms', '--rounds', '1', '--rate', '50'];
  const run = await bench(t, folder, brief);
  assert.equal(run.code, 0, run.stderr);
  const rows = run.stdout.split('\n').filter((line) => / (?:MB\/s|\/s) .*±/.test(line));
  assert.equal(rows.length, 7, run.stdout);
  const report = reportIn(folder) as unknown as SelfReport;
  assert.equal(report.kind, 'self');
  for (const { scenario, sides } of report.samples) {
    for (const side of ['tunnel', 'relays', 'direct']) {
      assert.ok((sides[side]?.rates[0] ?? 0) > 0, `${scenario}: ${side}`);
    }
  }
  assert.deepEqual(
    report.latencies.map(({ side }) => side),
    ['tunnel', 'relays', 'direct'],
  );
  assert.match(readFileSync(path.join(folder, 'report.html'), 'utf8'), /no tunnel/);
});

test('what fails is counted by reason, reported, and exit code 1', async (t) => {
  let asked = 0;
  const upstream = await startHttp(t, (_request, response) => {
    asked += 1;
    response.statusCode = asked === 1 || asked % 2 === 0 ? 200 : 503;
    response.end();
  });
  const folder = scratchFolder(t);
  const run = await bench(t, folder, ['--url', `http://127.0.0.1:${upstream}/`, ...SHORT]);
  assert.equal(run.code, 1);
  assert.match(run.stderr, /^sluiceway: [\d,]+ failed: [\d,]+ × status 503$/m);
  assert.ok((reportIn(folder).failures['status 503'] ?? 0) > 0);
});

test('at a rate each of the connections is used', async (t) => {
  const sockets = new Set<unknown>();
  const upstream = await startHttp(t, (request, response) => {
    sockets.add(request.socket);
    response.end('ok');
  });
  const load = ['--rate', '100', ...SHORT];
  const run = await bench(t, scratchFolder(t), ['--url', `http://127.0.0.1:${upstream}/`, ...load]);
  assert.equal(run.code, 0, run.stderr);
  // Four, and the probe's.
  assert.ok(sockets.size >= 5, `${sockets.size} connections`);
});

test('a rate that the target cannot keep is exit code 1, and its latencies tell', async (t) => {
  const upstream = await startHttp(t, (_request, response) => {
    setTimeout(() => response.end(), 50);
  });
  const folder = scratchFolder(t);
  const load = ['--rate', '400', ...SHORT];
  const run = await bench(t, folder, ['--url', `http://127.0.0.1:${upstream}/`, ...load]);
  assert.equal(run.code, 1);
  assert.match(run.stderr, /the rate was not reached: \d+ of 400 a second/);
  assert.ok((reportIn(folder).summary.latency?.p99Us ?? 0) > 100_000, 'more than 50 ms each');
});

test('connections that are closed are failures, and are opened again', async (t) => {
  let opened = 0;
  const closing = await startTcp(t, (socket) => {
    opened += 1;
    socket.once('data', (piece: Buffer) => socket.end(piece));
  });
  const run = await bench(t, scratchFolder(t), ['--url', `tcp://127.0.0.1:${closing}`, ...SHORT]);
  assert.equal(run.code, 1);
  assert.match(run.stderr, /failed: /);
  assert.ok(opened > 8, `${opened} connections`);
});

for (const [what, more, reason] of [
  ['are not those that were sent', 0, 'something else came back'],
  ['are more than were sent', 5, 'more came back than was sent'],
] as const) {
  test(`bytes that ${what} are no echo, before a load and in it`, async (t) => {
    const port = await startTcp(t, (socket) => {
      socket.on('data', (piece: Buffer) => {
        socket.write(more > 0 ? piece : Buffer.alloc(piece.length));
        if (more > 0) setTimeout(() => socket.write('b'.repeat(more)), 5);
      });
    });
    const url = `tcp://127.0.0.1:${port}`;
    const load = { ...HANG, durationMs: 500, load: 'echo', url: new URL(url) } as const;
    for (const perSecond of [0, 100]) {
      const { failures } = await measureRound({ ...load, perSecond }, () => undefined);
      assert.ok((failures[reason] ?? 0) > 0, JSON.stringify(failures));
    }
    if (more > 0) return;
    const run = await bench(t, scratchFolder(t), ['--url', url, ...SHORT]);
    assert.equal(run.code, 1);
    assert.match(run.stderr, /cannot be loaded: something else came back; --tcp-load echo needs/);
  });
}

test('what is not there is exit code 1, what is silent is 4, and neither has a report', async (t) => {
  const folder = scratchFolder(t);
  const silent = await startTcp(t, (socket) => socket.resume());
  for (const [url, code, reason] of [
    [`http://127.0.0.1:${await freePort()}/`, 1, /cannot be loaded: ECONNREFUSED/],
    [`tcp://127.0.0.1:${silent}`, 4, /no answer within 10 s; --tcp-load echo needs/],
    [`http://127.0.0.1:${silent}/`, 4, /no answer within 10 s/],
  ] as const) {
    const run = await bench(t, folder, ['--url', url, ...SHORT]);
    assert.equal(run.code, code, `${url}: ${run.stderr}`);
    assert.match(run.stderr, reason);
  }
  const upstream = await startHttp(t, (_request, response) => response.end('ok'));
  const tunnel = await httpTunnel(t, upstream);
  const run = await bench(t, folder, ['--url', `http://127.0.0.1:${tunnel.httpPort}/`, ...SHORT]);
  assert.equal(run.code, 1);
  assert.match(run.stderr, /answers 404: nothing to measure; is the host right/);
  assert.deepEqual(readdirSync(folder), []);
});

for (const [what, args, complaint] of [
  [
    'connections without end',
    ['--url', 'http://x', '--connections', '10001'],
    /--connections .*10000/,
  ],
  ['a round without end', ['--url', 'http://x', '--duration', '11m'], /--duration '11m' .* 10m/],
  ['a rate beyond all', ['--url', 'http://x', '--rate', '1000000'], /--rate .*100000/],
  ['no rounds', ['--rounds', '0'], /--rounds '0'/],
  ['a number that is none', ['--rate', 'fast'], /--rate 'fast' is not a whole number/],
  ['another scheme', ['--url', 'ftp://x/'], /--url is no address; write http:/],
  ['no port', ['--url', 'tcp://127.0.0.1'], /--url has no port/],
  ['a login in the URL', ['--url', 'http://a:hunter@x/'], /--url holds a login/],
  [
    'a header of framing',
    ['--url', 'http://x', '--header', 'Content-Length: 5'],
    /own; leave it out/,
  ],
  [
    'a header with a break',
    ['--url', 'http://x', '--header', 'A: b\r\nC: hunter'],
    /number 1 is no header/,
  ],
  [
    'a load that is none',
    ['--url', 'tcp://x:1', '--tcp-load', 'chat'],
    /write echo, download, upload/,
  ],
  ['a load for HTTP', ['--url', 'http://x', '--tcp-load', 'echo'], /is for a tcp:/],
  ['a header without a target', ['--header', 'A: b'], /--header is of a target; give --url/],
  ['an option that there is not', ['--conections', '5'], /Did you mean --connections/],
] as const) {
  test(`${what} is exit code 2`, async (t) => {
    const run = await bench(t, scratchFolder(t), args);
    assert.equal(run.code, 2, run.stderr);
    assert.match(run.stderr, complaint);
    assert.doesNotMatch(run.stderr, /hunter/);
    assert.equal(run.stdout, '');
  });
}

test("a file of the report's name that is none of ours stays", async (t) => {
  const folder = scratchFolder(t);
  const file = path.join(folder, 'report.html');
  writeFileSync(file, '<h1>my own</h1>');
  const run = await bench(t, folder, ['--url', 'http://127.0.0.1:9/', ...SHORT]);
  assert.equal(run.code, 2);
  assert.match(run.stderr, /report\.html is there, and no report of sluiceway bench/);
  assert.equal(readFileSync(file, 'utf8'), '<h1>my own</h1>');
});

test('a folder that cannot be is told before anything is measured', async (t) => {
  const file = path.join(scratchFolder(t), 'file');
  writeFileSync(file, 'my own');
  for (const folder of ['/proc/there-is-none', '/proc/there/is/none', file, `${file}/below`]) {
    const run = await bench(t, folder, ['--url', 'http://127.0.0.1:9/', ...SHORT]);
    assert.equal(run.code, 2, run.stderr);
    assert.ok(run.stderr.includes(`--output: ${folder} `), run.stderr);
  }
});

test('a signal ends it, and with it what it started', async (t) => {
  const folder = scratchFolder(t);
  const args = [ENTRY, 'bench', '--output', folder];
  const running = startProcess(t, {
    ...{ name: 'bench', command: process.execPath, args, env: environment(), endCode: 1 },
  });
  const children = await eventually(20_000, 'origin, server, client and relays run', async () => {
    const found = childrenOf(running.pid);
    if (found.length < 4) throw new Error(`${found.length} children`);
    return found;
  });
  await running.stop();
  await eventually(5_000, 'all have ended', async () => {
    const left = children.filter((pid) => existsSync(`/proc/${pid}`));
    if (left.length > 0) throw new Error(`still there: ${left.join(', ')}`);
  });
  assert.match(running.stderr.join('\n'), /ended by SIGTERM: no report was written/);
  assert.deepEqual(readdirSync(folder), []);
});

function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return text.split(' ').filter(Boolean).map(Number);
}

test('a stall counts for all that were due in it, not for the one that it held', async (t) => {
  let startMs = 0;
  const upstream = await startHttp(t, (_request, response) => {
    startMs ||= performance.now();
    const sinceMs = performance.now() - startMs;
    const isStall = sinceMs > 300 && sinceMs < 700;
    setTimeout(() => response.end(), isStall ? 700 - sinceMs : 0);
  });
  const round = await measureRound(
    {
      url: new URL(`http://127.0.0.1:${upstream}/`),
      ...{ load: 'http', headers: [], connections: 1, perSecond: 100 },
      ...{ warmUpMs: 0, durationMs: 1_000 },
    },
    () => undefined,
  );
  // 40 of 100 were due while it stalled; half of those waited for more than 200 ms.
  const at = (percent: number): number =>
    round.curve.find(([each]) => each === percent)?.[1] ?? Number.NaN;
  assert.ok(at(90) > 200_000, `p90 ${at(90)} µs`);
  assert.ok(at(50) < 200_000, `p50 ${at(50)} µs`);
});

for (const [where, sent] of [
  ['before its answer', undefined],
  ['in its body', 'x'.repeat(50)],
] as const) {
  test(`what was due while a request failed ${where} is sent late, and none is left out`, async (t) => {
    let asked = 0;
    const upstream = await startHttp(t, (_request, response) => {
      asked += 1;
      if (asked > 1) return response.end();
      if (sent !== undefined) response.write(sent);
      setTimeout(() => response.socket?.resetAndDestroy(), 500);
    });
    const round = await measureRound(
      {
        url: new URL(`http://127.0.0.1:${upstream}/`),
        ...{ load: 'http', headers: [], connections: 1, perSecond: 100 },
        ...{ warmUpMs: 0, durationMs: 1_000 },
      },
      () => undefined,
    );
    assert.deepEqual(round.failures, { ECONNRESET: 1 });
    const due = 100 * round.seconds;
    const told = (round.latency?.count ?? 0) + 1;
    assert.ok(Math.abs(told - due) < 5, `${told} of ${due}`);
    const p75 = round.curve.find(([percent]) => percent === 75)?.[1] ?? Number.NaN;
    assert.ok(p75 > 100_000, `p75 ${p75} µs, of which half were due while it failed`);
  });
}

/** A service that serves for a while after the first byte, and then holds what it has. */
function holdsAfter(ms: number): (serve: () => void) => void {
  let startMs = 0;
  return (serve) => {
    startMs ||= performance.now();
    if (performance.now() - startMs < ms) serve();
  };
}

const HANG = { warmUpMs: 0, durationMs: 2_000, connections: 4, headers: [] };

for (const perSecond of [0, 100]) {
  test(`requests that hang to the end are told, at ${perSecond} a second`, async (t) => {
    const hold = holdsAfter(300);
    const port = await startHttp(t, (_request, response) => hold(() => response.end()));
    const url = new URL(`http://127.0.0.1:${port}/`);
    const round = await measureRound({ ...HANG, url, load: 'http', perSecond }, () => undefined);
    assert.ok(round.answers > 4, `${round.answers} answers`);
    assert.deepEqual(round.failures, { 'no answer when it ended': 4 });
    const maxUs = round.latency?.maxUs ?? 0;
    assert.ok(maxUs > 1_500_000, `the slowest has waited ${maxUs} µs`);
  });
}

test('echoes that hang to the end are failures, and exit code 1', async (t) => {
  const hold = holdsAfter(300);
  const port = await startTcp(t, (socket) => {
    socket.on('data', (piece: Buffer) => hold(() => socket.write(piece)));
  });
  const url = ['--url', `tcp://127.0.0.1:${port}`];
  const run = await bench(t, scratchFolder(t), [...url, ...SHORT, '--duration', '2s']);
  assert.equal(run.code, 1, run.stdout);
  assert.match(run.stderr, /^sluiceway: 8 failed: 8 × no answer when it ended$/m);
});

test('one connection of bulk over which nothing moves any more is a failure', async (t) => {
  let opened = 0;
  const port = await startTcp(t, (socket) => {
    opened += 1;
    if (opened === 1) return socket.write('x');
    const more = setInterval(() => socket.write('x'), 50);
    socket.on('close', () => clearInterval(more));
  });
  const load = { ...HANG, durationMs: 2_500, perSecond: 0, load: 'download' } as const;
  const url = new URL(`tcp://127.0.0.1:${port}`);
  const round = await measureRound({ ...load, url }, () => undefined);
  assert.deepEqual(round.failures, { 'no bytes when it ended': 1 });
});

test('what is out for a moment when a round ends has not failed', async (t) => {
  const port = await startHttp(t, (_request, response) => {
    setTimeout(() => response.end(), 400);
  });
  const url = new URL(`http://127.0.0.1:${port}/`);
  const round = await measureRound({ ...HANG, url, load: 'http', perSecond: 0 }, () => undefined);
  assert.deepEqual(round.failures, {});
});
