// Goal: a line that the log's sink does not take is counted, once, and the last ones are not lost.
// Method: a process whose stderr fails in each of the ways that there are logs six lines, and says
// how many it has counted; others end right after their last line.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { within } from '../support/deadline.ts';
import { scratchFolder } from '../support/programs.ts';

const LOG = new URL('../../src/base/log.ts', import.meta.url).href;
/** Each line when the one before is known to be lost, or does not become so. */
const program = (format: string): string => `
  import { closeLog, createLogger, droppedLogLines } from ${JSON.stringify(LOG)};
  const log = createLogger({ level: 'info', format: '${format}', component: 'test' });
  const endMs = performance.now() + 3000;
  for (let line = 1; line <= 6; line += 1) {
    const before = droppedLogLines();
    log.info('line');
    while (droppedLogLines() === before && performance.now() < endMs) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  const counted = droppedLogLines();
  closeLog();
  process.stdout.write(String(counted), () => process.exit(0));
`;

async function countedBy(format: string, stderr: 'closed' | 'full'): Promise<string> {
  const full = stderr === 'full' ? openSync('/dev/full', 'w') : undefined;
  const args = ['--input-type=module', '--eval', program(format)];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', full ?? 'pipe'] });
  if (full !== undefined) closeSync(full);
  child.stderr?.destroy();
  let text = '';
  child.stdout?.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
  });
  try {
    await within(
      20_000,
      'six lines are lost',
      new Promise((resolve) => child.on('close', resolve)),
    );
  } finally {
    child.kill('SIGKILL');
  }
  return text;
}

for (const format of ['json', 'pretty']) {
  test(`${format}: lines that nobody reads any more are counted, each once`, async () => {
    assert.equal(await countedBy(format, 'closed'), '6');
  });

  test(`${format}: lines for which there is no room are counted, each once`, async () => {
    assert.equal(await countedBy(format, 'full'), '6');
  });
}

/** Of <bits/fcntl-linux.h>: a write that finds no room fails. */
const O_NONBLOCK = 0o4000;

test('a socket that nobody reads, such as journald may be, is told not to wait', async () => {
  const code = `
    import { readFileSync } from 'node:fs';
    import { createLogger } from ${JSON.stringify(LOG)};
    createLogger({ level: 'info', format: 'json', component: 'test' }).info('line');
    process.stdout.write(readFileSync('/proc/self/fdinfo/2', 'utf8'));
  `;
  const args = ['--input-type=module', '--eval', code];
  // What Node makes for 'pipe' is a pair of sockets.
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
  });
  child.stderr.resume();
  await within(20_000, 'it ends', new Promise((resolve) => child.on('close', resolve)));
  const flags = Number.parseInt(/^flags:\s*(\d+)$/mu.exec(text)?.[1] ?? '', 8);
  assert.equal(flags & O_NONBLOCK, O_NONBLOCK, text);
});

/** What a program writes to a file as its stderr, or to a socket. */
async function stderrOf(t: TestContext, code: string, kind: 'file' | 'pipe'): Promise<string> {
  const file = path.join(scratchFolder(t), 'log');
  const descriptor = openSync(file, 'a');
  const source = `import { createLogger } from ${JSON.stringify(LOG)}; ${code}`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', source], {
    stdio: ['ignore', 'inherit', kind === 'file' ? descriptor : 'pipe'],
  });
  closeSync(descriptor);
  let text = '';
  child.stderr?.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
  });
  await within(20_000, 'it ends', new Promise((resolve) => child.on('close', resolve)));
  return kind === 'file' ? readFileSync(file, 'utf8') : text;
}

const LINES = 300;
const said = (text: string): number => text.match(/"msg":"said"/gu)?.length ?? 0;

test('what was said right before the process exits is written', async (t) => {
  const code = `
    const log = createLogger({ level: 'info', format: 'json', component: 'test' });
    for (let line = 0; line < ${LINES}; line += 1) log.info('said');
    process.exit(0);
  `;
  assert.equal(said(await stderrOf(t, code, 'pipe')), LINES);
});

test('a flush waits for a file, which is written by other threads', async (t) => {
  const code = `
    const log = createLogger({ level: 'info', format: 'json', component: 'test' });
    for (let line = 0; line < ${LINES}; line += 1) log.info('said');
    log.flush(() => process.exit(0));
  `;
  assert.equal(said(await stderrOf(t, code, 'file')), LINES);
});

test('what a thread said before an error ended it is written', async (t) => {
  const code = `
    import { Worker } from 'node:worker_threads';
    const source = \`
      import { createLogger } from ${JSON.stringify(LOG)};
      createLogger({ level: 'info', format: 'json', component: 'test' }).info('said');
      throw new Error('on purpose');
    \`;
    const url = new URL('data:text/javascript,' + encodeURIComponent(source));
    new Worker(url).on('error', () => {});
  `;
  assert.equal(said(await stderrOf(t, code, 'pipe')), 1);
});
