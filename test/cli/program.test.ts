import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { run } from './run.ts';

interface Expected {
  readonly code: number;
  readonly stdout?: RegExp;
  readonly stderr?: RegExp;
}

/** A stream that is not expected to hold anything must be empty. */
async function check(
  args: readonly string[],
  expected: Expected,
  env: Readonly<Record<string, string>> = {},
): Promise<void> {
  const { code, stdout, stderr } = await run(args, env);
  assert.match(stdout, expected.stdout ?? /^$/);
  assert.match(stderr, expected.stderr ?? /^$/);
  assert.equal(code, expected.code, stderr);
}

const TOKEN = { SLUICEWAY_TOKEN: 'secret-of-the-test' };

describe('help and version', { concurrency: 2 }, () => {
  test('go to stdout with exit code 0', async () => {
    await check(['--help'], { code: 0, stdout: /^Usage: sluiceway [\s\S]* server [\s\S]* demo / });
    await check(['--version'], {
      code: 0,
      stdout: /^sluiceway \d+\.\d+\.\d+ - ([0-9a-f]{7}|unknown)\n$/,
    });
    await check(['version'], { code: 0, stdout: /^sluiceway .+\nnode v\d+\.\d+\.\d+\n$/ });
  });

  test('list the options of a command, tuning apart, without the hidden ones', async () => {
    const { code, stdout } = await run(['server', '--help']);
    assert.equal(code, 0);
    assert.match(stdout, /--control-addr <HOST:PORT> [\s\S]*Tuning:[\s\S]*--window-initial <SIZE>/);
    assert.doesNotMatch(stdout, /--no-|--fault|--url/);
    assert.match(stdout, /SLUICEWAY_LOG_LEVEL/);
  });

  test('go to stderr with exit code 2 when no command is given', async () => {
    await check([], { code: 2, stderr: /^Usage: sluiceway / });
    await check(['config'], { code: 2, stderr: /^Usage: sluiceway config / });
  });
});

describe('usage errors', { concurrency: 2 }, () => {
  test('name the nearest command', async () => {
    await check(['servr'], { code: 2, stderr: /^sluiceway: unknown command 'servr' .*server/ });
  });

  test('name the nearest option, among all other problems', async () => {
    const args = ['server', '--contrl-addr', ':1', '--drain-delay=x', '--once'];
    await check(args, {
      code: 2,
      stderr: new RegExp(
        "^sluiceway: '--contrl-addr' \\(flag\\): unknown option; did you mean --control-addr\\?\n" +
          "sluiceway: '--once' \\(flag\\): is an option of client, not of server\n" +
          "sluiceway: --drain-delay \\(flag\\): 'x' is not a duration; .*\n" +
          'sluiceway: a token is required: .*\n$',
      ),
    });
  });

  test('refuse stray words and missing values', async () => {
    await check(['server', 'now'], { code: 2, stderr: /^sluiceway: unexpected argument 'now'\n$/ });
    await check(['server', '--shards'], { code: 2, stderr: /^sluiceway: option '--shards .*\n$/ });
  });

  test('show nothing of a login in a URL, wherever it was written', async () => {
    const secret = 'k'.repeat(75);
    const urls = [`wss://:${secret}@a.example`, 'wss://u:kkk/kkk@a.example', 'u:kkk@a.example'];
    const others = ['wss://u:kkk,kkk@a', 'wss://a.example/?token=kkk'];
    const args = [
      ...urls.flatMap((url) => [url, '--upstream', `a.example=${url}`]),
      ...[...urls, ...others].flatMap((url) => ['--url', url]),
    ];
    const { code, stderr } = await run(['config', 'check', 'client', ...args]);
    assert.equal(code, 2);
    assert.doesNotMatch(stderr, /kkk/);
    const strayOnly = await run(['config', 'check', 'client', ...urls]);
    assert.match(strayOnly.stderr, /unexpected argument 'wss:\/\/\[masked\]@a\.example'/);
    assert.doesNotMatch(strayOnly.stderr, /kkk/);
    await check(['wss://u:kkk@h'], {
      ...{ code: 2, stderr: /^sluiceway: unknown command 'wss:\/\/\[masked\]@h'\n$/ },
    });
  });

  test('take the value of a boolean behind its flag, and say what it may be', async () => {
    const args = ['config', 'print', 'client', '--url', 'wss://a', '--upstream', 'http://b:1'];
    const rows = [
      ['true', 'true'],
      ['1', 'true'],
      ['false', 'false'],
      ['0', 'false'],
    ] as const;
    for (const [text, shown] of rows) {
      const { code, stdout, stderr } = await run([...args, `--once=${text}`], TOKEN);
      assert.equal(code, 0, stderr);
      assert.match(stdout, new RegExp(`^once: ${shown}$`, 'm'));
    }
    const stderr = /^sluiceway: --once \(flag\): 'yes' is not a boolean; write true or false\n$/;
    await check([...args, '--once=yes'], { code: 2, stderr }, TOKEN);
  });

  test('never take a flag for a token, nor repeat what may be one', async () => {
    const args = ['server', '--token', '--http-addr=off-secret'];
    const { code, stderr } = await run(args);
    assert.equal(code, 2);
    assert.match(stderr, /^sluiceway: --token \(flag\): needs a value/);
    assert.doesNotMatch(stderr, /off-secret/);
  });
});

describe('config', { concurrency: 2 }, () => {
  test('check says ok or what is wrong', async () => {
    await check(['config', 'check', 'server'], { code: 0, stdout: /^ok\n$/ }, TOKEN);
    await check(
      ['config', 'check', 'server', '--shards', '0'],
      { code: 2, stderr: /too small/ },
      TOKEN,
    );
    await check(
      ['config', 'check', 'status'],
      { code: 2, stderr: /unknown command 'status'/ },
      TOKEN,
    );
  });

  test('check warns of a list that turns the certificate issuer away', async () => {
    const names = ['--letsencrypt-domain', 'a.example', '--letsencrypt-domain', '*.b.example'];
    const dns = ['--letsencrypt-dns-hook', '/bin/true'];
    const checked = async (more: readonly string[]): Promise<string> => {
      const args = ['config', 'check', 'server', ...dns, ...more];
      const { code, stdout, stderr } = await run(args, TOKEN);
      assert.deepEqual([code, stdout], [0, 'ok\n'], stderr);
      return stderr;
    };
    const listed = ['--allow-ips', '192.0.2.0/24'];
    const byTls = ['--letsencrypt-domain', 'a.example', '--http-addr', 'off'];
    const warning = /^sluiceway: warning: --allow-ips turns away .*dns-01\n$/u;
    assert.match(await checked([...listed, ...byTls]), warning);
    assert.equal(await checked(byTls), '');
    assert.equal(await checked([...names, ...listed]), '', 'answered over HTTP');
    assert.equal(await checked([...names, ...listed, '--letsencrypt-challenge', 'dns-01']), '');
  });

  test('print shows the options as YAML with the token masked', async () => {
    const args = ['config', 'print', 'client', '--url', 'ws://a:1', '--upstream', 'b:2', '--once'];
    const { code, stdout } = await run([...args, '--tcp', '1,2=c:3', '--tcp', '4'], TOKEN);
    assert.equal(code, 0);
    assert.doesNotMatch(stdout, /secret/);
    assert.match(stdout, /^url:\n {2}- ws:\/\/a:1\/connect\ntoken: "\[masked\]"\n/);
    assert.match(stdout, /\ntcp:\n {2}- 1=localhost:1\n {2}- 2=c:3\n {2}- 4=localhost:4\n/);
    assert.match(stdout, /\nonce: true\n/);
  });

  test('a file is read, and overridden by a flag', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'sluiceway-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const file = join(folder, 'a.yaml');
    writeFileSync(file, `allow-faults: true\nshards: 5\ntoken-file: ${join(folder, 'token')}`);
    writeFileSync(join(folder, 'token'), 'from-a-file\n');
    const args = ['config', 'print', 'server', '--config', file, '--no-allow-faults'];
    await check(args, { code: 0, stdout: /\nshards: 5\n[\s\S]*\nallow-faults: false\n/ });
    const byVariable = { SLUICEWAY_CONFIG: file };
    await check(
      ['config', 'print', 'server'],
      { code: 0, stdout: /\nallow-faults: true\n/ },
      byVariable,
    );
  });

  test('a file that cannot be read says why', async () => {
    const missing = ['config', 'check', 'server', '--config', '/nowhere/a.yaml'];
    await check(missing, {
      code: 2,
      stderr: /^sluiceway: --config \(flag\): \/nowhere\/a\.yaml does not exist\n$/,
    });
    const folder = ['config', 'check', 'server', '--config', tmpdir()];
    await check(folder, { code: 2, stderr: /is a folder, not a file\n$/ });
    const endless = ['config', 'check', 'server', '--config', '/dev/zero'];
    await check(endless, { code: 2, stderr: /\/dev\/zero is larger than 1 MiB\n$/ });
    const token = ['config', 'check', 'server', '--token-file', '/nowhere/token'];
    await check(token, {
      code: 2,
      stderr: /^sluiceway: --token-file \(flag\): \/nowhere\/token does not exist\n$/,
    });
  });
});
