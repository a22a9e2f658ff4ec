// Goal: what the steps for Kubernetes put into a Secret or ConfigMap is what the pod then reads,
// whatever paths there are. Method: kubectl runs the steps as a dry run; a folder is laid out as
// kubelet's atomic writer does, and served from where the arguments say.

import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { Folder } from '../../src/files/folder.ts';
import { run } from '../cli/run.ts';
import { runProgram } from '../support/process.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';

const TOKEN = 'a-token-given-by-value-9876';

interface Mounting {
  readonly args: readonly string[];
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
}

async function generate(args: readonly string[]): Promise<string> {
  const done = await run(['generate', 'k8s', ...args]);
  assert.equal(done.code, 0, done.stderr);
  return done.stdout;
}

test('kubectl takes each file and folder from its path', async (t) => {
  const programs = requirePrograms(t, ['kubectl']);
  if (programs === undefined) return;
  const folder = scratchFolder(t);
  writeFileSync(path.join(folder, 'a,b "c"'), `${TOKEN}\n`);
  mkdirSync(path.join(folder, 'p,"q'));
  writeFileSync(path.join(folder, 'p,"q', '404.html'), 'not here');
  const text = await generate([
    ...['server', '--token-file', `${folder}/a,b "c"`, '--error-pages', `${folder}/p,"q`],
  ]);
  const steps = [...text.matchAll(/^#\u0020{3}kubectl (.+)$/gmu)].map(([, step = '']) => step);
  const script = steps.map((step) => `"$KUBECTL" ${step} --dry-run=client -o yaml; echo ---`);
  const done = await runProgram(t, {
    ...{ command: '/bin/sh', args: ['-ec', script.join('\n')], cwd: folder },
    env: { PATH: '/usr/bin:/bin', HOME: folder, KUBECTL: programs.kubectl },
  });
  assert.deepEqual([done.code, done.stderr], [0, '']);
  const [secret, map] = parseAllDocuments(done.stdout).map((one) => one.toJS());
  const base64 = (held: string) => Buffer.from(held).toString('base64');
  assert.equal((secret as { data: Record<string, string> }).data.token, base64(`${TOKEN}\n`));
  assert.deepEqual((map as { data: unknown }).data, { '404.html': 'not here' });
});

test('a path that kubectl would not take is refused', async () => {
  const args = ['--token', TOKEN, '--error-pages', 'a=b'];
  const done = await run(['generate', 'k8s', 'server', ...args]);
  assert.deepEqual([done.code, done.stdout], [2, '']);
  assert.match(done.stderr, /^sluiceway: a=b: kubectl takes no path with "="; give/mu);
});

test('an upstream serves the files of a ConfigMap', async (t) => {
  const text = await generate([
    ...['client', '--url', 'wss://t.example.com', '--token', TOKEN],
    ...['--upstream', 'a.example=fileserver:www'],
  ]);
  const [, deployment] = parseAllDocuments(text).map((one) => one.toJS());
  const { template } = (deployment as { spec: { template: unknown } }).spec;
  const [container] = (template as { spec: { containers: [Mounting] } }).spec.containers;
  const mount = container.volumeMounts.find(({ name }) => name === 'folder-1')?.mountPath ?? '';
  const upstream = container.args.find((one) => one.startsWith('a.example=fileserver:')) ?? '';
  const served = upstream.slice('a.example=fileserver:'.length);
  assert.ok(mount !== '' && served.startsWith(mount), `${served} in ${mount}`);
  const volume = scratchFolder(t);
  const written = path.join(volume, '..2026_12_03_06_00_00.1');
  mkdirSync(written);
  writeFileSync(path.join(written, 'index.html'), 'here');
  symlinkSync(path.basename(written), path.join(volume, '..data'));
  symlinkSync('..data/index.html', path.join(volume, 'index.html'));
  const folder = new Folder(`${volume}${served.slice(mount.length)}`, false);
  const found = await folder.open(['index.html']);
  assert.ok(found?.kind === 'file', 'it is not there');
  await found.handle.close();
});
