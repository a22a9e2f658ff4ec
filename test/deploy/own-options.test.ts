// Goal: options of `generate` itself come from flags, variables and a file of their own, and what
// is wrong with them is said together with what is wrong with those of the server. Method: the
// program prints the same deployment in each way.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { variableOf } from '../../src/config/merge.ts';
import { SCHEMA } from '../../src/config/schema.ts';
import { run } from '../cli/run.ts';
import { scratchFolder } from '../support/programs.ts';

const SECRET = 'a-token-given-by-value-9876';
const INTEGRITY = `sha512-${'A'.repeat(86)}==`;

/** Options of each form, all of them, with what each must leave in the deployment. */
const FORMS: Readonly<Record<string, readonly (readonly [string, string, RegExp])[]>> = {
  systemd: [
    ['name', 'edge', /^StateDirectory=edge$/mu],
    ['program', '/opt/node /opt/main.js', /^ExecStart=\/opt\/node \/opt\/main\.js server/mu],
  ],
  compose: [
    ['name', 'edge', /\bedge\b/u],
    ['image', 'registry.example/sluiceway:1', /image: registry\.example\/sluiceway:1$/mu],
  ],
  k8s: [
    ['name', 'edge', /^ {2}name: edge$/mu],
    ['image', 'registry.example/sluiceway:1', /image: registry\.example\/sluiceway:1$/mu],
    ['namespace', 'tunnels', /^ {2}namespace: tunnels$/mu],
  ],
  'cloud-init': [
    ['name', 'edge', /\/etc\/systemd\/system\/edge\.service/u],
    ['package', 'https://a.example/x.tgz', /fetch 'https:\/\/a\.example\/x\.tgz'/u],
    ['package-integrity', INTEGRITY, /fetch 'https:\/\/a\.example\/x\.tgz' 0{128} /u],
    ['registry', 'https://mirror.example', /--registry 'https:\/\/mirror\.example'/u],
  ],
};

function fileWith(t: TestContext, rows: readonly (readonly [string, string, RegExp])[]): string {
  const file = path.join(scratchFolder(t), 'generate.yaml');
  writeFileSync(file, rows.map(([name, value]) => `${name}: ${JSON.stringify(value)}\n`).join(''));
  return file;
}

for (const [form, rows] of Object.entries(FORMS)) {
  test(`options of ${form} are the same as flags, as variables, and in a file`, async (t) => {
    const print = async (args: readonly string[], env: Readonly<Record<string, string>> = {}) => {
      const command = ['generate', form, 'server', '--token', SECRET];
      const { code, stdout, stderr } = await run([...command, ...args], env);
      assert.equal(code, 0, stderr);
      return stdout;
    };
    const flags = await print(rows.flatMap(([name, value]) => [`--${name}`, value]));
    for (const [name, , wanted] of rows) assert.match(flags, wanted, name);
    const variables = rows.map(([name, value]) => [variableOf(name), value]);
    assert.equal(await print([], Object.fromEntries(variables)), flags);
    const file = fileWith(t, rows);
    assert.equal(await print(['--generate-config', file]), flags);
    assert.equal(await print([], { SLUICEWAY_GENERATE_CONFIG: file }), flags);
    assert.ok(!flags.includes(file) && !flags.includes('generate-config'), 'it is not deployed');
  });
}

test('the file of --config is of the server, and the one of generate is not', async (t) => {
  const folder = scratchFolder(t);
  const file = path.join(folder, 'server.yaml');
  writeFileSync(file, `token: ${SECRET}\nhttp-addr: 0.0.0.0:7000\n`);
  const own = fileWith(t, FORMS.k8s ?? []);
  const args = ['generate', 'k8s', 'server', '--config', file];
  const done = await run([...args, '--generate-config', own]);
  assert.equal(done.code, 0, done.stderr);
  assert.match(done.stdout, /containerPort: 7000/u);
  assert.match(done.stdout, /namespace: tunnels/u);
  const swapped = await run([...args.slice(0, 3), '--config', own, '--generate-config', file]);
  assert.deepEqual([swapped.code, swapped.stdout], [2, '']);
  assert.match(
    swapped.stderr,
    /'namespace' \(\S+ line 3, column 1\): is an option of generate k8s/u,
  );
  assert.match(swapped.stderr, /'http-addr' \(\S+ line 2, column 1\): is an option of server/u);
  assert.ok(!swapped.stderr.includes(SECRET));
});

test('all that is wrong is said at once, with where it came from', async () => {
  const args = ['generate', 'k8s', 'server', '--nme', 'x', '--http-adr', ':1', '--program', '/x'];
  const env = { SLUICEWAY_IMAGE: 'a b', SLUICEWAY_NAMESPACES: 'x', SLUICEWAY_TOKEN: SECRET };
  const { code, stdout, stderr } = await run(args, env);
  assert.deepEqual([code, stdout], [2, '']);
  assert.deepEqual(stderr.trimEnd().split('\n').sort(), [
    "sluiceway: '--http-adr' (flag): unknown option; did you mean --http-addr?",
    "sluiceway: '--nme' (flag): unknown option; did you mean --name?",
    "sluiceway: '--program' (flag): is an option of generate systemd, not of generate k8s",
    "sluiceway: 'SLUICEWAY_NAMESPACES' (environment): unknown variable; did you mean SLUICEWAY_NAMESPACE?",
    "sluiceway: --image (environment variable SLUICEWAY_IMAGE): 'a b' is no image; write NAME:TAG or NAME@sha256:…",
  ]);
});

test('variables of the Compose files are options, or have another prefix', () => {
  const options = new Set(Object.values(SCHEMA).flatMap((table) => Object.keys(table)));
  const known = new Set([...options].map(variableOf));
  for (const file of ['compose.yaml', 'compose.client.yaml']) {
    const text = readFileSync(path.join(import.meta.dirname, '../../docker', file), 'utf8');
    const names = [...text.matchAll(/\$\{(SLUICEWAY_[A-Z_]+)/gu)].map(([, name]) => name ?? '');
    assert.ok(names.length > 0, file);
    assert.deepEqual(
      names.filter((name) => !known.has(name)),
      [],
    );
    // An option of a machine's system, and of what `generate` prints: not of these files.
    assert.ok(!names.includes('SLUICEWAY_IMAGE'), file);
  }
});

test('a port that the system chooses cannot be published', async () => {
  const ports = ['--http-addr', ':0', '--control-addr', '127.0.0.1:0'];
  for (const form of ['compose', 'k8s', 'cloud-init']) {
    const done = await run(['generate', form, 'server', '--token', SECRET, ...ports]);
    assert.deepEqual([done.code, done.stdout], [2, '']);
    assert.match(done.stderr, /^sluiceway: --control-addr: port 0 is chosen by the system; give/u);
    assert.match(done.stderr, /^sluiceway: --http-addr: port 0 is chosen/mu);
  }
});

test('a container publishes no port that is open on its own loopback alone', async () => {
  const rows = [
    [['--control-addr', '127.0.0.1:8123'], ['control-addr']],
    [
      ['--http-addr', 'localhost:8000', '--https-addr', '[::1]:8443'],
      ['http-addr', 'https-addr'],
    ],
    [['--tcp-addr', '127.0.0.1', '--tcp-ports', '2222', '--udp-addr', '0.0.0.0'], ['tcp-addr']],
    [['--tcp-ports', '2222', '--udp-addr', '::1'], ['udp-addr']],
  ] as const;
  const server = ['server', '--token', SECRET, '--letsencrypt-domain', 'a.example'];
  for (const form of ['compose', 'k8s']) {
    for (const [args, named] of rows) {
      const done = await run(['generate', form, ...server, ...args]);
      const told = named.map(
        (name) => `sluiceway: --${name}: on loopback nobody reaches a container; give 0.0.0.0\n`,
      );
      assert.deepEqual([done.code, done.stdout, done.stderr], [2, '', told.join('')]);
    }
    // Of ports that are not published nobody expects anything.
    const args = ['--tcp-addr', '127.0.0.1', '--admin-addr', '127.0.0.1:9123'];
    const done = await run(['generate', form, ...server, ...args]);
    assert.equal(done.code, 0, done.stderr);
  }
  for (const form of ['systemd', 'cloud-init']) {
    const args = ['--control-addr', '127.0.0.1:8123', '--http-addr', '127.0.0.1:8000'];
    const done = await run(['generate', form, ...server, ...args]);
    assert.equal(done.code, 0, done.stderr);
  }
});

test('config check and config print know the options of each form', async (t) => {
  for (const [form, rows] of Object.entries(FORMS)) {
    const args = ['generate', form, '--generate-config', fileWith(t, rows)];
    const checked = await run(['config', 'check', ...args]);
    assert.deepEqual([checked.code, checked.stdout], [0, 'ok\n'], checked.stderr);
    const printed = await run(['config', 'print', ...args]);
    for (const [name, value] of rows) {
      assert.ok(printed.stdout.includes(`${name}: ${value}\n`), printed.stdout);
    }
    const wrong = await run(['config', 'check', 'generate', form, '--name', 'A']);
    assert.deepEqual([wrong.code, wrong.stdout], [2, '']);
    assert.match(wrong.stderr, /^sluiceway: --name \(flag\): 'A' is no name of a service/u);
  }
});
