// Goal: a client in a network that has no way out but a proxy works through it: CONNECT with a
// login, SOCKS 5, with and without TLS, given by --proxy or by the environment. Method: Debian's
// tinyproxy and microsocks, each in a network namespace of its own beside that of the client; the
// proxies alone know where the server is.

import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { createNetns, type Netns } from '../support/netns.ts';
import { runProgram, startProcess, type TestProcess } from '../support/process.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';
import { ENTRY, environment, spawnClient, startServer, TOKEN } from '../support/tunnel.ts';
import { get, startHttp } from '../support/upstream.ts';

/** Known to the proxies alone. */
const EXIT = 'exit.corp';
const PORT = 8123;
const LOGIN = 'user:p-ss';

interface Office {
  /** Where the client runs, with nothing but loopback. */
  readonly netns: Netns;
  readonly httpPort: number;
  readonly fingerprint: string;
}

/** Everything but the proxy: `proxyPort` of the office leads to that of the proxy's machine. */
async function startOffice(
  t: TestContext,
  proxyPort: number,
  isSecure: boolean,
): Promise<(Office & { readonly machine: Netns }) | undefined> {
  const [netns, machine] = [await createNetns(t), await createNetns(t)];
  if (netns === undefined || machine === undefined) return undefined;
  const folder = scratchFolder(t);
  const tls = ['--auto-tls', '--auto-tls-dir', path.join(folder, 'tls'), '--auto-tls-san', EXIT];
  const server = await startServer(t, { args: isSecure ? tls : [] });
  const printed = server.process.stdout.join('\n');
  const fingerprint = /sha256:[0-9a-f]{64}/u.exec(printed)?.[0] ?? '';
  writeFileSync(`/etc/netns/${machine.name}/hosts`, `127.0.0.1 ${EXIT}\n`);
  // Unix sockets are where the three networks meet.
  const [near, far] = [path.join(folder, 'near'), path.join(folder, 'far')];
  await pipe(t, undefined, `unix:${far}`, `tcp:${server.controlPort}`);
  await pipe(t, machine, `tcp:${PORT}`, `unix:${far}`);
  await pipe(t, machine, `unix:${near}`, `tcp:${proxyPort}`);
  await pipe(t, netns, `tcp:${proxyPort}`, `unix:${near}`);
  // The office's own service, on its own machine.
  const site = path.join(folder, 'site');
  const upstream = await startHttp(t, (_request, response) => response.end('from the office'));
  await pipe(t, undefined, `unix:${site}`, `tcp:${upstream}`);
  await pipe(t, netns, 'tcp:3000', `unix:${site}`);
  return { netns, machine, httpPort: server.httpPort, fingerprint };
}

async function pipe(t: TestContext, netns: Netns | undefined, from: string, to: string) {
  const args = ['test/fixtures/pipe.ts', from, to];
  const command = { command: process.execPath, args };
  const running = startProcess(t, {
    name: 'pipe',
    ...(netns?.inside(command.command, args) ?? command),
  });
  await running.line('the pipe is ready', (line) => line === 'ready');
}

async function startTinyproxy(t: TestContext, machine: Netns, command: string): Promise<void> {
  const folder = scratchFolder(t);
  const file = path.join(folder, 'tinyproxy.conf');
  const [user = '', password = ''] = LOGIN.split(':');
  writeFileSync(
    file,
    [
      ...['Port 3128', 'Listen 127.0.0.1', 'Timeout 600', 'MaxClients 50', 'LogLevel Info'],
      ...[`BasicAuth ${user} ${password}`, `ConnectPort ${PORT}`, 'Allow 127.0.0.1'],
      `LogFile "${folder}/log"`,
    ].join('\n'),
  );
  mkdirSync(folder, { recursive: true });
  startProcess(t, { name: 'tinyproxy', ...machine.inside(command, ['-d', '-c', file]) });
  await untilListens(machine, 3128);
}

async function untilListens(machine: Netns, port: number): Promise<void> {
  const ask = `const t = Date.now(); (function go() {
    require('net').connect(${port}, '127.0.0.1').on('connect', () => process.exit(0))
      .on('error', () => Date.now() - t > 10000 ? process.exit(1) : setTimeout(go, 50)); })()`;
  await machine.run(process.execPath, '-e', ask);
}

/** Is a page served through a client that was started like this? */
async function serves(
  t: TestContext,
  office: Office,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<TestProcess> {
  const client = spawnClient(
    t,
    { controlPort: PORT, httpPort: 0, adminPort: 0 } as Parameters<typeof spawnClient>[1],
    {
      netns: office.netns,
      url: office.fingerprint === '' ? `ws://${EXIT}:${PORT}` : `wss://${EXIT}:${PORT}`,
      args: [
        ...['--upstream', 'office.example=http://127.0.0.1:3000', ...args],
        ...(office.fingerprint === '' ? [] : ['--auto-tls-fingerprint', office.fingerprint]),
      ],
      env,
    },
  );
  await client.line(
    'the tunnel is up',
    (line) => line.includes('http://office.example ->'),
    30_000,
  );
  const page = await get(t, { port: office.httpPort, host: 'office.example' });
  assert.equal(page.body, 'from the office');
  return client;
}

/** The direct way: none, as the name is not even known. */
async function failsDirectly(t: TestContext, office: Office): Promise<void> {
  const args = [ENTRY, 'client', '--url', `ws://${EXIT}:${PORT}`, '--tcp', '2222', '--once'];
  const run = await runProgram(t, {
    ...office.netns.inside(process.execPath, args),
    env: environment(),
  });
  assert.equal(run.code, 1, run.stderr);
  assert.match(run.stderr, new RegExp(EXIT, 'u'));
}

for (const isSecure of [false, true]) {
  test(`an HTTP proxy with a login, ${isSecure ? 'TLS' : 'plain'} links`, async (t) => {
    const programs = requirePrograms(t, ['tinyproxy']);
    if (programs === undefined) return;
    const office = await startOffice(t, 3128, isSecure);
    if (office === undefined) return;
    await startTinyproxy(t, office.machine, programs.tinyproxy);
    await failsDirectly(t, office);
    const proxy = `http://${LOGIN}@127.0.0.1:3128`;
    const client = await serves(t, office, ['--proxy', proxy]);
    await client.stop();
    const variable = isSecure ? 'HTTPS_PROXY' : 'http_proxy';
    const other = await serves(t, office, [], { [variable]: proxy });
    const told = [...client.stderr, ...other.stderr].join('\n');
    assert.doesNotMatch(told, /p-ss|dXNlcjpw/u, 'the login was told');

    const refused = await runProgram(t, {
      ...office.netns.inside(process.execPath, [
        ...[ENTRY, 'client', '--log-format', 'json', '--tcp', '2222', '--once'],
        ...['--url', `ws://${EXIT}:${PORT}`, '--proxy', 'http://127.0.0.1:3128'],
      ]),
      env: environment(),
    });
    assert.equal(refused.code, 1, refused.stderr);
    assert.match(
      refused.stderr,
      /the proxy http:\/\/127\.0\.0\.1:3128 answered 407: give it a login/u,
    );
    // Another port than the one that it lets through: its 403 is no refusal of the token.
    const elsewhere = await runProgram(t, {
      ...office.netns.inside(process.execPath, [
        ...[ENTRY, 'client', '--log-format', 'json', '--tcp', '2222', '--once'],
        ...['--url', `ws://${EXIT}:${PORT + 1}`, '--proxy', proxy],
      ]),
      env: environment(),
    });
    assert.equal(elsewhere.code, 1, elsewhere.stderr);
    assert.match(elsewhere.stderr, /answered 403: it lets nobody through/u);
  });

  test(`a SOCKS 5 proxy, ${isSecure ? 'TLS' : 'plain'} links`, async (t) => {
    const programs = requirePrograms(t, ['microsocks']);
    if (programs === undefined) return;
    const office = await startOffice(t, 1080, isSecure);
    if (office === undefined) return;
    const [user = '', password = ''] = LOGIN.split(':');
    const args = ['-i', '127.0.0.1', '-p', '1080', '-u', user, '-P', password];
    startProcess(t, { name: 'microsocks', ...office.machine.inside(programs.microsocks, args) });
    await untilListens(office.machine, 1080);
    await serves(t, office, ['--proxy', `socks5://${LOGIN}@127.0.0.1:1080`]);
    if (isSecure) return;
    const status = await runProgram(t, {
      ...office.netns.inside(process.execPath, [
        ...[ENTRY, 'status', '--url', `ws://${EXIT}:${PORT}`, '--json'],
        ...['--proxy', `socks5://${LOGIN}@127.0.0.1:1080`],
      ]),
      env: environment({ SLUICEWAY_TOKEN: TOKEN }),
    });
    assert.equal(status.code, 0, status.stderr);
    assert.equal(JSON.parse(status.stdout).clients.length, 1);
  });
}

test('a proxy that never answers is given up, and told of', async (t) => {
  const netns = await createNetns(t);
  if (netns === undefined) return;
  const silent = `require('net').createServer(() => {}).listen(3128, '127.0.0.1', () => console.log('ready'))`;
  const proxy = startProcess(t, {
    name: 'silent',
    ...netns.inside(process.execPath, ['-e', silent]),
  });
  await proxy.line('it listens', (line) => line === 'ready');
  for (const url of ['http://127.0.0.1:3128', 'socks5://127.0.0.1:3128']) {
    const run = await runProgram(t, {
      ...netns.inside(process.execPath, [
        ...[ENTRY, 'client', '--url', `ws://${EXIT}:${PORT}`, '--tcp', '2222', '--once'],
        ...['--proxy', url],
      ]),
      env: environment(),
    });
    assert.equal(run.code, 1, run.stderr);
    assert.match(run.stderr, /no answer within 15 s|timed out/u);
  }
});
