// Goal: a change is told once, however it was made, when it has been made in full, and also where
// the system tells of none.
// Method: real files and links; the clock is moved by hand, so that only what it runs can happen.

import assert from 'node:assert/strict';
import {
  appendFileSync,
  promises as fs,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  watch as watchFolder,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Timer } from '../../src/base/clock.ts';
import { FileWatch } from '../../src/control/file-watch.ts';
import { undoAfter } from '../support/cleanup.ts';
import { eventually, within } from '../support/deadline.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { scratchFolder } from '../support/programs.ts';

/** More than any test lasts. */
const NEVER_MS = 1e9;

class CountingClock extends FakeClock {
  /** How many timers were set. */
  count = 0;

  override after(delayMs: number, callback: () => void): Timer {
    this.count += 1;
    return super.after(delayMs, callback);
  }
}

class Bench {
  readonly clock = new CountingClock();
  readonly folder: string;
  changes = 0;

  constructor(t: TestContext) {
    this.folder = scratchFolder(t);
  }

  file(name: string): string {
    return path.join(this.folder, name);
  }

  async watch(
    t: TestContext,
    names: readonly string[],
    { pollMs, between = () => {} }: { pollMs?: number; between?: () => void } = {},
  ): Promise<void> {
    const paths = names.map((name) => this.file(name));
    const onChange = (): void => {
      this.changes += 1;
    };
    const poll = pollMs === undefined ? {} : { pollMs };
    const watch = new FileWatch({ paths, clock: this.clock, ...poll });
    undoAfter(t, () => watch.close());
    await watch.mark();
    between();
    await watch.start(onChange);
  }

  /** Does what makes it look, and awaits the end of the look: the next one is set up then. */
  async look(trigger: () => void): Promise<void> {
    const before = this.clock.count;
    trigger();
    await eventually(10_000, 'a look', async () => assert.ok(this.clock.count > before));
  }

  /** Another half of a second, with which it looks again. */
  async pause(): Promise<void> {
    await this.look(() => this.clock.advance(500));
  }

  /** Lets the clock run until there were so many changes, and then on: there are no more. */
  async until(changes: number): Promise<void> {
    await eventually(10_000, `${changes} changes`, async () => {
      this.clock.advance(1000);
      assert.equal(this.changes, changes);
    });
    await this.stays(changes);
  }

  /** Polls and settles several times, with time for what the system tells. */
  async stays(changes: number): Promise<void> {
    for (let second = 0; second < 30; second += 1) {
      this.clock.advance(1000);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    assert.equal(this.changes, changes);
  }
}

test('a file that is replaced, rewritten or removed is a change each time', async (t) => {
  const bench = new Bench(t);
  writeFileSync(bench.file('cert.pem'), 'one');
  await bench.watch(t, ['cert.pem']);
  writeFileSync(bench.file('new'), 'two');
  renameSync(bench.file('new'), bench.file('cert.pem'));
  await bench.until(1);
  writeFileSync(bench.file('cert.pem'), 'three');
  await bench.until(2);
  rmSync(bench.file('cert.pem'));
  await bench.until(3);
});

test('a folder that is swapped behind a link, as Kubernetes does, is one change', async (t) => {
  const bench = new Bench(t);
  for (const version of ['1', '2']) {
    mkdirSync(bench.file(version));
    for (const name of ['cert', 'key']) writeFileSync(bench.file(`${version}/${name}`), version);
  }
  symlinkSync('1', bench.file('..data'));
  for (const name of ['cert', 'key']) symlinkSync(`..data/${name}`, bench.file(name));
  await bench.watch(t, ['cert', 'key']);
  symlinkSync('2', bench.file('..new'));
  renameSync(bench.file('..new'), bench.file('..data'));
  await bench.until(1);
});

test('other files of the folder are none', async (t) => {
  const bench = new Bench(t);
  writeFileSync(bench.file('cert.pem'), 'one');
  await bench.watch(t, ['cert.pem']);
  writeFileSync(bench.file('other'), 'x');
  await bench.stays(0);
  writeFileSync(bench.file('cert.pem'), 'two');
  await bench.until(1);
});

test('a change in a folder that cannot be watched is told within ten seconds', async (t) => {
  const bench = new Bench(t);
  await bench.watch(t, ['later/cert.pem']);
  mkdirSync(bench.file('later'));
  writeFileSync(bench.file('later/cert.pem'), 'one');
  await bench.look(() => bench.clock.advance(9500));
  await bench.pause();
  assert.equal(bench.changes, 1);
  await bench.stays(1);
});

test('a folder that cannot be watched is looked at as often as was asked for', async (t) => {
  const bench = new Bench(t);
  await bench.watch(t, ['later/tokens.yaml'], { pollMs: 3000 });
  mkdirSync(bench.file('later'));
  writeFileSync(bench.file('later/tokens.yaml'), 'one');
  bench.clock.advance(2999);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(bench.changes, 0);
  await bench.look(() => bench.clock.advance(1));
  await bench.pause();
  assert.equal(bench.changes, 1);
});

test('what changes between the mark and the start is seen at the start', async (t) => {
  const bench = new Bench(t);
  writeFileSync(bench.file('cert.pem'), 'one');
  const between = (): void => writeFileSync(bench.file('cert.pem'), 'other');
  await bench.watch(t, ['cert.pem'], { pollMs: NEVER_MS, between });
  await bench.pause();
  assert.equal(bench.changes, 1);
});

test('a single write is told half a second later', async (t) => {
  const bench = new Bench(t);
  writeFileSync(bench.file('tokens.yaml'), 'one');
  await bench.watch(t, ['tokens.yaml'], { pollMs: NEVER_MS });
  await bench.look(() => {
    writeFileSync(bench.file('new'), 'two');
    renameSync(bench.file('new'), bench.file('tokens.yaml'));
  });
  await bench.pause();
  assert.equal(bench.changes, 1);
});

test('a file that is written in pieces is one change, when it is whole', async (t) => {
  const bench = new Bench(t);
  writeFileSync(bench.file('tokens.yaml'), 'one');
  await bench.watch(t, ['tokens.yaml'], { pollMs: NEVER_MS });
  await bench.look(() => writeFileSync(bench.file('tokens.yaml'), 'two'));
  for (let piece = 0; piece < 10; piece += 1) {
    appendFileSync(bench.file('tokens.yaml'), ', a piece');
    await bench.pause();
    assert.equal(bench.changes, 0, `told behind piece ${piece}`);
  }
  await bench.pause();
  await bench.stays(1);
});

test('so is one of a folder that cannot be watched', async (t) => {
  const bench = new Bench(t);
  await bench.watch(t, ['later/tokens.yaml'], { pollMs: 3000 });
  mkdirSync(bench.file('later'));
  writeFileSync(bench.file('later/tokens.yaml'), 'one');
  await bench.look(() => bench.clock.advance(3000));
  for (let piece = 0; piece < 3; piece += 1) {
    appendFileSync(bench.file('later/tokens.yaml'), ', a piece');
    await bench.pause();
    assert.equal(bench.changes, 0, `told behind piece ${piece}`);
  }
  await bench.pause();
  await bench.stays(1);
});

test('a file that never rests is told all the same, after ten seconds', async (t) => {
  const bench = new Bench(t);
  await bench.watch(t, ['later/tokens.yaml'], { pollMs: NEVER_MS });
  mkdirSync(bench.file('later'));
  writeFileSync(bench.file('later/tokens.yaml'), 'one');
  await bench.look(() => bench.clock.advance(NEVER_MS));
  const beginMs = bench.clock.nowMs();
  while (bench.changes === 0 && bench.clock.nowMs() - beginMs < 60_000) {
    appendFileSync(bench.file('later/tokens.yaml'), ', a piece');
    await bench.pause();
  }
  assert.equal(bench.changes, 1);
  assert.equal(bench.clock.nowMs() - beginMs, 9500);
});

test('what changes during a look that finds nothing new is told without a poll', async (t) => {
  const bench = new Bench(t);
  const [seen, other] = [bench.file('cert.pem'), bench.file('other')];
  writeFileSync(seen, 'one');
  await bench.watch(t, ['cert.pem'], { pollMs: NEVER_MS });
  await bench.look(() => writeFileSync(other, 'x'));
  const stat = fs.stat;
  const [hasLooked, isTold] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const slow = t.mock.method(fs, 'stat', async (file: string) => {
    const found = await stat(file);
    hasLooked.resolve();
    await isTold.promise;
    return found;
  });
  bench.clock.advance(500);
  await within(10_000, 'the look', hasLooked.promise);
  const watcher = watchFolder(bench.folder, (_kind, name) => {
    if (name === 'cert.pem') isTold.resolve();
  });
  undoAfter(t, () => watcher.close());
  writeFileSync(seen, 'two');
  await within(10_000, 'the event', isTold.promise);
  slow.mock.restore();
  await eventually(10_000, 'a change', async () => {
    bench.clock.advance(500);
    assert.equal(bench.changes, 1);
  });
});
