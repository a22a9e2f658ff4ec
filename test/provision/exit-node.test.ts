// Goal: `exit-node create` ends with a server that a client is let in to, or with nothing that is
// paid for. Method: the program itself against a stub of Hetzner's API, whose machine is a real
// server, started from the user data that arrived.

import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { parse } from 'yaml';
import { createGce } from '../../src/provision/gce.ts';
import { createScaleway } from '../../src/provision/scaleway.ts';
import { run } from '../cli/run.ts';
import { commandWords, oneValue } from '../deploy/unit-words.ts';
import { freePort } from '../support/free-port.ts';
import { startMachine } from '../support/machine.ts';
import { runProgram, startProcess } from '../support/process.ts';
import { scratchFolder } from '../support/programs.ts';
import { ENTRY } from '../support/tunnel.ts';
import { gceApi, KEY_FILE } from './apis/gce.ts';
import { type HetznerApi, hetznerApi, TOKEN } from './apis/hetzner.ts';
import { PROJECT, TOKEN as SCALEWAY_TOKEN, scalewayApi } from './apis/scaleway.ts';
import { startStub } from './cloud-stub.ts';

interface World {
  readonly api: HetznerApi;
  readonly folder: string;
  readonly env: Readonly<Record<string, string>>;
  /** Of the server on the machine. */
  readonly port: number;
  readonly cloud: readonly string[];
}

interface WorldOptions {
  readonly secret?: string;
  /** Before a request is answered. */
  readonly onAsked?: () => unknown;
}

async function world(t: TestContext, options: WorldOptions = {}): Promise<World> {
  const { secret = TOKEN, onAsked = () => {} } = options;
  const api = hetznerApi();
  const stub = await startStub(t, {
    ...api,
    answer: (asked, ports) => {
      onAsked();
      return api.answer(asked, ports);
    },
  });
  return {
    api,
    folder: scratchFolder(t),
    env: { HCLOUD_TOKEN: secret },
    port: await freePort(),
    cloud: ['--provider', 'hetzner', '--endpoint', stub.url],
  };
}

function create(t: TestContext, { cloud, folder, env, port }: World, more: readonly string[] = []) {
  const own = [...cloud, '--name', 'edge-1', ...more];
  const server = [
    ...['--control-addr', `127.0.0.1:${port}`, '--auto-tls', '--http-addr', 'off'],
    ...['--https-addr', 'off', '--admin-addr', 'off', '--tcp-ports', 'off', '--shards', '1'],
    ...['--drain-delay', '0s'],
  ];
  return startProcess(t, {
    name: 'create',
    command: process.execPath,
    args: [ENTRY, 'exit-node', 'create', ...own, '--', ...server],
    cwd: folder,
    env: { PATH: process.env.PATH ?? '', ...env },
    endsItself: true,
  });
}

test('a server is up, its client let in, and the machine listed and deleted', async (t) => {
  const all = await world(t);
  const { api, folder, env, port, cloud } = all;
  const making = create(t, all);
  await making.line('the machine is made', (line) => line.includes('4711 in fsn1 is at 127.0.0.1'));
  const userData = api.userData();
  const machine = startMachine(t, { userData, folder });
  const printed = await machine.line('CA', (line) => line.startsWith('CA fingerprint '));
  const ending = await making.expectEnd();
  assert.equal(ending.code, 0, making.tail());
  const out = making.stdout.join('\n');
  const fingerprint = printed.replace('CA fingerprint ', '');
  assert.ok(out.includes(`--url wss://127.0.0.1:${port} `), out);
  assert.ok(out.includes(`--auto-tls-fingerprint ${fingerprint}`), out);
  assert.match(out, /sluiceway exit-node delete 4711 --provider hetzner --endpoint http:/u);
  const file = path.join(folder, 'sluiceway-edge-1.token');
  const secret = readFileSync(file, 'utf8').trim();
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.ok(!userData.includes(secret), 'the token is not in the user data');
  assert.ok(![...making.stdout, ...making.stderr].join('\n').includes(secret));
  const status = await run([
    ...['status', '--url', `wss://127.0.0.1:${port}`, '--token-file', file, '--json'],
    ...['--auto-tls-fingerprint', fingerprint],
  ]);
  assert.equal(status.code, 0, status.stderr);
  const listed = await run(['exit-node', 'list', ...cloud], env);
  assert.match(listed.stdout, /^edge-1 +4711 +fsn1 +starting +127\.0\.0\.1$/mu);
  const json = await run(['exit-node', 'list', ...cloud, '--json'], env);
  const one = { id: '4711', name: 'edge-1', region: 'fsn1', address: '127.0.0.1' };
  assert.deepEqual(JSON.parse(json.stdout), [{ ...one, state: 'starting' }]);
  const deleted = await run(['exit-node', 'delete', '4711', ...cloud], env);
  assert.deepEqual([deleted.code, deleted.stdout], [0, 'deleted 4711\n']);
  assert.deepEqual(api.left(), []);
  const again = await run(['exit-node', 'delete', '4711', ...cloud], env);
  assert.deepEqual([again.code, again.stdout], [1, '']);
  assert.match(again.stderr, /^sluiceway: there is no machine '4711'\n$/u);
});

test('paths in the commands that are printed are what a shell makes of them', async (t) => {
  const all = await world(t);
  const given = { token: "to'ken $(id)", secret: '-my secret' };
  writeFileSync(path.join(all.folder, given.token), 'a-token-of-ones-own-1234\n');
  writeFileSync(path.join(all.folder, given.secret), `${TOKEN}\n`);
  const files = ['--token-file', given.token, `--credentials-file=${given.secret}`];
  const making = create(t, { ...all, env: {} }, files);
  await making.line('the machine is made', (line) => line.includes('is at 127.0.0.1'));
  startMachine(t, { userData: all.api.userData(), folder: all.folder });
  assert.equal((await making.expectEnd()).code, 0, making.tail());
  const out = making.stdout.join('\n');
  const commands = [...out.matchAll(/^ {2}(sluiceway .*(?:\n {4}.*)*)/gmu)].map(([, text]) => text);
  const script = ['sluiceway() { printf \'%s\\t\' "$@"; echo; }', ...commands].join('\n');
  const shell = { command: '/bin/sh', args: ['-c', script], cwd: all.folder, env: {} };
  const read = await runProgram(t, shell);
  assert.deepEqual([read.code, read.stderr], [0, ''], out);
  const [client = [], ending = []] = read.stdout.split('\n').map((line) => line.split('\t'));
  const after = (words: readonly string[], option: string) => words[words.indexOf(option) + 1];
  assert.equal(client[0], 'client');
  assert.equal(after(client, '--token-file'), given.token);
  assert.deepEqual(ending.slice(0, 3), ['exit-node', 'delete', '4711']);
  assert.equal(after(ending, '--credentials-file'), `./${given.secret}`);
});

const REQUEST = { name: 'web', userData: () => '#cloud-config\n{}\n', ports: [] } as const;

test('a machine of another, whose name is an id, is not there to be deleted', async (t) => {
  const api = gceApi();
  const { url: endpoint } = await startStub(t, api);
  const credentials = { GOOGLE_APPLICATION_CREDENTIALS: KEY_FILE };
  const provider = createGce({ credentials, tag: 'another', endpoint, sleep: async () => {} });
  const { id } = await provider.create(REQUEST);
  const cloud = ['--provider', 'gce', '--endpoint', endpoint];
  const env = { SLUICEWAY_CREDENTIALS: KEY_FILE };
  const ended = await run(['exit-node', 'delete', id, ...cloud], env);
  assert.deepEqual([ended.code, ended.stdout], [1, '']);
  assert.equal(ended.stderr, `sluiceway: there is no machine '${id}'\n`);
  assert.deepEqual(api.left(), ['web', 'web']);
});

test('a machine is looked for in the region that its id names', async (t) => {
  const api = scalewayApi();
  const { url: endpoint } = await startStub(t, api);
  const env = { SCW_SECRET_KEY: SCALEWAY_TOKEN, SCW_DEFAULT_PROJECT_ID: PROJECT };
  const tag = 'sluiceway-exit-node';
  const provider = createScaleway({ credentials: env, tag, endpoint, sleep: async () => {} });
  const { id } = await provider.create(REQUEST);
  api.boot();
  const cloud = ['--provider', 'scaleway', '--endpoint', endpoint];
  const elsewhere = { ...env, SCW_DEFAULT_ZONE: 'nl-ams-1' };
  const ended = await run(['exit-node', 'delete', id, ...cloud], elsewhere);
  assert.deepEqual([ended.code, ended.stdout], [0, `deleted ${id}\n`], ended.stderr);
  assert.deepEqual(api.left(), []);
});

test('an interruption removes the machine and the token', async (t) => {
  const all = await world(t);
  const making = create(t, all);
  await making.line('it waits', (line) => line.includes('it installs itself now'));
  making.kill('SIGINT');
  assert.equal((await making.expectEnd()).code, 1, making.tail());
  assert.deepEqual(all.api.left(), []);
  assert.deepEqual(readdirSync(all.folder), []);
  console.log(making.tail());
  assert.match(making.stderr.join('\n'), /sluiceway: interrupted by a signal/u);
});

test('a terminal that goes, and says so twice, removes the machine and the token', async (t) => {
  let hangUps = 0;
  const hangUp = (): void => {
    hangUps += 1;
    making.kill('SIGHUP');
  };
  // Again while it still asks: the shell's own, and then the system's.
  const all = await world(t, { onAsked: () => hangUps > 0 && hangUp() });
  const making = create(t, all);
  await making.line('it waits', (line) => line.includes('it installs itself now'));
  hangUp();
  assert.equal((await making.expectEnd()).code, 1, making.tail());
  assert.deepEqual([all.api.left(), readdirSync(all.folder)], [[], []], making.tail());
  assert.ok(hangUps > 1, `${hangUps}`);
  assert.equal(making.stderr.at(-1), 'sluiceway: interrupted by a signal');
});

test('what cannot be removed is named', async (t) => {
  const all = await world(t);
  all.api.lockDeletions(true);
  const making = create(t, all, ['--timeout', '1s']);
  assert.equal((await making.expectEnd()).code, 4, making.tail());
  assert.match(
    making.stderr.at(-1) ?? '',
    /^sluiceway: 4711 does not answer at 127\.0\.0\.1 after 1 s; 4711 was left behind and must be deleted: Hetzner: the item you are trying to access is locked$/u,
  );
  assert.deepEqual(all.api.left(), ['edge-1']);
  all.api.lockDeletions(false);
  const second = create(t, all);
  assert.equal((await second.expectEnd()).code, 1, second.tail());
  assert.match(second.stderr.join('\n'), /there is an exit node edge-1 already, 4711/u);
  assert.deepEqual(all.api.left(), ['edge-1'], 'it is not touched');
});

test('a machine that never answers is removed at the deadline, with code 4', async (t) => {
  const all = await world(t);
  const making = create(t, all, ['--timeout', '1s', '--token-file', tokenIn(all)]);
  assert.equal((await making.expectEnd()).code, 4, making.tail());
  assert.deepEqual(all.api.left(), []);
  assert.ok(existsSync(tokenIn(all)), 'a token that was given stays');
});

const TWICE = { SLUICEWAY_CREDENTIALS: 'x', SLUICEWAY_CREDENTIALS_FILE: '/none' };

function tokenIn({ folder }: World): string {
  const file = path.join(folder, 'own');
  if (!existsSync(file)) writeFileSync(file, 'a-token-of-ones-own-1234\n');
  return file;
}

test('a refusal is one line with the words of the provider, and code 1', async (t) => {
  const wrong = create(t, await world(t, { secret: 'not-the-token' }));
  assert.equal((await wrong.expectEnd()).code, 1, wrong.tail());
  assert.deepEqual(wrong.stderr, ['sluiceway: Hetzner: the token you provided is not valid']);
  const all = await world(t);
  all.api.refuse();
  const full = create(t, all);
  assert.equal((await full.expectEnd()).code, 1, full.tail());
  assert.equal(full.stderr.at(-1), 'sluiceway: Hetzner: server limit reached');
  assert.deepEqual([all.api.left(), readdirSync(all.folder)], [[], []]);
});

test('options come from flags, variables and a file, and credentials by value or by file', async (t) => {
  const { folder, cloud } = await world(t);
  const [, provider = '', , endpoint = ''] = cloud;
  const write = (name: string, text: string): string => {
    const file = path.join(folder, name);
    writeFileSync(file, text);
    return file;
  };
  const where = { SLUICEWAY_PROVIDER: provider, SLUICEWAY_ENDPOINT: endpoint };
  const secretFile = write('secret', `${TOKEN}\n`);
  const lines = `provider: ${provider}\nendpoint: ${endpoint}\njson: true\n`;
  const byFile = write('file.yaml', `${lines}credentials-file: ${secretFile}\n`);
  const byValue = write('value.yaml', `${lines}credentials: HCLOUD_TOKEN=${TOKEN}\n`);
  const table: readonly (readonly [readonly string[], Readonly<Record<string, string>>])[] = [
    [[...cloud, '--credentials-file', secretFile, '--json'], {}],
    [[], { ...where, SLUICEWAY_CREDENTIALS_FILE: secretFile, SLUICEWAY_JSON: 'true' }],
    [['--json'], { ...where, SLUICEWAY_CREDENTIALS: TOKEN }],
    [['--config', byFile], {}],
    [[], { SLUICEWAY_CONFIG: byValue }],
  ];
  for (const [args, env] of table) {
    const listed = await run(['exit-node', 'list', ...args], env);
    assert.deepEqual([listed.code, listed.stdout], [0, '[]\n'], listed.stderr);
    const checked = await run(['config', 'check', 'exit-node', 'list', ...args], env);
    assert.deepEqual([checked.code, checked.stdout], [0, 'ok\n'], checked.stderr);
    const printed = await run(['config', 'print', 'exit-node', 'create', ...args], env);
    assert.equal(printed.code, 0, printed.stderr);
    assert.ok(!printed.stdout.includes(TOKEN), printed.stdout);
  }
  const wrong = await run(['exit-node', 'list'], { ...where, SLUICEWAY_CREDENTIALS: 'other' });
  assert.deepEqual([wrong.code, wrong.stdout], [1, '']);
  const deleted = await run(['exit-node', 'delete', '1', ...cloud], {
    SLUICEWAY_CREDENTIALS: TOKEN,
  });
  assert.match(deleted.stderr, /there is no machine '1'/u);
});

test("what the server's own file says is what the machine gets, ports and token included", async (t) => {
  const all = await world(t);
  const { api, folder, env, cloud } = all;
  const server = path.join(folder, 'server.yaml');
  writeFileSync(server, `token: ${'s'.repeat(20)}\nhttp-addr: "0.0.0.0:8080"\n`);
  const own = path.join(folder, 'own.yaml');
  writeFileSync(own, 'name: edge-2\nsize: cx33\nimage: debian-13\nregion: nbg1\ntimeout: 1s\n');
  // A file of the same variable, for a server on this machine.
  const making = startProcess(t, {
    ...{ name: 'create', command: process.execPath, cwd: folder, endsItself: true },
    args: [
      ...[ENTRY, 'exit-node', 'create', ...cloud, '--config', own, '--'],
      ...['--config', server, '--admin-addr', 'off'],
    ],
    env: { PATH: process.env.PATH ?? '', ...env, SLUICEWAY_HTTP_ADDR: '127.0.0.1:1' },
  });
  assert.equal((await making.expectEnd()).code, 4, making.tail());
  assert.deepEqual(readdirSync(folder).sort(), ['own.yaml', 'server.yaml'], 'no token is made');
  const asked = api.created().at(-1);
  const { write_files: files } = parse(asked?.user_data ?? '') as {
    write_files: { path: string; content: string }[];
  };
  const unit = files.find(({ path: at }) => at.endsWith('/sluiceway.service'))?.content ?? '';
  const [, , ...words] = commandWords(oneValue(unit, 'ExecStart'));
  assert.deepEqual(words, [
    ...['server', '--config', '/etc/sluiceway/server.yaml', '--https-addr', '0.0.0.0:443'],
    ...['--admin-addr', 'off'],
  ]);
  const copied = files.find(({ path: at }) => at === '/etc/sluiceway/server.yaml');
  assert.equal(copied?.content, readFileSync(server, 'utf8'));
  assert.deepEqual(
    [asked?.name, asked?.server_type, asked?.image, asked?.location],
    ['edge-2', 'cx33', 'debian-13', 'nbg1'],
  );
});

test('wrong options are code 2, before anything is asked', async (t) => {
  const hetzner = ['--provider', 'hetzner'];
  const keys = { HCLOUD_TOKEN: 'x' };
  const table: [readonly string[], RegExp, Record<string, string>?][] = [
    [['create'], /--provider is required; give one of digitalocean, hetzner/u],
    [['create', '--provider', 'hetzer'], /'hetzer' is unknown; did you mean hetzner\?/u],
    [['create', ...hetzner], /Hetzner Cloud needs HCLOUD_TOKEN in the environment/u],
    [['create', ...hetzner, '--name', 'A'], /is no name of a service/u, keys],
    [['create', ...hetzner, '--timeout', 'soon'], /is not a duration/u, keys],
    [['create', ...hetzner, '--', '--http-adr', 'x'], /did you mean --http-addr\?/u, keys],
    [['create', ...hetzner, '--token-file', '/none'], /\/none does not exist/u, keys],
    [['create', ...hetzner, '--ssh-key-file', '/etc/passwd'], /holds no public key/u, keys],
    [['create', ...hetzner, '--endpoint', 'http://a.example'], /is no URL/u, keys],
    [
      ['create', ...hetzner, '--nam', 'x'],
      /unknown option '--nam' \(Did you mean --name\?\)/u,
      keys,
    ],
    [['list', ...hetzner, '--size', 'x'], /unknown option '--size'/u, keys],
    [['list', ...hetzner], /--credentials .* and --credentials-file .*; keep one/u, TWICE],
    [['list', '--provider', 'ovh'], /OVHcloud needs OVH_APPLICATION_KEY, /u],
    [['delete', ...hetzner], /missing required argument/u],
  ];
  const token = tokenIn(await world(t));
  for (const way of [
    ['--token-file', token],
    ['--tokens-file', '/none'],
    ['--client-ca', '/none'],
  ]) {
    const args = ['create', ...hetzner, '--token-file', token, '--', ...way];
    table.push([args, new RegExp(`the options of the server have ${way[0]}; keep one`, 'u'), keys]);
  }
  for (const [args, wanted, env] of table) {
    const { code, stdout, stderr } = await run(['exit-node', ...args], env);
    assert.deepEqual([code, stdout], [2, ''], `${args.join(' ')}: ${stderr}`);
    assert.match(stderr, wanted);
  }
});
