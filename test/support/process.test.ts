// The watcher of processes must itself notice what it is there for: an unexpected death, a wrong
// exit code, a line that never comes.

import assert from 'node:assert/strict';
import test from 'node:test';
import { runProgram, TestProcess } from './process.ts';

const NODE = process.execPath;
const IDLE = 'setInterval(() => {}, 1000);';

function start(script: string, more: { endCode?: number } = {}): TestProcess {
  return new TestProcess({ name: 'child', command: NODE, args: ['-e', script], ...more });
}

test('a line is found when it was written before and when it comes later', async () => {
  const child = start(`console.log('one'); console.error('two'); ${IDLE}`);
  await child.line('one', (line) => line === 'one');
  await child.line('two', (line) => line === 'two');
  await child.line('one again', (line) => line === 'one');
  await child.finish();
});

test('a line that never comes fails with what the process wrote', async () => {
  const child = start(`console.log('something else'); ${IDLE}`);
  await child.line('start', (line) => line === 'something else');
  await assert.rejects(
    child.line('a line', () => false, 10),
    /not within 10 ms: child: a line.*something else/su,
  );
  await child.finish();
});

test('a process that dies unexpectedly fails the test', async () => {
  const child = start(`console.error('last words'); process.exitCode = 7;`);
  await child.ended;
  await assert.rejects(child.finish(), /child died unexpectedly: code 7.*last words/su);
});

test('a process that ends with another code than it should fails the test', async () => {
  const script = `process.on('SIGTERM', () => process.exit(5)); console.log('up'); ${IDLE}`;
  const child = start(script, { endCode: 0 });
  await child.line('up', (line) => line === 'up');
  await assert.rejects(child.finish(), /ended with code 5/u);
});

test('a program that cannot be started is reported', async (t) => {
  const run = await runProgram(t, { command: '/nonexistent/program', args: [] });
  assert.notEqual(run.code, 0);
  assert.match(run.stderr, /ENOENT/u);
});

test('a program that ends gives its output and code', async (t) => {
  const script = `console.log('out'); console.error('err'); process.exitCode = 3;`;
  const run = await runProgram(t, { command: NODE, args: ['-e', script] });
  assert.deepEqual(
    { code: run.code, stdout: run.stdout, stderr: run.stderr },
    { code: 3, stdout: 'out', stderr: 'err' },
  );
});
