// Goal: tests that run at the same time have ports of their own. Method: several that look where
// others look, in this process and in one more.

import assert from 'node:assert/strict';
import test from 'node:test';
import { FreePorts, freePort } from './free-port.ts';
import { runProgram } from './process.ts';

const MODULE = new URL('./free-port.ts', import.meta.url).href;
const COUNT = 20;

test('two that look at the same place at once never get one port', async (t) => {
  if (process.platform !== 'linux') return t.skip('claims are abstract sockets, of Linux');
  const first = await freePort();
  const all = await Promise.all([
    ...Array.from({ length: COUNT }, () => new FreePorts(first).find(1)),
    ...Array.from({ length: 3 }, () => new FreePorts(first).find(5)),
  ]);
  const given = all.flatMap((port, index) => {
    return Array.from({ length: index < COUNT ? 1 : 5 }, (_, after) => port + after);
  });
  assert.equal(new Set(given).size, COUNT + 3 * 5);
});

test('a port that another process was given is not given while that lives', async (t) => {
  if (process.platform !== 'linux') return t.skip('claims are abstract sockets, of Linux');
  const port = await freePort();
  const program = `import { FreePorts } from '${MODULE}';
    console.log(await new FreePorts(${port}).find(1));`;
  const run = async () =>
    await runProgram(t, {
      ...{ command: process.execPath, args: ['--input-type=module', '-e', program] },
    });
  const { stdout, code, stderr } = await run();
  assert.equal(code, 0, stderr);
  assert.notEqual(Number(stdout), port);
  assert.equal((await run()).stdout, stdout, 'and again when it has ended');
});
