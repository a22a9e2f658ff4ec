// Goal: a service that is printed reaches the Unix sockets of its upstreams, or it is said why not.
// Method: what each form says is mounted, as docker-compose and systemd-analyze read it.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { parse, parseAllDocuments } from 'yaml';
import { run } from '../cli/run.ts';
import { runProgram } from '../support/process.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';
import { allValues, oneValue } from './unit-words.ts';

const CLIENT = [
  ...['client', '--token', 'a-token-given-by-value-9876', '--url', 'wss://t.example.com:8123'],
];

function dialling(...sockets: readonly string[]): readonly string[] {
  const [first = '', ...rest] = sockets;
  const ports = rest.map((socket, index) => ['--tcp', `${7000 + index}=unix:${socket}`]);
  return [...CLIENT, '--upstream', `a.example=unix:${first}`, ...ports.flat()];
}

async function generate(form: string, args: readonly string[]): Promise<string> {
  const done = await run(['generate', form, ...args]);
  assert.equal(done.code, 0, done.stderr);
  return done.stdout;
}

interface Service {
  readonly network_mode?: string;
  readonly command: readonly string[];
  readonly volumes: readonly (string | Readonly<Record<string, unknown>>)[];
}

function serviceOf(text: string): Service {
  return (parse(text) as { services: { sluiceway: Service } }).services.sluiceway;
}

describe('compose', () => {
  test('the folder of a socket is mounted where it was, and the network is its own', async (t) => {
    const programs = requirePrograms(t, ['docker-compose']);
    if (programs === undefined) return;
    const odd = '/srv/a:b $c/x.sock';
    const text = await generate('compose', dialling('/run/app/web.sock', '/run/app/db/s', odd));
    assert.equal(serviceOf(text).network_mode, undefined);
    assert.ok(serviceOf(text).command.includes('a.example=unix:/run/app/web.sock'));
    assert.match(text, /^# User 65532 must be able to write to the sockets, /mu);
    const cwd = scratchFolder(t);
    writeFileSync(path.join(cwd, 'docker-compose.yaml'), text);
    const done = await runProgram(t, {
      ...{ command: programs['docker-compose'], args: ['config'], cwd },
      env: { PATH: '/usr/bin:/bin', HOME: cwd },
    });
    assert.equal(done.code, 0, done.stderr);
    const mounted = (folder: string) => ({
      ...{ type: 'bind', source: folder, target: folder, read_only: true },
      bind: { propagation: 'rprivate' },
    });
    assert.deepEqual(
      serviceOf(done.stdout).volumes.filter((one) => typeof one !== 'string'),
      [mounted('/run/app'), mounted('/srv/a:b $$c')],
    );
  });

  test('a folder of everybody, or of the container, is refused with what to do', async () => {
    const rows: readonly (readonly [socket: string, says: string])[] = [
      ['/run/app.sock', '/run is not for its program alone; give the socket a folder of its own'],
      ['/var/run/docker.sock', '/var/run is not for its program alone'],
      ['/tmp/app.sock', '/tmp is not for its program alone'],
      ['/app.sock', '/ is not for its program alone'],
      ['/home/me/app.sock', '/home/me is not for its program alone'],
      ['/run/user/1000/docker.sock', '/run/user/1000 is not for its program alone'],
      ['/app/app.sock', '/app is where a container has files of its own; give the socket a folder'],
      ['/run/secrets/x/app.sock', '/run/secrets/x is where a container'],
      ['/run/a/../b/app.sock', 'write the path without ".."'],
      ['/run/a\u2028b/app.sock', 'a deployment names no path with control characters'],
    ];
    const done = await run(['generate', 'compose', ...dialling(...rows.map(([one]) => one))]);
    assert.deepEqual([done.code, done.stdout], [2, '']);
    for (const [socket, says] of rows) {
      const line = `sluiceway: ${JSON.stringify(`unix:${socket}`)}: ${says}`;
      assert.ok(done.stderr.includes(line), `${line}\n${done.stderr}`);
    }
  });
});

interface Pod {
  readonly containers: readonly [{ readonly volumeMounts: readonly { readonly name: string }[] }];
  readonly volumes: readonly { readonly name: string }[];
}

test('k8s: a socket is in a volume of the pod, for a container that makes it', async () => {
  const text = await generate('k8s', dialling('/run/app.sock', '/run/app/x', '/tmp/db/s'));
  const [, deployment] = parseAllDocuments(text).map((one) => one.toJS());
  const pod = (deployment as { spec: { template: { spec: Pod } } }).spec.template.spec;
  const isOfSocket = ({ name }: { readonly name: string }) => name.startsWith('socket-');
  assert.deepEqual(pod.volumes.filter(isOfSocket), [
    { name: 'socket-1', emptyDir: { sizeLimit: '16Mi' } },
    { name: 'socket-2', emptyDir: { sizeLimit: '16Mi' } },
  ]);
  assert.deepEqual(pod.containers[0].volumeMounts.filter(isOfSocket), [
    { name: 'socket-1', mountPath: '/run', readOnly: true },
    { name: 'socket-2', mountPath: '/tmp/db', readOnly: true },
  ]);
  assert.match(text, /^# \/tmp\/db is the pod's: add the container .* in volume socket-2; /mu);
  assert.doesNotMatch(text, /127\.0\.0\.1 is the pod itself|[&*]a1/u);
  for (const [socket, says] of [
    ['/etc/sluiceway/s', /: \/etc\/sluiceway is where a container has files of its own; give/u],
    ['/srv/a:b/s', /: a volume cannot be at \/srv\/a:b, which has a colon; give/u],
  ] as const) {
    const refused = await run(['generate', 'k8s', ...dialling(socket)]);
    assert.deepEqual([refused.code, refused.stdout], [2, '']);
    assert.match(refused.stderr, says);
  }
});

describe('systemd', () => {
  test('a socket where the service sees nothing has its folder let in', async () => {
    const unitOf = (...sockets: readonly string[]) => generate('systemd', dialling(...sockets));
    const plain = await unitOf('/run/app.sock');
    assert.deepEqual(allValues(plain, 'BindReadOnlyPaths'), []);
    assert.equal(oneValue(plain, 'ProtectHome'), 'yes');
    assert.match(plain, /^# Where not everyone may write to a Unix socket: Supple/mu);
    const inTmp = await unitOf('/run/app.sock', '/tmp/app/a.sock', '/var/tmp/b/b.sock');
    assert.deepEqual(allValues(inTmp, 'BindReadOnlyPaths'), ['/tmp/app', '/var/tmp/b']);
    assert.equal(oneValue(inTmp, 'ProtectHome'), 'yes');
    const inRun = await unitOf('/var/run/user/1000/podman/podman.sock');
    assert.deepEqual(allValues(inRun, 'BindReadOnlyPaths'), ['/var/run/user/1000/podman']);
    assert.equal(oneValue(inRun, 'ProtectHome'), 'tmpfs');
    const data = parse(await generate('cloud-init', dialling('/home/me/app/a.sock')));
    const files = (data as { write_files: { path: string; content: string }[] }).write_files;
    const unit = files.find((file) => file.path.endsWith('.service'))?.content ?? '';
    assert.equal(oneValue(unit, 'BindReadOnlyPaths'), '/home/me/app');
    assert.equal(oneValue(unit, 'ProtectHome'), 'tmpfs');
    const refused = await run(['generate', 'systemd', ...dialling('/tmp/a.sock')]);
    assert.deepEqual([refused.code, refused.stdout], [2, '']);
    assert.match(refused.stderr, /"unix:\/tmp\/a\.sock": \/tmp is not for its program alone/u);
  });

  test('systemd reads the folder as it was given, whatever it has', async (t) => {
    const programs = requirePrograms(t, ['systemd-analyze']);
    if (programs === undefined) return;
    const file = path.join(scratchFolder(t), 'sluiceway.service');
    const verify = async (unit: string) => {
      writeFileSync(file, unit);
      const args = ['verify', '--man=no', file];
      const done = await runProgram(t, { command: programs['systemd-analyze'], args });
      return done.stderr.split('\n').filter((line) => line.includes('BindReadOnlyPaths'));
    };
    for (const folder of ['/home/me/a:b c"d\\e 5%\'', '/home/me/50%', '/tmp/a\\b']) {
      const args = [...dialling(`${folder}/x`), '--program', process.execPath];
      const unit = await generate('systemd', args);
      assert.deepEqual(await verify(unit), []);
      // Of one that it refuses it says what it has read.
      const [told = ''] = await verify(unit.replace(/^(BindReadOnlyPaths="?)\//mu, '$1'));
      assert.ok(told.endsWith(`ignoring: ${folder.slice(1)}`), told);
    }
  });
});

test('a client of a server or a proxy on this machine is on its network', async () => {
  const networkOf = async (...args: readonly string[]) => {
    const all = [...CLIENT.slice(0, 3), '--upstream', 'a.example=http://web:80', ...args];
    return serviceOf(await generate('compose', all)).network_mode;
  };
  const far = ['--url', 'wss://t.example.com:8123'];
  assert.equal(await networkOf('--url', 'wss://localhost:8123'), 'host');
  assert.equal(await networkOf(...far, '--url', 'ws://[::1]:8123'), 'host');
  assert.equal(await networkOf(...far, '--proxy', 'socks5://127.0.0.1:1080'), 'host');
  assert.equal(await networkOf(...far, '--proxy', 'http://proxy.example:3128'), undefined);
});
