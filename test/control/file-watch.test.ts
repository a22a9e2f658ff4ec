// Goal: a change is told once, however it was made, and also where the system tells of none.
// Method: real files and links; the clock is moved by hand, so that only what it runs can happen.

import assert from 'node:assert/strict';
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { FileWatch } from '../../src/control/file-watch.ts';
import { undoAfter } from '../support/cleanup.ts';
import { eventually } from '../support/deadline.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { scratchFolder } from '../support/programs.ts';

class Bench {
  readonly clock = new FakeClock();
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

test('a folder that cannot be watched is looked at all the same', async (t) => {
  const bench = new Bench(t);
  await bench.watch(t, ['later/cert.pem']);
  mkdirSync(bench.file('later'));
  writeFileSync(bench.file('later/cert.pem'), 'one');
  await bench.until(1);
});

test('a folder that cannot be watched is looked at as often as was asked for', async (t) => {
  const bench = new Bench(t);
  await bench.watch(t, ['later/tokens.yaml'], { pollMs: 3000 });
  mkdirSync(bench.file('later'));
  writeFileSync(bench.file('later/tokens.yaml'), 'one');
  bench.clock.advance(2999);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(bench.changes, 0);
  bench.clock.advance(1);
  await eventually(10_000, 'a change', async () => assert.equal(bench.changes, 1));
});

test('what changes between the mark and the start is told at the start', async (t) => {
  const bench = new Bench(t);
  writeFileSync(bench.file('cert.pem'), 'one');
  const between = (): void => writeFileSync(bench.file('cert.pem'), 'other');
  await bench.watch(t, ['cert.pem'], { between });
  assert.equal(bench.changes, 1);
});
