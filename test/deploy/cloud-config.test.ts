// Goal: user data makes a machine that runs the server, and tells nobody how to log in. Method:
// cloud-init's own schema; then the files are written and the commands run in a mount namespace of
// its own, with a registry on loopback, and the unit's command line serves a client.

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { parse } from 'yaml';
import { run } from '../cli/run.ts';
import { eventually } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { runProgram, startProcess } from '../support/process.ts';
import { requirePrograms, scratchFolder, skipOrFail } from '../support/programs.ts';
import { PAIR_A } from '../support/test-pairs.ts';
import { packBundle, startRegistry } from './bundle.ts';
import { commandWords, oneValue } from './unit-words.ts';

const SECRET = 'a-token-given-by-value-9876';

interface UserData {
  readonly write_files: readonly {
    readonly path: string;
    readonly permissions: string;
    readonly content: string;
  }[];
  readonly runcmd: readonly (readonly string[])[];
  readonly ssh_authorized_keys?: readonly string[];
}

async function userDataOf(args: readonly string[]): Promise<{ text: string; data: UserData }> {
  const done = await run(['generate', 'cloud-init', ...args]);
  assert.equal(done.code, 0, done.stderr);
  assert.match(done.stdout, /^#cloud-config\n/u);
  return { text: done.stdout, data: parse(done.stdout) as UserData };
}

function fileOf({ write_files: files }: UserData, at: string) {
  const found = files.find((file) => file.path === at);
  assert.ok(found !== undefined, `no ${at} among ${files.map((file) => file.path).join(', ')}`);
  return found;
}

test('cloud-init accepts the user data of a server and of a client', async (t) => {
  const programs = requirePrograms(t, ['cloud-init']);
  if (programs === undefined) return;
  const folder = scratchFolder(t);
  const client = ['client', '--url', 'wss://a.example', '--token', SECRET, '--tcp', '2222'];
  for (const args of [['server', '--token', SECRET], client]) {
    const file = path.join(folder, 'user-data.yaml');
    writeFileSync(file, (await userDataOf(args)).text);
    const checked = await runProgram(t, {
      command: programs['cloud-init'],
      args: ['schema', '--config-file', file],
    });
    assert.equal(checked.code, 0, `${checked.stdout}\n${checked.stderr}`);
    assert.match(checked.stdout, /^Valid/mu);
  }
});

test("a server's token is not in its user data, and still opens it", async (t) => {
  const folder = scratchFolder(t);
  const tokens = path.join(folder, 'more.yaml');
  writeFileSync(tokens, `tokens:\n  - name: ci\n    hashes: [sha256:${'a'.repeat(64)}]\n`);
  const { text, data } = await userDataOf(['server', '--token', SECRET, '--tokens-file', tokens]);
  assert.ok(!text.includes(SECRET));
  const written = fileOf(data, '/etc/sluiceway/more.yaml');
  assert.equal(written.permissions, '0640');
  const names = (parse(written.content) as { tokens: { name: string }[] }).tokens;
  assert.deepEqual(
    names.map(({ name }) => name),
    ['ci', 'shared'],
  );
  assert.match(oneValue(unitOf(data), 'SupplementaryGroups'), /^sluiceway-files$/u);
});

test("a client's token and logins are in files of root alone, and that is said", async () => {
  const login = ['--basic-auth', 'ann:a "b" $c'];
  const done = await run([
    ...['generate', 'cloud-init', 'client', '--url', 'wss://a.example', '--token', SECRET],
    ...['--upstream', 'a.example=http://127.0.0.1:1', ...login],
  ]);
  assert.match(done.stderr, /this holds secrets/u);
  const data = parse(done.stdout) as UserData;
  assert.deepEqual(
    [fileOf(data, '/etc/sluiceway/token'), fileOf(data, '/etc/sluiceway/sluiceway.env')].map(
      ({ permissions, content }) => [permissions, content],
    ),
    [
      ['0600', `${SECRET}\n`],
      ['0600', 'SLUICEWAY_BASIC_AUTH="ann:a \\"b\\" \\$c"\n'],
    ],
  );
  assert.ok(!unitOf(data).includes(SECRET) && !unitOf(data).includes('ann:'));
});

test('user data with a key in it is said to hold secrets, also beside its certificate', async (t) => {
  const both = path.join(scratchFolder(t), 'both.pem');
  writeFileSync(both, `${PAIR_A.cert}${PAIR_A.key}`);
  for (const args of [
    ['--tls-cert', both, '--tls-key', both],
    ['--no-auto-tls', '--https-cert', `a.test=${both},${both}`],
  ]) {
    const done = await run(['generate', 'cloud-init', 'server', '--token', SECRET, ...args]);
    assert.equal(done.code, 0, done.stderr);
    assert.match(done.stderr, /this holds secrets/u, args.join(' '));
  }
});

test('what cannot be in user data is refused with code 2', async () => {
  const table: readonly (readonly [readonly string[], RegExp])[] = [
    [['--token-file', '/none/token'], /\/none\/token does not exist/u],
    [['--token', 'x', '--error-pages', '/etc'], /a folder cannot be part of user data/u],
    [['--token', 'x', '--package', 'https://a.example/x.tgz'], /needs --package-integrity/u],
    [['--token', 'x', '--package', "x'; reboot"], /is no package/u],
    [['--token', 'x', '--package-integrity', 'sha512-x'], /is no digest/u],
    [['--token', 'x', '--registry', 'http://mirror.example'], /is no URL/u],
  ];
  for (const [args, wanted] of table) {
    const { code, stdout, stderr } = await run(['generate', 'cloud-init', 'server', ...args]);
    assert.deepEqual([code, stdout], [2, ''], args.join(' '));
    assert.match(stderr, wanted);
  }
});

function unitOf(data: UserData): string {
  return fileOf(data, '/etc/systemd/system/sluiceway.service').content;
}

/**
 * A shell script that makes a machine of this one for what it starts: changes to /etc and /opt are
 * its own, the files are written as cloud-init would, and systemctl notes what it is asked.
 */
function machineScript(folder: string, data: UserData): string {
  const at = (name: string): string => path.join(folder, name);
  for (const name of ['etc', 'etc-work', 'opt', 'opt-work', 'bin']) mkdirSync(at(name));
  writeFileSync(at('bin/systemctl'), `#!/bin/sh\necho "$@" >> ${at('systemctl.log')}\n`, {
    mode: 0o755,
  });
  const lines = ['set -eu'];
  for (const root of ['etc', 'opt']) {
    const layers = `lowerdir=/${root},upperdir=${at(root)},workdir=${at(`${root}-work`)}`;
    lines.push(`mount -t overlay overlay -o ${layers} /${root}`);
  }
  for (const [index, file] of data.write_files.entries()) {
    writeFileSync(at(`file-${index}`), file.content);
    lines.push(`install -D -m ${file.permissions} ${at(`file-${index}`)} ${file.path}`);
  }
  const commands = data.runcmd.map((words) => words.join(' '));
  lines.push(`export PATH=${at('bin')}:/usr/sbin:/usr/bin:/sbin:/bin`, ...commands, '');
  return lines.join('\n');
}

test('user data installs the program from verified archives, and its unit serves', async (t) => {
  const programs = requirePrograms(t, ['unshare', 'npm', 'curl', 'systemd-analyze']);
  if (programs === undefined) return;
  if (process.getuid?.() !== 0) return skipOrFail(t, 'needs root, for a mount namespace');
  const folder = scratchFolder(t);
  const registry = await startRegistry(t);
  const bundle = await packBundle(folder);
  registry.add('/sluiceway.tgz', bundle.file);
  const port = await freePort();
  const options = [
    ...['server', '--token', SECRET, '--registry', registry.url],
    ...['--package', `${registry.url}/sluiceway.tgz`, '--package-integrity', bundle.integrity],
    ...['--control-addr', `127.0.0.1:${port}`, '--auto-tls', '--http-addr', 'off'],
    ...['--admin-addr', 'off', '--drain-delay', '0s', '--shards', '1'],
  ];
  const { data } = await userDataOf(options);
  const script = machineScript(folder, data);
  const unit = unitOf(data);
  const words = commandWords(oneValue(unit, 'ExecStart'));
  const state = path.join(folder, 'state');
  mkdirSync(state);
  const shown = words.map((word) => `'${word.replace('/var/lib/sluiceway', state)}'`).join(' ');
  const file = path.join(folder, 'machine.sh');
  const unitPath = '/etc/systemd/system/sluiceway.service';
  writeFileSync(
    file,
    [
      script,
      `systemd-analyze verify --man=no ${unitPath} 2>&1 | grep sluiceway && exit 9`,
      'stat -c "%n %a %G" /etc/sluiceway/tokens.yaml',
      'echo installed',
      `cd / && STATE_DIRECTORY=${state} exec ${shown}`,
    ].join('\n'),
  );
  const machine = startProcess(t, {
    name: 'machine',
    command: programs.unshare,
    args: ['--mount', '/bin/sh', file],
    env: { PATH: process.env.PATH ?? '', HOME: folder },
    endCode: 0,
  });
  await machine.line('installed', (line) => line === 'installed', 120_000);
  assert.ok(machine.stdout.includes('/etc/sluiceway/tokens.yaml 640 sluiceway-files'));
  const fingerprint = await machine.line(
    'CA',
    (line) => line.startsWith('CA fingerprint '),
    60_000,
  );
  assert.deepEqual(readFileSync(path.join(folder, 'systemctl.log'), 'utf8').trim().split('\n'), [
    'daemon-reload',
    'enable --now sluiceway',
  ]);
  assert.deepEqual(
    registry.asked.filter((one) => !one.endsWith('.tgz')),
    [],
    'nothing but the archives is asked for',
  );
  const status = await eventually(20_000, 'the token opens it', async () => {
    const pin = fingerprint.replace('CA fingerprint ', '');
    const args = ['--token', SECRET, '--auto-tls-fingerprint', pin, '--json'];
    const asked = await run(['status', '--url', `wss://127.0.0.1:${port}`, ...args]);
    assert.equal(asked.code, 0, asked.stderr);
    return asked.stdout;
  });
  assert.match((JSON.parse(status) as { info: { mode: string } }).info.mode, /^tcp/u);
});

test("an image's own firewall lets through each port by its protocol", async (t) => {
  const ports = ['--tcp-ports', '2000-2100', '--udp-ports', '53', '--udp-ports', '3000-3001'];
  const web = ['--http-addr', '0.0.0.0:80', '--https-addr', 'off'];
  const { data } = await userDataOf(['server', '--token', SECRET, ...web, ...ports]);
  const { content } = fileOf(data, '/opt/sluiceway/install.sh');
  const [part = ''] = /^if command -v ufw[\s\S]*?^fi$/mu.exec(content) ?? [];
  const folder = scratchFolder(t);
  const asked = path.join(folder, 'asked');
  const ufw = `#!/bin/sh\n[ "$1" = status ] && echo "Status: active" || echo "$*" >> ${asked}\n`;
  writeFileSync(path.join(folder, 'ufw'), ufw, { mode: 0o755 });
  const done = await runProgram(t, {
    ...{ command: '/bin/sh', args: ['-euc', part] },
    env: { PATH: `${folder}:/usr/bin:/bin` },
  });
  assert.equal(done.code, 0, done.stderr);
  assert.deepEqual(readFileSync(asked, 'utf8').trim().split('\n').sort(), [
    ...['allow 2000:2100/tcp', 'allow 3000:3001/udp', 'allow 53/udp', 'allow 80/tcp'],
    'allow 8123/tcp',
  ]);
});

test('an archive of another digest is not unpacked, and nothing is started', async (t) => {
  const programs = requirePrograms(t, ['unshare', 'npm', 'curl']);
  if (programs === undefined) return;
  if (process.getuid?.() !== 0) return skipOrFail(t, 'needs root, for a mount namespace');
  const folder = scratchFolder(t);
  const registry = await startRegistry(t);
  registry.add('/sluiceway.tgz', path.join(import.meta.dirname, 'bundle.ts'));
  const wrong = `sha512-${'A'.repeat(86)}==`;
  const { data } = await userDataOf([
    ...['server', '--token', SECRET, '--registry', registry.url],
    ...['--package', `${registry.url}/sluiceway.tgz`, '--package-integrity', wrong],
  ]);
  const ended = await ending(t, programs.unshare, folder, machineScript(folder, data));
  assert.notEqual(ended.code, 0);
  assert.match(ended.stderr + ended.stdout, /sluiceway\.tgz: FAILED|computed checksum did NOT/u);
  assert.throws(() => readFileSync(path.join(folder, 'systemctl.log')));
});

async function ending(t: TestContext, unshare: string, folder: string, script: string) {
  const file = path.join(folder, 'machine.sh');
  writeFileSync(file, script);
  return await runProgram(t, {
    ...{ command: unshare, args: ['--mount', '/bin/sh', file], ms: 120_000 },
    env: { PATH: process.env.PATH ?? '', HOME: folder },
  });
}
