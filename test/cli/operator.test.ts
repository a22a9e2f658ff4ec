// Goal: the operator's options are checked before anything is asked of a cluster, and nobody else
// pays for the Kubernetes client. Method: the program is run, with a hook that lists what it loads.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { resolveConfig } from '../../src/config/config.ts';
import { problemsOf } from '../config/input.ts';
import { run, runFile } from './run.ts';

const NO_CLUSTER = { HOME: '/nonexistent', KUBECONFIG: '' };

test('a kubeconfig that cannot be used is a problem of the option', async () => {
  const missing = await run(['operator', '--kubeconfig', '/nonexistent/config'], NO_CLUSTER);
  assert.equal(missing.code, 2);
  assert.match(
    missing.stderr,
    /^sluiceway: --kubeconfig: \/nonexistent\/config: it does not exist.* \(ENOENT\)$/mu,
  );
  const folder = mkdtempSync(path.join(tmpdir(), 'sluiceway-test-'));
  try {
    const file = path.join(folder, 'config');
    writeFileSync(file, 'apiVersion: v1\nkind: Config\nclusters: []\ncontexts: []\nusers: []\n');
    const empty = await run(['operator', '--kubeconfig', file], NO_CLUSTER);
    assert.equal(empty.code, 2);
    assert.match(empty.stderr, /no current context/u);
    const lines = [
      ...['apiVersion: v1', 'kind: Config', 'current-context: a', 'users: [{name: a, user: {}}]'],
      'contexts: [{name: a, context: {cluster: a, user: a}}]',
      'clusters: [{name: a, cluster: {server: "https://a.example", insecure-skip-tls-verify: true}}]',
    ];
    writeFileSync(file, lines.join('\n'));
    const open = await run(['operator', '--kubeconfig', file], NO_CLUSTER);
    assert.equal(open.code, 2);
    assert.match(open.stderr, /cluster a skips the check of certificates; give it a CA/u);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a lease is renewed well before others take it', () => {
  const problems = (flags: Readonly<Record<string, string>>) =>
    problemsOf(() =>
      resolveConfig({
        ...{ command: 'operator', flags, env: {}, readFile: () => '' },
        defaults: { cores: 1, logFormat: 'json' },
      }),
    );
  assert.match(
    problems({ 'lease-duration': '5s' }).join(),
    /--lease-duration \(flag\): 5s is less than --lease-renew-within \(default\), 10s/u,
  );
  assert.match(
    problems({ 'lease-retry': '6s' }).join(),
    /--lease-renew-within \(default\): 10s is less than 2 times --lease-retry \(flag\), 6s/u,
  );
  assert.match(
    problems({ 'load-balancer-class': 'tunnel' }).join(),
    /is no class; write a domain/u,
  );
});

test('only the operator loads the Kubernetes client', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'sluiceway-test-'));
  try {
    const main = new URL('../../src/cli/main.ts', import.meta.url).href;
    const program = path.join(folder, 'listing.mjs');
    writeFileSync(
      program,
      `import { registerHooks } from 'node:module';
registerHooks({
  load(url, context, next) {
    if (url.includes('@kubernetes/')) process.stdout.write('kubernetes\\n');
    return next(url, context);
  },
});
await import(${JSON.stringify(main)});
`,
    );
    const loads = async (...args: string[]): Promise<boolean> =>
      (await runFile(program, args, NO_CLUSTER)).stdout.includes('kubernetes');
    assert.equal(await loads('operator', '--kubeconfig', '/nonexistent/config'), true);
    assert.equal(await loads('operator', '--help'), false);
    assert.equal(await loads('server', '--control-addr', '203.0.113.1:1', '--token', 'x'), false);
    assert.equal(
      await loads('client', '--url', 'ws://127.0.0.1:1', '--tcp', '80', '--once'),
      false,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});
