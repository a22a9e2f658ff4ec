// What a server and a client at rest have loaded, in both threads: each package and each large part
// of Node that slips in is a megabyte at rest.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { ENTRY } from './run.ts';

/** Loaded before the program, in each thread: writes what was loaded 2 s after the start. */
const SPY = `
  import { registerHooks } from 'node:module';
  import { writeFileSync } from 'node:fs';
  import { threadId } from 'node:worker_threads';
  const files = new Set();
  registerHooks({ load(url, context, next) { files.add(url); return next(url, context); } });
  setTimeout(() => {
    const found = { files: [...files], builtins: process.moduleLoadList };
    writeFileSync(process.env.SPY_FOLDER + '/' + threadId + '.json', JSON.stringify(found));
    if (threadId !== 0) console.error('spied');
  }, 2000).unref();`;

/** With what they bring. Packages of both threads. */
const LOG = [
  ...['pino', 'pino-std-serializers', '@pinojs/redact', 'thread-stream', 'sonic-boom'],
  ...['atomic-sleep', 'on-exit-leak-free', 'quick-format-unescaped', 'safe-stable-stringify'],
  'real-require',
];
const MAIN = new Set([...LOG, 'commander', 'yaml', 'piscina']);
const SHARD = new Set([...LOG, 'piscina', 'ws', 'msgpackr']);
/** Parts of Node for what is used by few: fetch, HTTP/2, web streams, the REPL's tables. */
const HEAVY = /internal\/deps\/undici|internal\/http2|internal\/webstreams|internal\/test_runner/u;

interface Loaded {
  readonly files: readonly string[];
  readonly builtins: readonly string[];
}

async function loadedBy(t: TestContext, args: readonly string[]): Promise<Loaded[]> {
  const folder = mkdtempSync(path.join(tmpdir(), 'sluiceway-loaded-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const spy = `data:text/javascript,${encodeURIComponent(SPY)}`;
  const child = spawn(process.execPath, ['--import', spy, ENTRY, ...args, '--token=any'], {
    // The add-on is left out of what is shipped.
    env: {
      ...{ PATH: process.env.PATH, SPY_FOLDER: folder },
      MSGPACKR_NATIVE_ACCELERATION_DISABLED: 'true',
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  t.after(() => child.kill('SIGKILL'));
  let said = '';
  await new Promise<void>((resolve, reject) => {
    child.stderr.on('data', (piece) => {
      said += String(piece);
      if (said.includes('spied')) resolve();
    });
    child.on('exit', () => reject(new Error(`it ended: ${said}`)));
  });
  assert.deepEqual(readdirSync(folder).sort(), ['0.json', '1.json']);
  return ['0.json', '1.json'].map(
    (name) => JSON.parse(readFileSync(path.join(folder, name), 'utf8')) as Loaded,
  );
}

function packagesIn({ files }: Loaded): string[] {
  const names = files.flatMap(
    (url) => /node_modules\/((?:@[^/]+\/)?[^/]+)\/(?!.*node_modules)/u.exec(url)?.[1] ?? [],
  );
  return [...new Set(names)].sort();
}

function assertLean([main, shard]: readonly Loaded[]): void {
  assert.ok(main !== undefined && shard !== undefined);
  assert.deepEqual(
    packagesIn(main).filter((name) => !MAIN.has(name)),
    [],
  );
  assert.deepEqual(
    packagesIn(shard).filter((name) => !SHARD.has(name)),
    [],
  );
  // The spy sees what is there: without this the two above could not fail.
  assert.ok(packagesIn(main).includes('commander'));
  assert.ok(packagesIn(shard).includes('ws'));
  for (const { builtins } of [main, shard]) {
    assert.deepEqual(
      builtins.filter((name) => HEAVY.test(name)),
      [],
    );
  }
}

test('a server at rest has loaded what it uses, and nothing else', async (t) => {
  const addresses = ['control', 'http', 'admin'].map((name) => `--${name}-addr=127.0.0.1:0`);
  assertLean(await loadedBy(t, ['server', '--shards=1', ...addresses]));
});

test('a client at rest likewise', async (t) => {
  const flags = ['--url=ws://127.0.0.1:9', '--shards=1', '--status-dir=off'];
  assertLean(await loadedBy(t, ['client', ...flags, '--tcp=2222=127.0.0.1:22']));
});
