// Goal: the bytes of a month survive a restart, are not lost by a second process or a lost file,
// and begin anew with the month; a file that cannot be used is said so. Method: real files.

import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { wallMsOf } from '../../src/base/clock.ts';
import { TokenUsage } from '../../src/control/token-usage.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { LogLines } from '../support/log-lines.ts';
import { scratchFolder } from '../support/programs.ts';

class WallClock extends FakeClock {
  wall = wallMsOf('2026-11-30T12:00:00Z');

  override wallMs(): number {
    return this.wall;
  }
}

function scene(t: TestContext) {
  const file = path.join(scratchFolder(t), 'tokens.usage.json');
  const clock = new WallClock();
  const lines = new LogLines('control');
  const create = (at = file): TokenUsage => new TokenUsage({ path: at, clock, log: lines.log });
  return { file, clock, lines, create };
}

test('what was used is there after a restart', async (t) => {
  const { create, file } = scene(t);
  const before = create();
  await before.load();
  before.add('ci', 1000);
  before.add('ci', 24);
  await before.save();
  assert.deepEqual(JSON.parse(readFileSync(file, 'utf8')), {
    month: '2026-11',
    bytes: { ci: 1024 },
  });
  const after = create();
  await after.load();
  assert.equal(after.bytesOf('ci'), 1024);
  assert.equal(after.bytesOf('other'), 0);
});

test('two processes add to one file, and neither takes from the other', async (t) => {
  const { create } = scene(t);
  const [old, young] = [create(), create()];
  await old.load();
  old.add('ci', 100);
  await old.save();
  await young.load();
  young.add('ci', 10);
  old.add('ci', 1);
  await young.save();
  await old.save();
  assert.equal(old.bytesOf('ci'), 111);
  young.add('ci', 1000);
  await young.save();
  assert.equal(young.bytesOf('ci'), 1111);
});

test('a file that is lost or spoilt while the process runs loses nothing', async (t) => {
  const { create, file } = scene(t);
  const usage = create();
  await usage.load();
  usage.add('ci', 50);
  await usage.save();
  rmSync(file);
  usage.add('ci', 1);
  await usage.save();
  writeFileSync(file, 'no json');
  usage.add('ci', 1);
  await usage.save();
  const next = create();
  await next.load();
  assert.equal(next.bytesOf('ci'), 52);
});

test('another month begins at zero, for a file of the old one too', async (t) => {
  const { create, clock } = scene(t);
  const usage = create();
  await usage.load();
  usage.add('ci', 50);
  await usage.save();
  assert.equal(usage.turn(), false);
  clock.wall = wallMsOf('2026-12-01T00:00:00Z');
  assert.equal(usage.turn(), true);
  assert.equal(usage.bytesOf('ci'), 0);
  const next = create();
  await next.load();
  assert.equal(next.bytesOf('ci'), 0);
});

test('a file that cannot be read stops the start and says why', async (t) => {
  const { create, file } = scene(t);
  for (const text of ['', '{', '[]', '{"month":"x","bytes":{}}', '{"month":"2026-11"}']) {
    writeFileSync(file, text);
    await assert.rejects(create().load(), { code: 'SLW_CONFIG_INVALID' }, text);
  }
  for (const count of ['-1', '1.5', '"9"', 'null', '1e300']) {
    writeFileSync(file, `{"month":"2026-11","bytes":{"ci":${count}}}`);
    await assert.rejects(create().load(), /token without a count/, count);
  }
});

test('a folder that cannot be written is an error at the start, and a complaint later', async (t) => {
  const { create, lines, file } = scene(t);
  const usage = create(path.join(path.dirname(file), 'missing', 'usage.json'));
  await usage.load();
  await assert.rejects(usage.check(), /--tokens-usage-file: .* cannot be written/);
  usage.add('ci', 5);
  await usage.save();
  await usage.save();
  assert.equal(usage.bytesOf('ci'), 5);
  assert.equal(lines.complaints().length, 1);
  assert.equal(existsSync(file), false);
});

test('a clock that is wrong for a while does not give the month again', async (t) => {
  for (const wrong of ['2031-05-01T00:00:00Z', '1970-01-01T00:00:00Z']) {
    const { create, clock } = scene(t);
    const right = clock.wall;
    const usage = create();
    await usage.load();
    usage.add('ci', 50);
    await usage.save();
    usage.add('ci', 7);
    clock.wall = wallMsOf(wrong);
    assert.equal(usage.turn(), true);
    assert.equal(usage.bytesOf('ci'), 0);
    usage.add('ci', 3);
    await usage.save();
    clock.wall = right;
    assert.equal(usage.turn(), true);
    assert.equal(usage.bytesOf('ci'), 57, wrong);
    usage.add('ci', 1);
    await usage.save();
    const next = create();
    await next.load();
    assert.equal(next.bytesOf('ci'), 58, `${wrong}, after a restart`);
    clock.wall = wallMsOf('2026-12-01T00:00:00Z');
    assert.equal(next.turn(), true);
    assert.equal(next.bytesOf('ci'), 0);
  }
});

test('a start before the clock is set keeps what the file says', async (t) => {
  const { create, clock } = scene(t);
  const right = clock.wall;
  const before = create();
  await before.load();
  before.add('ci', 50);
  await before.save();
  clock.wall = 0;
  for (const use of [0, 3]) {
    clock.wall = 0;
    const usage = create();
    await usage.load();
    await usage.check();
    usage.add('ci', use);
    await usage.save();
    // It may end before the clock is right.
    const next = create();
    await next.load();
    clock.wall = right;
    assert.equal(next.turn(), true);
    assert.equal(next.bytesOf('ci'), 50, 'the one that was there at the change');
    const later = create();
    await later.load();
    assert.equal(later.bytesOf('ci'), 50, 'one that starts behind it');
  }
});

test('a clock that is wrong twice in a row keeps the month that was used', async (t) => {
  const { create, clock } = scene(t);
  const right = clock.wall;
  const usage = create();
  await usage.load();
  usage.add('ci', 50);
  for (const wrong of ['1970-01-01T00:00:00Z', '2031-05-01T00:00:00Z']) {
    clock.wall = wallMsOf(wrong);
    usage.turn();
  }
  clock.wall = right;
  usage.turn();
  assert.equal(usage.bytesOf('ci'), 50);
});

test('the month before is kept by who never read it, and has to be right', async (t) => {
  const { create, clock, file } = scene(t);
  const usage = create();
  await usage.load();
  writeFileSync(file, '{"month":"2026-10","bytes":{"ci":9}}');
  usage.add('ci', 1);
  await usage.save();
  assert.deepEqual(JSON.parse(readFileSync(file, 'utf8')), {
    ...{ month: '2026-11', bytes: { ci: 1 } },
    other: { month: '2026-10', bytes: { ci: 9 } },
  });
  writeFileSync(file, '{"month":"2026-11","bytes":{},"other":{"month":"2026-10"}}');
  await assert.rejects(create().load(), /has no bytes/);
  clock.wall = wallMsOf('2026-12-01T00:00:00Z');
  await assert.rejects(create().load(), /has no bytes/);
});
