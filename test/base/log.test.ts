// Goal: a line that the log's sink does not take is counted, once. Method: a process whose stderr
// fails in each of the ways that there are logs six lines, and says how many it has counted.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { test } from 'node:test';
import { within } from '../support/deadline.ts';

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
