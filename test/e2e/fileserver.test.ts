// Goal: `sluiceway fileserver` and a folder behind a tunnel, as people use them: curl resumes a
// download, a browser shows the listing on a phone and on a desk, a large file comes whole while
// little memory is used and other visitors are served. Method: real processes, curl, Chromium, a
// sparse file of 1 GiB.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { get as httpGet } from 'node:http';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { openPage, startBrowser } from '../support/browser.ts';
import { seededNoise, sha256 } from '../support/digest.ts';
import { runProgram, startProcess } from '../support/process.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';
import { ENTRY, environment, startTunnel } from '../support/tunnel.ts';
import { connectTo, get } from '../support/upstream.ts';

const HOST = 'site.example.com';
const LOOPBACK = '127.0.0.1';
const MIB = 1024 * 1024;
const LARGE_BYTES = 1024 * MIB;
/** What the client may grow by while a large file is read. Windows hold 8 MiB a stream, and Node
 * takes its time to give memory back. */
const GROWTH_BYTES_MAX = 160 * MIB;
const NOISE = seededNoise(3, 3_000_000);

function startFileServer(t: TestContext, args: readonly string[], cwd?: string) {
  return startProcess(t, {
    name: 'fileserver',
    command: process.execPath,
    args: [ENTRY, 'fileserver', '--log-format', 'json', ...args],
    env: environment(),
    ...(cwd === undefined ? {} : { cwd }),
    endCode: 0,
  });
}

function residentBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+) kB/u.exec(status)?.[1]) * 1024;
}

test('a client that is ended while it starts leaves no folder of sockets behind', async (t) => {
  const [site, temporary] = [scratchFolder(t), scratchFolder(t)];
  const client = startProcess(t, {
    name: 'client',
    command: process.execPath,
    args: [
      ...[ENTRY, 'client', '--url', 'ws://127.0.0.1:1', '--log-format', 'json'],
      ...['--upstream', `${HOST}=fileserver:${site}`, '--status-dir', 'off'],
    ],
    env: environment({ TMPDIR: temporary }),
    endsItself: true,
  });
  // Before any shard has started.
  await client.line('the folder is served', (text) => text.includes('"msg":"folder served"'));
  client.kill('SIGTERM');
  await client.ended;
  assert.deepEqual(readdirSync(temporary), []);
});

test('a client with nowhere to put its sockets says where that was, and what to do', async (t) => {
  const programs = requirePrograms(t, ['unshare', 'mount']);
  if (programs === undefined) return;
  const [site, temporary] = [scratchFolder(t), scratchFolder(t)];
  const client = [
    ...[process.execPath, ENTRY, 'client', '--url', 'ws://127.0.0.1:1', '--status-dir', 'off'],
    ...['--upstream', `${HOST}=fileserver:${site}`],
  ];
  // As the root of a container is.
  const readOnly = `mount -t tmpfs -o ro tmpfs ${temporary} && exec "$@"`;
  const rows: readonly (readonly [string, string])[] = [
    [temporary, 'the file system is read-only'],
    [path.join(site, 'none'), 'it does not exist'],
  ];
  for (const [folder, reason] of rows) {
    const run = await runProgram(t, {
      command: programs.unshare,
      args: ['--mount', 'sh', '-c', readOnly, 'sh', ...client],
      env: environment({ TMPDIR: folder }),
    });
    assert.equal(run.code, 2, run.stderr);
    const problem = `--upstream fileserver: no folder for its sockets can be made in ${folder}`;
    assert.ok(run.stderr.includes(`${problem}: ${reason}; give one`), run.stderr);
  }
});

test('the command serves its own folder, says where, and drains', async (t) => {
  const folder = scratchFolder(t);
  writeFileSync(path.join(folder, 'noise.bin'), NOISE);
  const server = startFileServer(t, ['--addr', `${LOOPBACK}:0`, '--json'], folder);
  const line = await server.line('where it listens', (text) => text.includes('"event"'));
  const told = JSON.parse(line) as { event: string; url: string; dir: string };
  assert.deepEqual([told.event, told.dir], ['listening', folder]);
  const port = Number(new URL(told.url).port);
  const body = await get(t, { port, host: 'any.example', path: '/noise.bin' });
  assert.equal(sha256(Buffer.from(body.body, 'latin1')), sha256(NOISE));

  // What is under way when it is told to end comes whole, and nobody new gets in.
  const large = path.join(folder, 'large');
  writeFileSync(large, '');
  truncateSync(large, 64 * MIB);
  const response = await new Promise<import('node:http').IncomingMessage>((resolve, reject) => {
    httpGet({ host: LOOPBACK, port, path: '/large' }, resolve).on('error', reject);
  });
  process.kill(server.pid, 'SIGTERM');
  await server.line('it drains', (text) => text.includes('draining'));
  await assert.rejects(get(t, { port, host: 'any.example' }));
  let bytes = 0;
  for await (const piece of response) bytes += (piece as Buffer).length;
  assert.equal(bytes, 64 * MIB);
  assert.equal((await server.expectEnd()).code, 0);
});

test('what cannot be served ends with a line that says what to do', async (t) => {
  const folder = scratchFolder(t);
  const file = path.join(folder, 'file');
  writeFileSync(file, 'x');
  const taken = startFileServer(t, ['--dir', folder, '--addr', `${LOOPBACK}:0`]);
  const line = await taken.line('where it listens', (text) => text.startsWith('http://'));
  const port = /:(\d+) /u.exec(line)?.[1];
  const rows: readonly (readonly [readonly string[], number, RegExp])[] = [
    [['--dir', file], 2, /^sluiceway: --dir .*file: is a file; give the folder it is in$/mu],
    [['--dir', '/nowhere/at/all'], 2, /^sluiceway: --dir \/nowhere\/at\/all: does not exist$/mu],
    [['--dirr', folder], 2, /did you mean --dir\?/u],
    [['--addr', 'nonsense'], 2, /--addr \(flag\): 'nonsense' is not an address/u],
    [['--addr', `${LOOPBACK}:${port}`], 1, /^sluiceway: --addr .* is in use$/mu],
    [['--addr', '203.0.113.1:1'], 1, /is no address of this machine$/mu],
  ];
  for (const [args, code, reason] of rows) {
    const command = [ENTRY, 'fileserver', '--log-format', 'json', '--dir', folder, ...args];
    const options = { command: process.execPath, args: command, env: environment(), cwd: folder };
    const run = await runProgram(t, options);
    assert.equal(run.code, code, `${args.join(' ')}\n${run.stderr}`);
    assert.match(run.stderr, reason);
    assert.equal(run.stdout, '');
  }
});

test('curl resumes a download through a tunnel, and asks for parts', async (t) => {
  const programs = requirePrograms(t, ['curl']);
  if (programs === undefined) return;
  const folder = scratchFolder(t);
  const site = path.join(folder, 'site');
  mkdirSync(site);
  writeFileSync(path.join(site, 'noise.bin'), NOISE);
  const tunnel = await startTunnel(t, ['--upstream', `${HOST}=fileserver:${site}`]);
  const url = `http://${HOST}:${tunnel.httpPort}`;
  const curl = async (...args: readonly string[]): Promise<string> => {
    const named = ['--resolve', `${HOST}:${tunnel.httpPort}:${LOOPBACK}`];
    const run = await runProgram(t, { command: programs.curl, args: ['-sS', ...named, ...args] });
    assert.equal(run.code, 0, run.stderr);
    return run.stdout;
  };
  const half = path.join(folder, 'download');
  writeFileSync(half, NOISE.subarray(0, 1_234_567));
  await curl('-C', '-', '-o', half, `${url}/noise.bin`);
  assert.equal(sha256(readFileSync(half)), sha256(NOISE));
  const part = path.join(folder, 'part');
  await curl('--range', '100-199', '-o', part, `${url}/noise.bin`);
  assert.deepEqual(readFileSync(part), NOISE.subarray(100, 200));
  const parts = await curl('--range', '0-0,-1', '-D', '-', '-o', '/dev/null', `${url}/noise.bin`);
  assert.match(parts, /^HTTP\/1\.1 206 /u);
  assert.match(parts, /content-type: multipart\/byteranges; boundary=/iu);
  const head = await curl('-I', `${url}/noise.bin`);
  const etag = /^etag: (".+")\r?$/imu.exec(head)?.[1] ?? '';
  const code = ['-o', '/dev/null', '-w', '%{http_code}'];
  assert.equal(await curl(...code, '-H', `If-None-Match: ${etag}`, `${url}/noise.bin`), '304');
  const odd = ['--path-as-is', `${url}/../../../../etc/passwd`];
  assert.equal(await curl(...code, ...odd), '404');
  assert.equal(await curl(...code, '-T', half, `${url}/put`), '405');
});

test('a file of 1 GiB comes whole, in little memory, and holds up nobody', async (t) => {
  const folder = scratchFolder(t);
  const large = path.join(folder, 'large');
  writeFileSync(large, '');
  truncateSync(large, LARGE_BYTES);
  writeFileSync(path.join(folder, 'small'), 'small');
  const wanted = createHash('sha256');
  const zeros = Buffer.alloc(16 * MIB);
  for (let at = 0; at < LARGE_BYTES; at += zeros.length) wanted.update(zeros);
  const tunnel = await startTunnel(t, ['--upstream', `${HOST}=fileserver:${folder}`]);
  assert.equal((await get(t, { port: tunnel.httpPort, host: HOST, path: '/small' })).body, 'small');
  const before = residentBytes(tunnel.client.pid);
  let most = before;
  let isDone = false;
  const waits: number[] = [];
  const others = (async () => {
    while (!isDone) {
      const startMs = performance.now();
      const answer = await get(t, { port: tunnel.httpPort, host: HOST, path: '/small' });
      waits.push(performance.now() - startMs);
      assert.equal(answer.body, 'small');
      most = Math.max(most, residentBytes(tunnel.client.pid));
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  })();
  // Somebody who takes nothing, beside.
  const idle = await connectTo(t, tunnel.httpPort);
  idle.pause();
  idle.write(`GET /large HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
  const hash = createHash('sha256');
  let bytes = 0;
  const headers = { host: HOST };
  const options = { host: LOOPBACK, port: tunnel.httpPort, path: '/large', headers, agent: false };
  const response = await new Promise<import('node:http').IncomingMessage>((resolve, reject) => {
    httpGet(options, resolve).on('error', reject);
  });
  assert.equal(response.headers['content-length'], String(LARGE_BYTES));
  for await (const piece of response) {
    hash.update(piece as Buffer);
    bytes += (piece as Buffer).length;
  }
  isDone = true;
  await others;
  assert.equal(bytes, LARGE_BYTES);
  assert.equal(hash.digest('hex'), wanted.digest('hex'));
  const grownMib = (most - before) / MIB;
  waits.sort((a, b) => a - b);
  const p99 = waits[Math.floor(waits.length * 0.99)] ?? 0;
  t.diagnostic(
    `client grew by ${Math.round(grownMib)} MiB; others waited p99 ${Math.round(p99)} ms`,
  );
  assert.ok(grownMib * MIB <= GROWTH_BYTES_MAX, `the client grew by ${grownMib} MiB`);
  assert.ok(waits.length >= 3, 'nobody else was served meanwhile');
});

test('a listing in a browser: on a phone and on a desk, in the light and in the dark', async (t) => {
  const browser = await startBrowser(t);
  if (browser === undefined) return;
  const folder = scratchFolder(t);
  mkdirSync(path.join(folder, 'sub folder', 'deeper'), { recursive: true });
  writeFileSync(path.join(folder, 'sub folder', 'deeper', 'page.html'), '<title>found</title>');
  writeFileSync(path.join(folder, `${'a long name '.repeat(16)}.txt`), 'x');
  const markup = '<img src=x onerror="document.title=1">';
  writeFileSync(path.join(folder, markup), 'x');
  const tunnel = await startTunnel(t, ['--upstream', `site.localhost=fileserver:${folder}`]);
  const url = `http://site.localhost:${tunnel.httpPort}/`;
  const backgrounds = new Set<string>();
  for (const [width, height, colorScheme] of [
    [360, 640, 'dark'],
    [1280, 800, 'light'],
  ] as const) {
    const { page, context, complaints, hosts } = await openPage(browser, {
      ...{ width, height, colorScheme },
    });
    await page.goto(url);
    const isWide = await page.evaluate('document.documentElement.scrollWidth > innerWidth');
    assert.equal(isWide, false, `the page is wider than ${width}`);
    assert.equal(await page.locator('td a').filter({ hasText: markup }).count(), 1);
    assert.equal(await page.title(), '/');
    backgrounds.add(String(await page.evaluate('getComputedStyle(document.body).backgroundColor')));
    await page.getByRole('link', { name: 'sub folder/' }).click();
    await page.getByRole('link', { name: 'deeper/' }).click();
    assert.equal(await page.title(), '/sub folder/deeper/');
    await page.getByRole('link', { name: 'page.html' }).click();
    assert.equal(await page.title(), 'found');
    await page.goBack();
    await page.getByRole('heading').getByRole('link', { name: 'sub folder' }).click();
    assert.equal(await page.title(), '/sub folder/');
    // A browser asks for an icon by itself, which nobody has.
    const real = complaints.filter((text) => !/favicon|404 \(Not Found\)/u.test(text));
    assert.deepEqual(real, []);
    assert.deepEqual([...hosts], [`site.localhost:${tunnel.httpPort}`]);
    await context.close();
  }
  assert.equal(backgrounds.size, 2, 'light and dark look the same');
});
