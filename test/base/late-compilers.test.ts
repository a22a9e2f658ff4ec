import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { releaseOnceWorked } from '../../src/base/late-compilers.ts';
import { FakeClock } from '../support/fake-clock.ts';

const execute = promisify(execFile);
const URL_OF_IT = new URL('../../src/base/late-compilers.ts', import.meta.url).href;
const ENTRY = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
/** As in src/cli/main.ts. */
const HELD = '--minimum-invocations-before-optimization=2147483647';
/** What V8 prints of each function that it begins to optimize, but for a loop that runs. */
const COMPILING = /^\[compiling method (?!.* OSR,).*$/gmu;
const TRACE_BYTES_MAX = 64 * 1024 * 1024;

async function compiledBy(args: readonly string[]): Promise<string[]> {
  const options = { maxBuffer: TRACE_BYTES_MAX };
  const { stdout } = await execute(process.execPath, ['--trace-opt', ...args], options);
  return stdout.match(COMPILING) ?? [];
}

/** How often each of two functions is optimized: one hot while compilers are held, one later. */
async function optimizedIn(thread: 'main' | 'worker'): Promise<string[]> {
  const heat = `
    const { releaseCompilers } = await import(${JSON.stringify(URL_OF_IT)});
    const { setFlagsFromString } = await import('node:v8');
    const holdCompilers = () => setFlagsFromString('${HELD}');
    const call = (callee) => { for (let count = 0; count < 300; count += 1) callee(count); };
    const pause = () => new Promise((resolve) => setTimeout(resolve, 1));
    const hotBefore = (value) => value % 7;
    const hotAfter = (value) => value % 9;`;
  const use = `
    for (let turn = 0; turn < 100; turn += 1) { call(hotBefore); await pause(); }
    console.log('released');
    releaseCompilers();
    for (let turn = 0; turn < 100; turn += 1) { call(hotAfter); await pause(); }`;
  const inThread = `${heat}${use}`;
  const code =
    thread === 'main'
      ? `${heat} holdCompilers(); ${use}`
      : `${heat} holdCompilers(); const { Worker } = await import('node:worker_threads');
         new Worker(new URL(${JSON.stringify(`data:text/javascript,${encodeURIComponent(inThread)}`)}));`;
  const lines = await compiledBy(['--input-type=module', '--eval', code]);
  return ['hotBefore', 'hotAfter'].filter((name) => lines.some((line) => line.includes(name)));
}

test('what is hot while compilers are held is not optimized, and what is hot later is', async () => {
  assert.deepEqual(await optimizedIn('main'), ['hotAfter']);
});

test('threads that are made while compilers are held optimize as soon as they are not', async () => {
  assert.deepEqual(await optimizedIn('worker'), ['hotAfter']);
});

test('the program loads without optimizing more than what ran before it', async () => {
  const flags = ['--url=ws://127.0.0.1:9', '--token=any', '--tcp=2222=127.0.0.1:22'];
  const lines = await compiledBy([ENTRY, 'config', 'print', 'client', ...flags]);
  assert.ok(lines.length < 10, lines.join('\n'));
  assert.ok(readFileSync(ENTRY, 'utf8').includes(HELD));
});

/** Releases of a process that uses so much of a core in each half second. */
function releasesBy(shares: readonly number[]): number[] {
  const clock = new FakeClock();
  const released: number[] = [];
  const cpu = { user: 0, system: 0 };
  releaseOnceWorked(
    clock,
    () => cpu,
    () => released.push(clock.nowMs()),
  );
  const startMs = clock.nowMs();
  for (const share of shares) {
    cpu.user += share * 300_000;
    cpu.system += share * 200_000;
    clock.advance(500);
  }
  return released.map((atMs) => atMs - startMs);
}

test('a process that works is released after a second of work, once', () => {
  assert.deepEqual(releasesBy(new Array(20).fill(1)), [1000]);
  assert.deepEqual(releasesBy(new Array(20).fill(0.5)), [2000]);
  assert.deepEqual(releasesBy([0.8, 0, 0, 0, 0.8, 0, 0, 0.8, 0, 0]), [4000]);
});

test('one that rests is not, however long', () => {
  assert.deepEqual(releasesBy(new Array(10_000).fill(0.05)), []);
});
