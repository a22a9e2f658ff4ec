// Goal: the steps that a deployment prints do what they say when they are pasted. Method: a shell
// reads them, with functions in place of the programs that write down what they were given.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { run } from '../cli/run.ts';
import { runProgram } from '../support/process.ts';
import { scratchFolder } from '../support/programs.ts';

const PROGRAMS = ['install', 'cp', 'chgrp', 'chmod', 'chown', 'groupadd', 'systemctl', 'kubectl'];
const STEP = /^#\u0020{3}(.+)$/gmu;
const PAGES = '/home/me/my pages';
const SERVER = [
  ...['server', '--token-file', "/x/to'ken $(id)", '--error-pages', PAGES],
  ...['--tls-cert', '-chain;id', '--tls-key', '~/key'],
];

for (const form of ['systemd', 'compose', 'k8s']) {
  test(`${form}: a path that ends a line is refused`, async () => {
    for (const end of ['\n', '\u0085', '\u2028']) {
      const done = await run(['generate', form, 'server', '--token-file', `/x/a${end}ExecStart=b`]);
      assert.deepEqual([done.code, done.stdout], [2, '']);
      assert.match(
        done.stderr,
        /^sluiceway: "\/x\/a[^E]+ExecStart=b": a deployment names no path/mu,
      );
    }
  });
}

describe('what a shell makes of the steps', () => {
  const rows: Readonly<Record<string, readonly (readonly string[])[]>> = {
    systemd: [
      ['groupadd', '--system', 'sluiceway-files'],
      [
        ...['install', '-D', '-m', '640', '-g', 'sluiceway-files'],
        ...['./-chain;id', '/etc/sluiceway/file--chain-id'],
      ],
      [
        ...['install', '-D', '-m', '640', '-g', 'sluiceway-files'],
        ...['~/key', '/etc/sluiceway/key'],
      ],
      ['install', '-D', '-m', '600', 'token', "/x/to'ken $(id)"],
      ['install', '-d', '/etc/sluiceway'],
      ['cp', '-r', PAGES, '/etc/sluiceway/my-pages'],
      ['chgrp', '-R', 'sluiceway-files', '/etc/sluiceway/my-pages'],
      ['chmod', '-R', 'g+rX', '/etc/sluiceway/my-pages'],
      ['systemctl', 'daemon-reload'],
      ['systemctl', 'enable', '--now', 'sluiceway'],
    ],
    compose: [
      ['chown', '-R', '65532', './-chain;id', './~/key', "/x/to'ken $(id)", '/home/me/my pages'],
    ],
    k8s: [
      [
        ...['kubectl', 'create', 'secret', 'generic', 'sluiceway'],
        ...['--from-file=file--chain-id=-chain;id', '--from-file=key=~/key'],
        "--from-file=token=/x/to'ken $(id)",
      ],
      ['kubectl', 'create', 'configmap', 'sluiceway-folder-1', `--from-file=${PAGES}`],
    ],
  };
  for (const [form, wanted] of Object.entries(rows)) {
    test(form, async (t) => {
      const done = await run(['generate', form, ...SERVER]);
      assert.equal(done.code, 0, done.stderr);
      assert.deepEqual(await readByShell(t, stepsOf(done.stdout)), wanted);
    });
  }
});

test('a folder that stays where it is is shared there, and plain words have no quotes', async (t) => {
  const spaced = ['server', '--token-file', 'token', '--error-pages', '/srv/my pages'];
  const done = await run(['generate', 'systemd', ...spaced]);
  const read = await readByShell(t, stepsOf(done.stdout));
  assert.deepEqual(read.slice(1, 4), [
    ['install', '-D', '-m', '600', 'token', '/etc/sluiceway/token'],
    ['chgrp', '-R', 'sluiceway-files', '/srv/my pages'],
    ['chmod', '-R', 'g+rX', '/srv/my pages'],
  ]);
  assert.ok(stepsOf(done.stdout).includes('install -D -m 600 token /etc/sluiceway/token'));
});

function stepsOf(text: string): readonly string[] {
  return [...text.matchAll(STEP)].map(([, step = '']) => step);
}

async function readByShell(
  t: Parameters<typeof scratchFolder>[0],
  steps: readonly string[],
): Promise<readonly (readonly string[])[]> {
  const told = (name: string) => `${name}() { printf '%s\\t' ${name} "$@"; echo; }`;
  const script = [...PROGRAMS.map(told), ...steps].join('\n');
  const cwd = scratchFolder(t);
  const env = { PATH: '/usr/bin:/bin', HOME: '/h' };
  const done = await runProgram(t, { command: '/bin/sh', args: ['-c', script], cwd, env });
  assert.deepEqual([done.code, done.stderr], [0, '']);
  const lines = done.stdout.split('\n').filter((line) => line !== '');
  return lines.map((line) => line.split('\t').slice(0, -1));
}
