// The package as others get it: packed, installed elsewhere without optional packages, two shards
// started from `dist`, and a request through a tunnel. Finds what only the build can break, such as
// the worker's URL, and shows that nothing native is needed.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import test, { type TestContext } from 'node:test';
import { undoAfter } from '../support/cleanup.ts';
import { type Output, runProgram } from '../support/process.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';
import { environment, startClient, startServer } from '../support/tunnel.ts';
import { get, startHttp } from '../support/upstream.ts';
import { productionPackages } from '../tidy/supply.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
const HOST = 'packed.example.com';

interface Component {
  readonly name: string;
  readonly version: string;
  readonly hashes: readonly unknown[];
}

/** Without the checkout's programs: npm runs on the Node it came with, and adds them itself. */
function systemEnvironment(): NodeJS.ProcessEnv {
  const env = environment();
  const folders = (env.PATH ?? '').split(':');
  env.PATH = folders.filter((folder) => !folder.endsWith('node_modules/.bin')).join(':');
  return env;
}

async function npm(
  t: TestContext,
  command: string,
  where: { readonly cwd: string; readonly args: readonly string[] },
): Promise<Output> {
  const run = await runProgram(t, { command, ...where, env: systemEnvironment(), ms: 300_000 });
  assert.equal(run.code, 0, `npm ${where.args.join(' ')}\n${run.stdout}\n${run.stderr}`);
  return run;
}

test('the packed package runs where it is installed, without native code', async (t) => {
  const programs = requirePrograms(t, ['npm']);
  if (programs === undefined) return;
  const folder = scratchFolder(t);
  await npm(t, programs.npm, { cwd: ROOT, args: ['pack', '--pack-destination', folder] });
  const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz'));
  assert.ok(tarball !== undefined, 'npm pack made no archive');
  writeFileSync(path.join(folder, 'package.json'), '{"private":true}\n');
  const omit = ['--omit=dev', '--omit=optional', '--ignore-scripts'];
  const quiet = ['--prefer-offline', '--no-audit', '--no-fund'];
  const args = ['install', ...omit, ...quiet, `./${tarball}`];
  await npm(t, programs.npm, { cwd: folder, args });

  const home = path.join(folder, 'node_modules/sluiceway');
  const entry = path.join(home, 'dist/cli/main.js');
  await t.test('it holds what runs and no source, test or native file', () => {
    assert.ok(existsSync(entry), 'no dist/cli/main.js');
    assert.ok(existsSync(path.join(folder, 'node_modules/.bin/sluiceway')), 'no command');
    const files = readdirSync(folder, { recursive: true, encoding: 'utf8' });
    const page = path.join(home, 'dist/dashboard/page/index.html');
    assert.ok(existsSync(page), 'no page of the dashboard');
    assert.deepEqual(
      files.filter((file) => file.endsWith('.node')),
      [],
      'native addons',
    );
    const own = readdirSync(home, { recursive: true, encoding: 'utf8' });
    const surplus = own.filter((file) => /^(?:src|test|native-free-bench)(?:\/|$)/u.test(file));
    assert.deepEqual(surplus, []);
  });

  await t.test('npx runs it from the archive', async (t) => {
    // npm's scripts, and what it starts, on the Node of the checkout.
    const env = systemEnvironment();
    env.PATH = `${path.dirname(process.execPath)}:${env.PATH}`;
    env.npm_config_cache = path.join(folder, 'npx-cache');
    const npx = ['exec', '--yes', ...omit, ...quiet, `--package=${folder}/${tarball}`, '--'];
    const run = await runProgram(t, {
      ...{ command: programs.npm, cwd: scratchFolder(t), env, ms: 300_000 },
      args: [...npx, 'sluiceway', 'version'],
    });
    assert.equal(run.code, 0, run.stderr);
    assert.match(run.stdout, /^sluiceway \d+\.\d+\.\d+ - /mu);
  });

  await t.test('npm run sbom lists what is shipped, with versions and digests', async (t) => {
    const args = ['run', '--silent', 'sbom'];
    const { stdout } = await npm(t, programs.npm, { cwd: ROOT, args });
    const { bomFormat, components } = JSON.parse(stdout);
    assert.equal(bomFormat, 'CycloneDX');
    const lock = JSON.parse(readFileSync(path.join(ROOT, 'package-lock.json'), 'utf8'));
    const listed = components.map((one: Component) => `${one.name}@${one.version}`);
    const shipped = productionPackages(lock).map((at) => {
      return `${at.split('node_modules/').at(-1)}@${lock.packages[at].version}`;
    });
    assert.deepEqual([...new Set(listed)].sort(), [...new Set(shipped)].sort());
    for (const one of components as Component[]) assert.ok(one.hashes.length > 0, one.name);
  });

  await t.test('it is a library, with types', async (t) => {
    const upstream = await startHttp(t, (_request, response) => response.end('from a program'));
    const server = await startServer(t, { entry });
    const program = [
      "import { connect, ConfigError, SluicewayError } from 'sluiceway';",
      "import type { ClientEvent, Tunnel } from 'sluiceway';",
      'const [url = "", site = ""] = process.argv.slice(2);',
      'const tunnel: Tunnel = await connect({',
      `  url, token: process.env.SLUICEWAY_TOKEN ?? '', upstreams: { '${HOST}': site },`,
      '});',
      'tunnel.on("event", (event: ClientEvent) => console.error(event.event));',
      'console.log(JSON.stringify(tunnel.urls));',
      'process.stdin.resume().once("data", async () => {',
      '  await tunnel.close();',
      '  const bad = await connect({ url: "http://x" }).catch((error: unknown) => error);',
      '  console.log(bad instanceof ConfigError && bad instanceof SluicewayError);',
      '  process.exit();',
      '});',
    ].join('\n');
    writeFileSync(path.join(folder, 'program.mts'), program);
    const tsc = path.join(ROOT, 'node_modules/.bin/tsc');
    const strict = ['--strict', '--module', 'nodenext', '--target', 'esnext', '--noEmit'];
    const types = ['--typeRoots', path.join(ROOT, 'node_modules/@types'), '--types', 'node'];
    const checked = await runProgram(t, {
      ...{ command: tsc, cwd: folder, ms: 120_000 },
      args: [...strict, ...types, '--skipLibCheck', 'program.mts'],
    });
    assert.equal(checked.code, 0, checked.stdout);
    const url = `ws://127.0.0.1:${server.controlPort}`;
    const running = spawn(process.execPath, ['program.mts', url, `http://127.0.0.1:${upstream}`], {
      cwd: folder,
      env: environment(),
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    undoAfter(t, () => {
      running.kill('SIGKILL');
    });
    const lines = createInterface({ input: running.stdout });
    const next = async (): Promise<string> => String((await once(lines, 'line'))[0]);
    assert.equal(await next(), `["http://${HOST}"]`);
    assert.equal((await get(t, { port: server.httpPort, host: HOST })).body, 'from a program');
    running.stdin.write('close\n');
    assert.equal(await next(), 'true');
    await once(running, 'exit');
    assert.equal((await get(t, { port: server.httpPort, host: HOST })).status, 503);
  });

  await t.test('two shards and a client carry a request', async (t) => {
    const upstream = await startHttp(t, (_request, response) => response.end('packed'));
    const server = await startServer(t, { entry, shards: 2 });
    const tunnel = ['--upstream', `${HOST}=http://127.0.0.1:${upstream}`];
    await startClient(t, server, { entry, args: tunnel });
    assert.equal((await get(t, { port: server.httpPort, host: HOST })).body, 'packed');
    for (const file of ['/', '/assets/app.js', '/assets/uplot.js']) {
      const answer = await get(t, { port: server.adminPort, host: 'localhost', path: file });
      assert.equal(answer.status, 200, file);
    }
  });

  await t.test(
    'it loads a tunnel and writes a report, without what only the checkout has',
    async (t) => {
      const upstream = await startHttp(t, (_request, response) => response.end('packed'));
      const server = await startServer(t, { entry, shards: 1 });
      const tunnel = ['--upstream', `${HOST}=http://127.0.0.1:${upstream}`];
      await startClient(t, server, { entry, args: tunnel });
      const brief = ['--duration', '300ms', '--warm-up', '0ms', '--rounds', '1'];
      const target = ['--url', `http://127.0.0.1:${server.httpPort}/`, '--header', `Host: ${HOST}`];
      for (const [what, more] of [
        ['a running one', [...target, '--connections', '4']],
        ['one of its own', ['--rate', '100']],
      ] as const) {
        const run = await runProgram(t, {
          command: process.execPath,
          args: [entry, 'bench', ...brief, ...more],
          ...{ cwd: folder, env: environment() },
        });
        assert.equal(run.code, 0, `${what}: ${run.stderr}`);
        assert.ok(existsSync(path.join(folder, 'report.html')), what);
      }
      assert.ok(!existsSync(path.join(home, 'dist/bench/suites')), 'suites are not shipped');
    },
  );
});
