// The program as one executable: built, then run where there is no Node, no package and no source.
//
// Two shards, so that threads start from what is inside of it; a page and the dashboard, whose
// files are inside as well; a successor, which must start the executable and not Node. Those for
// other machines are built and looked at, for they do not run here.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, copyFileSync, openSync, readFileSync, readSync } from 'node:fs';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { undoAfter } from '../support/cleanup.ts';
import { eventually } from '../support/deadline.ts';
import { runProgram, startProcess } from '../support/process.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';
import { listeningPort, parseLine, TOKEN } from '../support/tunnel.ts';
import { get, startHttp } from '../support/upstream.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
const BUILD = path.join(ROOT, 'docker/single-file/build.ts');
const HOST = 'single.example.com';
const TARGET = `linux-${process.arch}`;
/** What each kind of executable begins with: ELF for this machine, PE, Mach-O. */
const FOREIGN = [
  { target: 'linux-arm64', file: 'sluiceway-linux-arm64', magic: '7f454c46', machine: 'b700' },
  { target: 'darwin-arm64', file: 'sluiceway-darwin-arm64', magic: 'cffaedfe' },
  { target: 'win-x64', file: 'sluiceway-win-x64.exe', magic: '4d5a' },
];
/** Of an ELF header. */
const MACHINE_AT = 18;

async function build(t: TestContext, targets: readonly string[]): Promise<string> {
  const folder = scratchFolder(t);
  const args = [BUILD, ...targets, '--out', folder];
  const run = await runProgram(t, { command: process.execPath, args, cwd: ROOT, ms: 300_000 });
  assert.equal(run.code, 0, `${run.stdout}\n${run.stderr}`);
  assert.equal(run.stderr, '');
  return folder;
}

/** Nothing of this machine's programs, and nowhere to find one. */
function bare(home: string): NodeJS.ProcessEnv {
  return { PATH: '/nonexistent', HOME: home, SLUICEWAY_TOKEN: TOKEN, SLUICEWAY_STATUS_DIR: 'off' };
}

test('one executable is the whole program', async (t) => {
  const built = await build(t, []);
  const home = scratchFolder(t);
  // Away from the checkout, of which it must need nothing.
  const program = path.join(home, 'sluiceway');
  copyFileSync(path.join(built, `sluiceway-${TARGET}`), program);
  const run = (...args: readonly string[]) =>
    runProgram(t, { command: program, args, cwd: home, env: bare(home), ms: 60_000 });

  await t.test('it says what it is, without a warning', async () => {
    const { version } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8'));
    const said = await run('version');
    assert.equal(said.stdout, `${said.stdout.split('\n')[0]}\nnode ${process.version}`);
    const head = spawnSync('git', ['rev-parse', 'HEAD'], { cwd: ROOT, encoding: 'utf8' });
    const commit = head.status === 0 ? head.stdout.slice(0, 7) : 'unknown';
    assert.equal(said.stdout.split('\n')[0], `sluiceway ${version} - ${commit}`);
    assert.equal(said.stderr, '');
    assert.match((await run('--help')).stdout, /run the exit node/u);
    const wrong = await run('server', '--htp-addr', ':80');
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /http-addr/u);
  });

  await t.test('the demonstration starts it twice more', async () => {
    const demo = await run('demo', '--check');
    assert.equal(demo.code, 0, demo.stderr);
  });

  await t.test('a unit that it writes starts it, and nothing else', async () => {
    const unit = await run('generate', 'systemd', 'server', '--control-addr', ':8123');
    assert.equal(unit.code, 0, unit.stderr);
    assert.match(unit.stdout, new RegExp(`^ExecStart="?${program}"? "?server"?`, 'mu'));
  });

  await t.test('a page, the dashboard, a successor and a drain', (t) => checkServer(t, program));

  await t.test('the licences of what is in it lie beside it', () => {
    const text = readFileSync(path.join(built, 'THIRD-PARTY-LICENSES.txt'), 'utf8');
    for (const name of ['piscina', 'ws', 'pino', 'jose', 'acme-client', 'Node.js']) {
      assert.match(text, new RegExp(`^${name}[: ]`, 'mu'));
    }
  });
});

async function checkServer(t: TestContext, program: string): Promise<void> {
  const home = path.dirname(program);
  const env = bare(home);
  const upstream = await startHttp(t, (_request, response) => response.end('from one file'));
  const server = startProcess(t, {
    name: 'server',
    command: program,
    args: [
      ...['server', '--shards', '2', '--log-format', 'json', '--drain-timeout', '3s'],
      ...['--control-addr', '127.0.0.1:0', '--auto-tls', '--drain-delay', '0s'],
      ...['--http-addr', '127.0.0.1:0', '--admin-addr', '127.0.0.1:0'],
    ],
    env,
    endCode: 0,
  });
  const [control, port, admin] = await Promise.all([
    listeningPort(server, 'control'),
    listeningPort(server, 'http'),
    listeningPort(server, 'admin'),
  ]);
  const client = startProcess(t, {
    name: 'client',
    command: program,
    args: [
      ...['client', '--url', `wss://127.0.0.1:${control}`, '--log-format', 'json'],
      ...['--upstream', `${HOST}=http://127.0.0.1:${upstream}`, '--drain-timeout', '3s'],
    ],
    env,
    endCode: 0,
  });
  await client.line('a tunnel', (line) => line.startsWith(`http://${HOST}`));
  assert.equal((await get(t, { port, host: HOST })).body, 'from one file');
  for (const file of ['/', '/assets/app.js', '/assets/uplot.js', '/assets/style.css']) {
    const answer = await get(t, { port: admin, host: 'localhost', path: file });
    assert.equal(answer.status, 200, file);
    assert.ok(answer.body.length > 100, file);
  }
  server.kill('SIGUSR2');
  const line = await server.line('a successor', (text) => text.includes('"a successor starts"'));
  const successor = Number(parseLine(line).successor);
  // It holds the streams on which its predecessor is watched: it ends first.
  undoAfter(t, () => endIfRunning(successor));
  await eventually(15_000, 'the predecessor has gone', async () => {
    assert.equal(isRunning(server.pid), false);
  });
  assert.equal((await get(t, { port, host: HOST })).body, 'from one file');
  process.kill(successor, 'SIGTERM');
  assert.equal((await server.expectEnd()).code, 0);
}

function endIfRunning(pid: number): void {
  if (isRunning(pid)) process.kill(pid, 'SIGKILL');
}

/** A process that has ended and that nobody asked about yet counts as gone. */
function isRunning(pid: number): boolean {
  try {
    return !/^State:\tZ/mu.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    // No such process.
    return false;
  }
}

test('executables for other machines are built here', async (t) => {
  if (requirePrograms(t, ['npm', 'tar']) === undefined) return;
  const folder = await build(
    t,
    FOREIGN.map(({ target }) => target),
  );
  for (const { file, magic, machine } of FOREIGN) {
    const head = readHead(path.join(folder, file));
    assert.ok(head.toString('hex').startsWith(magic), file);
    if (machine !== undefined) {
      assert.equal(head.subarray(MACHINE_AT, MACHINE_AT + 2).toString('hex'), machine, file);
    }
    const whole = readFileSync(path.join(folder, file));
    assert.ok(whole.includes('sluiceway.shard'), `${file} holds the script of shards`);
  }
});

function readHead(file: string): Buffer {
  const descriptor = openSync(file, 'r');
  try {
    const head = Buffer.alloc(MACHINE_AT + 2);
    readSync(descriptor, head, 0, head.length, 0);
    return head;
  } finally {
    closeSync(descriptor);
  }
}

test('an unknown machine is refused with those that there are', async (t) => {
  const args = [BUILD, 'plan9-x64'];
  const run = await runProgram(t, { command: process.execPath, args, cwd: ROOT });
  assert.equal(run.code, 2);
  assert.match(run.stderr, /plan9-x64 is not a target; there are linux-x64/u);
});
