// Goal: where we start the program ourselves, memory that buffers lay in goes back to the system.
// Method: what image and unit set is read from them, and a real process with it allocates as the
// pool of reads does, frees every other one, and looks at what is resident.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { HEADROOM_BYTES, READ_BUFFER_BYTES, WHOLE_BYTES } from '../../src/base/read-pool.ts';
import { run } from '../cli/run.ts';

const DOCKERFILE = new URL('../../docker/Dockerfile', import.meta.url);
const BUFFER_BYTES = HEADROOM_BYTES + READ_BUFFER_BYTES;
const COUNT = 1000;

/** Prints what was resident before and after; every other one, as what lies between is in use. */
const PROGRAM = `
const [bytes, count] = process.argv.slice(1).map(Number);
const buffers = Array.from({ length: count }, () => Buffer.allocUnsafeSlow(bytes).fill(1));
const before = process.memoryUsage.rss();
for (let at = 0; at < count; at += 2) buffers[at].buffer.transfer(0);
console.log(before - process.memoryUsage.rss());
`;

async function tunablesOfUnit(): Promise<string> {
  const unit = await run(['generate', 'systemd', 'server', '--token-file', '/etc/token']);
  return /^Environment=GLIBC_TUNABLES=(.+)$/m.exec(unit.stdout)?.[1] ?? '';
}

function tunablesOfImage(): string {
  return /^\s+GLIBC_TUNABLES=(\S+)$/m.exec(readFileSync(DOCKERFILE, 'utf8'))?.[1] ?? '';
}

/** Bytes that went back of `bytes` × COUNT / 2 that were freed. */
async function givenBack(bytes: number, env: Readonly<Record<string, string>>): Promise<number> {
  const args = ['-e', PROGRAM, String(bytes), String(COUNT)];
  const { stdout } = await promisify(execFile)(process.execPath, args, { env });
  return Number(stdout);
}

function hasGlibc(t: TestContext): boolean {
  const report = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  const version = report.header.glibcVersionRuntime;
  if (version === undefined) t.skip('Node runs on another C library than glibc here');
  return version !== undefined;
}

test("image and unit set one threshold, between Node's blocks and those of the pool", async () => {
  const tunables = tunablesOfImage();
  assert.equal(await tunablesOfUnit(), tunables);
  const threshold = Number(/^glibc\.malloc\.mmap_threshold=(\d+)$/.exec(tunables)?.[1]);
  assert.ok(threshold > Buffer.poolSize && threshold <= BUFFER_BYTES, `${threshold}`);
});

for (const bytes of [BUFFER_BYTES, WHOLE_BYTES]) {
  test(`freed buffers of ${bytes} bytes go back to the system`, async (t) => {
    if (!hasGlibc(t)) return;
    const back = await givenBack(bytes, { GLIBC_TUNABLES: tunablesOfImage() });
    assert.ok(back > (bytes * COUNT * 0.9) / 2, `${back} of ${(bytes * COUNT) / 2}`);
    t.diagnostic(`without the variable: ${await givenBack(bytes, {})} of ${(bytes * COUNT) / 2}`);
  });
}
