// Goal: a unit runs exactly what was given, lets the service do little, and holds no secret.
// Method: the program prints it, systemd-analyze judges it, and its own command line is run.

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { run } from '../cli/run.ts';
import { eventually } from '../support/deadline.ts';
import { runProgram, startProcess } from '../support/process.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';
import { ENTRY } from '../support/tunnel.ts';
import { allValues, commandWords, oneValue } from './unit-words.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
/** What systemd-analyze calls "OK" ends at 5, and most services have 9. */
const EXPOSURE_MAX = 3;
const SECRET = 'a-token-given-by-value-9876';
const LOGIN = 'ann:swordfish-3';
const CLIENT = ['client', '--url', 'wss://tunnel.example.com:8123', '--token', SECRET];

async function unitOf(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const done = await run(['generate', 'systemd', ...args], env);
  assert.equal(done.code, 0, done.stderr);
  return done.stdout;
}

const UNITS: Readonly<Record<string, readonly string[]>> = {
  'a server': ['server', '--token-file', '/etc/sluiceway/token'],
  'a server on ports below 1024': [
    ...['server', '--token-file', 'token', '--http-addr', ':80', '--tcp-ports', '25,1024-65535'],
    ...['--tokens-file', '/srv/tokens.yaml', '--tls-cert', 'a b.pem', '--tls-key', 'k.pem'],
  ],
  'a client': [...CLIENT, '--upstream', `a.example=http://127.0.0.1:3000;basic-auth=${LOGIN}`],
};

for (const [what, args] of Object.entries(UNITS)) {
  test(`systemd accepts the unit of ${what}, with an exposure of at most ${EXPOSURE_MAX}`, async (t) => {
    const programs = requirePrograms(t, ['systemd-analyze']);
    if (programs === undefined) return;
    const file = path.join(scratchFolder(t), 'sluiceway.service');
    writeFileSync(file, await unitOf([...args, '--program', `${process.execPath} ${ENTRY}`]));
    const analyze = (...words: string[]) =>
      runProgram(t, { command: programs['systemd-analyze'], args: words });
    const verified = await analyze('verify', '--man=no', file);
    const about = verified.stderr.split('\n').filter((line) => line.includes('sluiceway'));
    assert.deepEqual([verified.code, about], [0, []], verified.stderr);
    const judged = await analyze('security', '--offline=true', '--no-pager', file);
    const exposure = Number(
      /exposure level for sluiceway\.service: ([\d.]+)/u.exec(judged.stdout)?.[1],
    );
    assert.ok(exposure > 0 && exposure <= EXPOSURE_MAX, `exposure is ${exposure}`);
    t.diagnostic(`exposure of ${what}: ${exposure}`);
  });
}

test('every option reaches the command line as it was given, whatever it holds', async () => {
  const field = 'X-Odd: 50% of $HOME, "quoted" \\ and a;b';
  const args = [
    ...['--request-header-add', field, '--upstream', '*=http://127.0.0.1:1', '--tcp', '2222'],
    ...['--tcp', '8000-8001=db:9000-9001', '--no-auto-tls', '--once'],
  ];
  const env = { SLUICEWAY_MAX_RETRY: '7' };
  const unit = await unitOf([...CLIENT, ...args, '--program', '/usr/bin/sluiceway'], env);
  const words = commandWords(oneValue(unit, 'ExecStart'), { CREDENTIALS_DIRECTORY: '/c' });
  assert.deepEqual(words, [
    ...['/usr/bin/sluiceway', 'client', '--url', 'wss://tunnel.example.com:8123'],
    ...['--token-file', '/c/token', '--no-auto-tls', '--upstream', '*=http://127.0.0.1:1'],
    ...['--tcp', '2222', '--tcp', '8000-8001=db:9000-9001', '--request-header-add', field],
    ...['--once', '--max-retry', '7'],
  ]);
});

test('a word keeps what would end its line', async () => {
  const hook = 'present\t"a"\r\nb';
  const args = ['--letsencrypt-domain', '*.a.example', '--letsencrypt-dns-hook', hook];
  const unit = await unitOf(['server', '--token', SECRET, ...args, '--program', '/usr/bin/s']);
  assert.ok(!/[\t\r]/u.test(unit), unit);
  const words = commandWords(oneValue(unit, 'ExecStart'), { CREDENTIALS_DIRECTORY: '/c' });
  assert.equal(words[words.indexOf('--letsencrypt-dns-hook') + 1], hook);
});

test('a token is loaded from the path that was given, or from one that systemd takes', async (t) => {
  const loadedFrom = async (token: string) => {
    const unit = await unitOf(['server', '--token-file', token, '--program', process.execPath]);
    return { unit, from: oneValue(unit, 'LoadCredential') };
  };
  const spaced = await loadedFrom('/etc/my keys/50%/token');
  assert.equal(spaced.from, 'token:/etc/my keys/50%%/token');
  const own = 'token:/etc/sluiceway/token';
  const units = [spaced.unit];
  for (const odd of ['/etc/x/../token', '/etc//token', '/etc/token ', '/srv/../home/me/token']) {
    const { unit, from } = await loadedFrom(odd);
    assert.equal(from, own, odd);
    units.push(unit);
  }
  const programs = requirePrograms(t, ['systemd-analyze']);
  if (programs === undefined) return;
  const file = path.join(scratchFolder(t), 'sluiceway.service');
  for (const unit of units) {
    writeFileSync(file, unit);
    const verify = ['verify', '--man=no', file];
    const { stderr } = await runProgram(t, {
      command: programs['systemd-analyze'],
      args: verify,
    });
    assert.ok(!stderr.includes('Credential source'), stderr);
  }
});

test('a file of tokens for client and visitors is both: a credential, and a shared file', async () => {
  const file = '/etc/both/token';
  const upstream = `a.example=http://127.0.0.1:3000;bearer-token-file=${file}`;
  const unit = await unitOf([
    ...['client', '--url', 'wss://t.example.com', '--token-file', file, '--upstream', upstream],
    ...['--program', '/usr/bin/s'],
  ]);
  const words = commandWords(oneValue(unit, 'ExecStart'), { CREDENTIALS_DIRECTORY: '/c' });
  assert.deepEqual(words.slice(-4), ['--token-file', '/c/token', '--upstream', upstream]);
  assert.equal(oneValue(unit, 'LoadCredential'), `token:${file}`);
  assert.match(unit, /chgrp -R sluiceway-files \/etc\/both\/token /u);
});

test('a secret that was given by value is not in the unit, and the unit says where it goes', async () => {
  const upstream = `a.example=http://127.0.0.1:3000;basic-auth=${LOGIN}`;
  const proxy = `http://bob:${LOGIN}@proxy.example:3128`;
  const args = [...CLIENT, '--upstream', upstream, '--proxy', proxy];
  const given = await unitOf(args);
  const byEnvironment = await unitOf(['server'], { SLUICEWAY_TOKEN: SECRET });
  const named = await unitOf(['server', '--token-env', 'MINE'], { MINE: SECRET });
  for (const unit of [given, byEnvironment, named]) {
    assert.ok(!unit.includes(SECRET) && !unit.includes('swordfish'), unit);
    assert.deepEqual(allValues(unit, 'LoadCredential'), ['token:/etc/sluiceway/token']);
    assert.match(unit, /install -D -m 600 \/dev\/stdin \/etc\/sluiceway\/token/u);
  }
  assert.equal(oneValue(given, 'EnvironmentFile'), '/etc/sluiceway/sluiceway.env');
  assert.match(given, /SLUICEWAY_PROXY=…, SLUICEWAY_UPSTREAM=…/u);
});

test('files that a service cannot see are asked for in its own folder, others stay', async () => {
  const unit = await unitOf([
    ...['server', '--token-file', 'x/token', '--name', 'edge', '--tls-cert', '/home/a/c.pem'],
    ...['--tls-key', '/srv/c.pem', '--https-cert', 'a.example=b/c.pem,/home/a/k.pem'],
    ...['--allow-ips', '@office.txt,10.0.0.0/8', '--letsencrypt-dir', '/home/a/le'],
    ...['--letsencrypt-domain', 'b.example', '--tokens-file', 'tokens.yaml'],
    ...['--program', '/usr/bin/sluiceway'],
  ]);
  const words = commandWords(oneValue(unit, 'ExecStart'), { CREDENTIALS_DIRECTORY: '/c' });
  const pairs = [
    ['--tls-cert', '/etc/edge/2-c.pem'],
    ['--tls-key', '/srv/c.pem'],
    ['--https-cert', 'a.example=/etc/edge/c.pem,/etc/edge/k.pem'],
    ['--allow-ips', '@/etc/edge/office.txt'],
    ['--allow-ips', '10.0.0.0/8'],
    ['--letsencrypt-dir', '/var/lib/edge/le'],
    ['--tokens-usage-file', '/var/lib/edge/tokens.usage.json'],
  ];
  const text = words.join(' ');
  for (const pair of pairs) assert.ok(text.includes(pair.join(' ')), `${pair.join(' ')}\n${text}`);
  assert.equal(oneValue(unit, 'SupplementaryGroups'), 'edge-files');
  assert.match(unit, /chgrp -R edge-files \/srv\/c\.pem && chmod -R g\+rX,o= \/srv\/c\.pem/u);
});

test('a folder that is hidden as a whole, or by another name, is asked for as well', async () => {
  const unit = await unitOf([
    ...['server', '--token', SECRET, '--error-pages', '/tmp', '--program', '/usr/bin/s'],
    ...['--tls-cert', '/var/run/user/1000/c.pem', '--tls-key', '/var/run/app/k.pem'],
  ]);
  const words = commandWords(oneValue(unit, 'ExecStart'), { CREDENTIALS_DIRECTORY: '/c' });
  const placeOf = (flag: string) => words[words.indexOf(flag) + 1];
  assert.equal(placeOf('--error-pages'), '/etc/sluiceway/tmp');
  assert.equal(placeOf('--tls-cert'), '/etc/sluiceway/c.pem');
  assert.equal(placeOf('--tls-key'), '/var/run/app/k.pem');
});

test('what is kept has a place of its own, and use of tokens where it may be written', async (t) => {
  const file = path.join(scratchFolder(t), 'server.yaml');
  const placesOf = async (config: string, args: readonly string[]) => {
    writeFileSync(file, config);
    const all = ['server', '--token', SECRET, '--config', file, ...args, '--program', '/usr/bin/s'];
    const words = commandWords(oneValue(await unitOf(all), 'ExecStart'), {
      CREDENTIALS_DIRECTORY: '/c',
    });
    return words.slice(words.indexOf('--config') + 2).join(' ');
  };
  const token = '--token-file /c/token';
  const tokens = 'tokens-file: /srv/tokens.yaml\n';
  const usage = '--tokens-usage-file /var/lib/sluiceway/tokens.usage.json';
  assert.equal(await placesOf(tokens, []), `${token} ${usage}`);
  const own = `${tokens}tokens-usage-file: /var/lib/sluiceway/used.json\n`;
  assert.equal(await placesOf(own, []), token);
  const domain = ['--letsencrypt-domain', 'a.example'];
  const folders = ['--auto-tls', '--letsencrypt-dir', 'a/tls', '--auto-tls-dir', 'b/tls'];
  const placed = await placesOf('', [...domain, ...folders]);
  assert.match(placed, /--letsencrypt-dir \/var\/lib\/sluiceway\/tls /u);
  assert.match(placed, /--auto-tls-dir \/var\/lib\/sluiceway\/2-tls /u);
  const above = await placesOf('', ['--auto-tls', '--auto-tls-dir', '..']);
  assert.match(above, /--auto-tls-dir \/var\/lib\/sluiceway\/auto-tls-dir /u);
});

test('a folder that is served is seen by the service, wherever it was', async () => {
  const unit = await unitOf([
    ...[...CLIENT, '--program', '/usr/bin/sluiceway', '--upstream'],
    'a.example=fileserver:/home/me/www;host-header=x,b.example=fileserver:///srv/www',
  ]);
  const words = commandWords(oneValue(unit, 'ExecStart'), { CREDENTIALS_DIRECTORY: '/c' });
  assert.deepEqual(words.slice(-4), [
    ...['--upstream', 'a.example=fileserver:/etc/sluiceway/www;host-header=x'],
    ...['--upstream', 'b.example=fileserver:///srv/www'],
  ]);
  assert.match(unit, /chgrp -R sluiceway-files \/srv\/www && chmod -R g\+rX \/srv\/www$/mu);
});

test('the command line of a unit runs, and is given the time that its drain takes', async (t) => {
  const folder = scratchFolder(t);
  writeFileSync(path.join(folder, 'token'), `${SECRET}\n`);
  mkdirSync(path.join(folder, 'state'));
  const unit = await unitOf([
    ...['server', '--token-file', path.join(folder, 'token'), '--drain-delay', '1s'],
    ...['--drain-timeout', '20500ms', '--control-addr', '127.0.0.1:0', '--auto-tls'],
    ...['--http-addr', 'off', '--admin-addr', '127.0.0.1:0', '--log-format', 'json'],
    ...['--program', `${process.execPath} ${ENTRY}`],
  ]);
  assert.equal(oneValue(unit, 'TimeoutStopSec'), '32');
  const [command = '', ...args] = commandWords(oneValue(unit, 'ExecStart'), {
    CREDENTIALS_DIRECTORY: folder,
  });
  const env = { PATH: '/usr/bin:/bin', STATE_DIRECTORY: path.join(folder, 'state') };
  const server = startProcess(t, { name: 'server', command, args, env, endCode: 0 });
  const line = await server.line('listening', (one) => one.includes('"name":"admin"'));
  const { address } = JSON.parse(line) as { address: string };
  await eventually(10_000, 'it is ready', async () => {
    assert.equal((await fetch(`http://${address}/readyz`)).status, 200);
  });
  await server.line('fingerprint', (one) => one.startsWith('CA fingerprint'));
});

test('the readme shows the unit that its command prints', async () => {
  const readme = readFileSync(path.join(ROOT, 'README.md'), 'utf8');
  const command = /^sluiceway (generate systemd server(?:[^\\\n]|\\\n)*)/mu.exec(readme)?.[1];
  assert.ok(command !== undefined, 'the readme has no such command');
  const words = [...command.replaceAll('\\\n', ' ').matchAll(/'([^']*)'|(\S+)/gu)];
  const done = await run(words.map(([, quoted, plain]) => quoted ?? plain ?? ''));
  assert.equal(done.code, 0, done.stderr);
  assert.ok(readme.includes(`\`\`\`ini\n${done.stdout}\`\`\`\n`), `expected:\n${done.stdout}`);
});

test('what cannot become a unit is refused with code 2, and nothing is printed', async () => {
  const table: readonly (readonly [readonly string[], RegExp])[] = [
    [['server'], /a token is required/u],
    [['server', '--token', 'x', '--http-adr', ':1'], /did you mean --http-addr\?/u],
    [['server', '--token', 'x', '--name', 'A b'], /is no name of a service/u],
    [['server', '--token', 'x', '--program', 'sluiceway'], /needs the whole path/u],
    [['server', '--token', 'x', '--image', 'y'], /is an option of generate compose, /u],
    [['client', '--token', 'x'], /--url is required/u],
    [['status'], /unknown command|server|client/u],
  ];
  for (const [args, wanted] of table) {
    const { code, stdout, stderr } = await run(['generate', 'systemd', ...args]);
    assert.deepEqual([code, stdout], [2, ''], args.join(' '));
    assert.match(stderr, wanted);
  }
});
