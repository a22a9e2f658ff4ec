// The strict parser is tried in nearly all of its branches: its own tests are run once more, in a
// process that counts, and must reach what the project has promised.

import assert from 'node:assert/strict';
import path from 'node:path';
import test from 'node:test';
import { runProgram } from './support/process.ts';
import { ROOT } from './tidy/tree.ts';

/** Per cent of the branches of src/http; 99 were reached when this was written. */
const BRANCHES_LEAST = 95;

test(`tests of src/http reach ${BRANCHES_LEAST} % of its branches`, async (t) => {
  // Inside a test run Node would not start another one.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const run = await runProgram(t, {
    command: process.execPath,
    args: [
      ...['--test', '--test-reporter=spec', '--experimental-test-coverage'],
      ...['--test-coverage-include=src/http/**', `--test-coverage-branches=${BRANCHES_LEAST}`],
      path.join('test', 'http', '*.test.ts'),
    ],
    ...{ cwd: ROOT, env, ms: 120_000 },
  });
  const total = /all files[ |]+[\d.]+[ |]+([\d.]+)/u.exec(run.stdout)?.[1];
  t.diagnostic(`${total} % of the branches`);
  assert.equal(run.code, 0, `${run.stdout}\n${run.stderr}`);
  assert.ok(Number(total) >= BRANCHES_LEAST, `no total in:\n${run.stdout}`);
});
