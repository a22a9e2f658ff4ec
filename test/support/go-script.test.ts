// Goal: programs of tests are built by a Go that is new enough, wherever it comes from. Method: the
// script with a Go of another version in front, in a folder of its own.

import assert from 'node:assert/strict';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { runProgram } from './process.ts';
import { scratchFolder } from './programs.ts';

const SCRIPT = path.resolve(import.meta.dirname, '../fixtures/go.sh');
const FETCHED = /^FETCHED=(.+)$/mu.exec(readFileSync(SCRIPT, 'utf8'))?.[1] ?? '';

/** A Go of `version`, which gives a toolchain for `mod download`, or refuses to. */
function fakeGo(version: string, refuses: boolean): string {
  const made = '"$GOMODCACHE/$3"';
  const fetch = refuses
    ? ['echo "no such host" >&2', 'exit 1']
    : [
        `mkdir -p ${made}/bin ${made}/pkg/tool/linux_amd64`,
        `touch ${made}/bin/go ${made}/pkg/tool/linux_amd64/compile`,
        'echo "$3" > "$GOMODCACHE/../asked"',
      ];
  const env = `case "$2" in GOVERSION) echo go${version} ;; *) printf 'linux\\namd64\\n' ;; esac`;
  return [...['#!/bin/sh', `if [ "$1" = env ]; then ${env}; exit; fi`, ...fetch]].join('\n');
}

async function runScript(t: TestContext, go: string | undefined) {
  const folder = scratchFolder(t);
  const script = path.join(folder, 'test/fixtures/go.sh');
  for (const one of ['test/fixtures', 'bin'])
    mkdirSync(path.join(folder, one), { recursive: true });
  copyFileSync(SCRIPT, script);
  const own = path.join(folder, 'bin/go');
  if (go !== undefined) {
    writeFileSync(own, go);
    chmodSync(own, 0o755);
  }
  const env = { PATH: `${folder}/bin:/usr/bin:/bin` };
  const done = await runProgram(t, { command: 'bash', args: [script], env });
  return { ...done, folder, own };
}

test('a Go that is new enough is taken as it is', async (t) => {
  for (const version of ['1.26.0', '1.26.8', '1.30', '2.0.1']) {
    const { code, stdout, own, folder } = await runScript(t, fakeGo(version, true));
    assert.deepEqual([code, stdout], [0, own], version);
    assert.ok(!existsSync(path.join(folder, '.cache')));
  }
});

test('an older one fetches a newer one, which is kept', async (t) => {
  for (const version of ['1.19.8', '1.25.9', '1.9']) {
    const { code, stdout, stderr, folder } = await runScript(t, fakeGo(version, false));
    const kept = path.join(folder, `.cache/go-${FETCHED}.linux-amd64/bin/go`);
    assert.deepEqual([code, stdout], [0, kept], stderr);
    assert.match(stderr, new RegExp(`^Go ${version} is older than `, 'u'));
    const asked = readFileSync(path.join(folder, '.cache/asked'), 'utf8');
    assert.equal(asked, `golang.org/toolchain@v0.0.1-go${FETCHED}.linux-amd64\n`);
  }
});

test('what is missing is said', async (t) => {
  const offline = await runScript(t, fakeGo('1.19.8', true));
  assert.deepEqual([offline.code, offline.stdout], [1, '']);
  assert.match(
    offline.stderr,
    /cannot be fetched: see GOPROXY, or install Go 1\.\d+\.\d+ or later$/mu,
  );
  if (existsSync('/usr/local/go/bin/go') || existsSync('/usr/bin/go')) return;
  const none = await runScript(t, undefined);
  assert.deepEqual([none.code, none.stdout], [1, '']);
  assert.match(none.stderr, /^no Go: install one/u);
});
