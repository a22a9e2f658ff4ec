// Goal: a file of login providers is followed with all that it names, also while what it names
// cannot be used. Method: files that change, with a clock that is moved by hand.

import assert from 'node:assert/strict';
import { renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { LoginDesk } from '../../src/control/login-desk.ts';
import { undoAfter } from '../support/cleanup.ts';
import { eventually } from '../support/deadline.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { LogLines } from '../support/log-lines.ts';
import { scratchFolder } from '../support/programs.ts';

const WAIT_MS = 10_000;
const FAILED = 'the login providers cannot be used, they stay as they were';

const provider = (name: string, more = ''): string =>
  `providers:\n  - name: ${name}\n    kind: github\n    client-id: x\n${more}`;

test('a secret that comes behind the file that names it is read, and so is a whole one', async (t) => {
  const folder = scratchFolder(t);
  const file = path.join(folder, 'logins.yaml');
  const secret = path.join(folder, 'secret');
  const clock = new FakeClock();
  const lines = new LogLines('control');
  const reloads = new Map<string, number>();
  const desk = new LoginDesk({ file, bridges: () => [], reloads, clock, log: lines.log });
  undoAfter(t, () => desk.close());
  /** At once, so that each is one change. */
  const put = (at: string, text: string): void => {
    writeFileSync(`${at}.new`, text);
    renameSync(`${at}.new`, at);
  };
  /** Lets the clock run until `look` raises nothing any more. */
  const until = (what: string, look: () => void): Promise<void> =>
    eventually(WAIT_MS, what, async () => {
      clock.advance(1000);
      look();
    });

  put(file, provider('one'));
  await desk.load();
  await desk.watch();
  put(file, provider('two', `    client-secret-file: ${secret}\n`));
  await until('the secret is missed', () => assert.equal(lines.all(FAILED).length, 1));
  assert.match(String(lines.all(FAILED)[0]?.problems), /secret does not exist/u);
  put(secret, '');
  await until('an empty one is none', () => assert.equal(lines.all(FAILED).length, 2));
  assert.ok(desk.hasProvider('one'), 'what was there goes on');
  put(secret, 'secret-of-the-application\n');
  await until('it is read', () => assert.ok(desk.hasProvider('two')));
  assert.ok(!desk.hasProvider('one'));
  assert.deepEqual(Object.fromEntries(reloads), { failed: 2, ok: 1 });
});
