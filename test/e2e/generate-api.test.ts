// What `generate k8s` prints, before a real API server: each object of each variant is applied as a
// dry run with strict fields, and its pod admitted where the level `restricted` is enforced.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { run } from '../cli/run.ts';
import type { Manifest } from '../support/charts.ts';
import { dryRun, makeRestricted } from '../support/dry-run.ts';
import { type Kube, startKube } from '../support/kube.ts';
import { scratchFolder } from '../support/programs.ts';

const NAMESPACE = 'tunnels';
const LONGEST = `a${'-b'.repeat(15)}`;
const CLIENT = ['client', '--url', 'wss://t.example.com:8123'];
const TOKEN_FILE = ['--token-file', 'the token'];
const UPSTREAM = ['--upstream', 'a.example=http://web:80'];

/** What changes the shape of the objects, each alone and some together. */
const VARIANTS: Readonly<Record<string, readonly string[]>> = {
  'a server': ['server'],
  'a server with the longest name': ['server', '--name', LONGEST],
  'a server with the shortest name': ['server', '--name', 'a'],
  'a server with a namespace and an image': [
    ...[
      'server',
      '--namespace',
      NAMESPACE,
      '--image',
      `r.example:5000/a/b@sha256:${'0'.repeat(64)}`,
    ],
  ],
  'a server on low ports': ['server', '--http-addr', ':80', '--https-addr', ':443'],
  'a server on one port': ['server', '--http-addr', 'off', '--tcp-ports', 'off'],
  'a server with plain control': ['server', '--no-auto-tls'],
  'a server with TCP and UDP on the same ports': [
    ...['server', '--tcp-ports', '8123,65500-65535', '--udp-ports', '8123,65500-65535'],
  ],
  'a server with a hundred ports': ['server', '--tcp-ports', '10000-10099', '--udp-ports', 'off'],
  'a server with files of one name': [
    ...['server', '--tls-cert', 'a/c.pem', '--tls-key', 'b/c.pem', '--client-ca', 'a/c.pem'],
    ...['--tokens-file', 'tokens.yaml', '--allow-ips', '@office list.txt'],
  ],
  'a server with odd names of files': [
    ...['server', '--tls-cert', `${'c'.repeat(200)}.pem`, '--tls-key', '..key..'],
    ...['--control-allow-ips', '@.a_b..c'],
  ],
  'a server with folders': ['server', '--error-pages', 'pages'],
  'a server with an odd folder': ['server', '--error-pages', '.Pages_of Ours.'],
  'a server with a folder of the image': ['server', '--error-pages', 'sluiceway'],
  'a server with a long folder': ['server', '--error-pages', 'p'.repeat(200)],
  'a server with certificates of names': [
    ...['server', '--https-cert', 'a.example=a/c.pem,b/c.pem', '--letsencrypt-domain', 'b.example'],
  ],
  'a server that drains for an hour': ['server', '--drain-delay', '30m', '--drain-timeout', '30m'],
  'a client': [...CLIENT, ...UPSTREAM],
  'a client that remembers nothing': [
    ...[...CLIENT, ...UPSTREAM, '--auto-tls-fingerprint', `sha256:${'0'.repeat(64)}`],
  ],
  'a client with the longest name': [...CLIENT, ...UPSTREAM, '--name', LONGEST],
  'a client with secrets by value': [
    ...[...CLIENT, '--basic-auth', 'ann:pass word', '--proxy', 'http://bob:x@p.example:1'],
    ...[
      '--upstream',
      'a.example=http://web:80;basic-auth=eve:y',
      '--request-header-add',
      'A: $(B)',
    ],
  ],
  'a client that serves folders': [
    ...[...CLIENT, '--upstream', 'a.example=fileserver:/srv/www,b.example=fileserver:/data/WWW'],
    ...['--upstream', 'c.example=fileserver:/srv/.dot'],
  ],
  'a client of sockets': [
    ...[...CLIENT, '--upstream', 'a.example=unix:/run/app.sock', '--tcp'],
    ...['22=unix:/srv/A b.c/x.sock'],
  ],
  'a client with low ports of its own': [
    ...CLIENT,
    '--local',
    '53:dns.svc:53',
    '--local-socks',
    '1',
  ],
};

test('an API server accepts what generate prints', async (t) => {
  const kube = await startKube(t);
  if (kube === undefined) return;
  await makeRestricted(kube, NAMESPACE);
  // Other files are of the machine that is deployed to.
  const file = path.join(scratchFolder(t), 'server.yaml');
  writeFileSync(file, 'access-log: true\nhttp-addr: ":8080"\n');
  const all = { ...VARIANTS, 'a server with a file of its own': ['server', '--config', file] };
  for (const [what, args] of Object.entries(all)) {
    await t.test(what, (t) => checkVariant(t, kube, args));
  }
  await t.test('and refuses what is wrong', async () => {
    const [first] = await manifestsOf(['client', ...TOKEN_FILE, ...CLIENT.slice(1), ...UPSTREAM]);
    assert.ok(first !== undefined);
    const wrong = { ...first, spek: {} };
    await assert.rejects(dryRun(kube, wrong, NAMESPACE), /spek/u);
  });
});

async function manifestsOf(args: readonly string[]): Promise<readonly Manifest[]> {
  const done = await run(['generate', 'k8s', ...args]);
  assert.equal(done.code, 0, done.stderr);
  return parseAllDocuments(done.stdout).map((document) => document.toJS() as Manifest);
}

async function checkVariant(t: TestContext, kube: Kube, args: readonly string[]): Promise<void> {
  const manifests = await manifestsOf([...args, ...TOKEN_FILE]);
  const kinds = manifests.map(({ kind }) => kind);
  assert.equal(kinds.filter((kind) => kind === 'Deployment').length, 1);
  assert.equal(kinds.includes('Service'), args[0] === 'server');
  for (const manifest of manifests) await dryRun(kube, manifest, NAMESPACE);
  t.diagnostic(kinds.join(', '));
}
