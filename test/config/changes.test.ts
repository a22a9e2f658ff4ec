// Goal: a changed option is taken over or named, never forgotten and never half done.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { changedOptions, mergeLive, RELOADS, refuseEmptied } from '../../src/config/changes.ts';
import { readServer, type ServerReading } from '../../src/config/config.ts';
import { SCHEMA } from '../../src/config/schema.ts';
import { configInput } from './input.ts';

function reading(flags: Readonly<Record<string, string | string[]>> = {}): ServerReading {
  return readServer(configInput('server', { flags }));
}

test('every option of the server is live or needs a restart', () => {
  assert.deepEqual(Object.keys(RELOADS).sort(), Object.keys(SCHEMA.server).sort());
});

test('the same configuration has no changes', () => {
  assert.deepEqual(changedOptions(reading(), reading()), { live: [], restart: [] });
});

const ROWS: readonly (readonly [string, string, 'live' | 'restart'])[] = [
  ['allow-ips', '10.0.0.0/8', 'live'],
  ['deny-ips', '10.0.0.0/8', 'live'],
  ['control-allow-ips', '10.0.0.0/8', 'live'],
  ['client-forwarding', 'nats.svc:4222', 'live'],
  ['log-level', 'debug', 'live'],
  ['drain-delay', '1s', 'live'],
  ['drain-timeout', '1s', 'live'],
  ['header-timeout', '3s', 'live'],
  ['body-idle-timeout', '3s', 'live'],
  ['keep-alive-timeout', '3s', 'live'],
  ['upstream-response-timeout', '3s', 'live'],
  ['tcp-idle-timeout', '3s', 'live'],
  ['udp-idle-timeout', '3s', 'live'],
  ['udp-flows-max', '7', 'live'],
  ['udp-flows-per-ip-max', '7', 'live'],
  ['udp-new-flows-per-second-max', '7', 'live'],
  ['half-close-timeout', '3s', 'live'],
  ['visitor-connections-max', '7', 'live'],
  ['visitor-connections-per-ip-max', '7', 'live'],
  ['connections-per-second-per-ip-max', '7', 'live'],
  ['tunnel-connections-max', '7', 'live'],
  ['requests-per-second-max', '7', 'live'],
  ['requests-per-second-per-ip-max', '7', 'live'],
  ['tunnel-requests-per-second-max', '7', 'live'],
  ['tunnel-bytes-in-per-second-max', '7KiB', 'live'],
  ['tunnel-bytes-out-per-second-max', '7KiB', 'live'],
  ['request-body-max', '7', 'live'],
  ['memory-max', '512MiB', 'live'],
  ['inspect', 'a.example', 'live'],
  ['inspect-requests', '7', 'live'],
  ['inspect-body-max', '7', 'live'],
  ['control-addr', '127.0.0.1:7', 'restart'],
  ['http-addr', 'off', 'restart'],
  ['shards', '7', 'restart'],
  ['udp-ports', '7', 'restart'],
  ['trusted-proxies', '10.0.0.0/8', 'restart'],
  ['window-max', '9MiB', 'restart'],
];

for (const [name, text, kind] of ROWS) {
  test(`--${name} is ${kind}, and what runs afterwards follows that`, () => {
    const before = reading();
    const next = reading({ [name]: text });
    const changes = changedOptions(before, next);
    assert.deepEqual(changes[kind], [name]);
    assert.deepEqual(changes[kind === 'live' ? 'restart' : 'live'], []);
    const merged = mergeLive(before, next);
    assert.deepEqual(merged.config, kind === 'live' ? next.config : before.config);
    const again = changedOptions(merged, next);
    assert.deepEqual(again, { live: [], restart: kind === 'live' ? [] : [name] });
  });
}

test('what follows from another option changes with it', () => {
  const { restart } = changedOptions(reading(), reading({ 'tcp-ports': '7' }));
  assert.deepEqual(restart, ['tcp-ports', 'udp-ports']);
  const own = { 'udp-ports': '9' };
  const { restart: alone } = changedOptions(reading(own), reading({ ...own, 'tcp-ports': '7' }));
  assert.deepEqual(alone, ['tcp-ports']);
});

test('every live option has a row above', () => {
  const live = Object.entries(RELOADS).flatMap(([name, kind]) => (kind === 'live' ? [name] : []));
  const rows = ROWS.flatMap(([name, , kind]) => (kind === 'live' ? [name] : []));
  // Of which only one can be given; their own test is below.
  const ways = ['token', 'token-file', 'token-env'];
  assert.deepEqual([...rows, ...ways].sort(), live.sort());
});

test('another secret behind the same name is a change, and is taken over', () => {
  const input = (token: string) =>
    readServer(
      configInput('server', { flags: { 'token-file': 'token' }, env: {}, readFile: () => token }),
    );
  const [running, next] = [input('first-token-0123456789'), input('other-token-0123456789')];
  assert.deepEqual(changedOptions(running, next), { live: ['token-file'], restart: [] });
  assert.equal(mergeLive(running, next).config.token?.reveal(), 'other-token-0123456789');
  assert.deepEqual(running.files, ['token'], 'and the file is watched');
});

test('a file that is emptied is refused, and one that was empty or is kept is not', () => {
  const read = (text: string): ServerReading => {
    return readServer(configInput('server', { file: { path: 'server.yaml', text } }));
  };
  const full = read('allow-ips: [192.0.2.1]\n');
  for (const empty of ['', '\n', '# allow-ips: [192.0.2.1]\n', '{}']) {
    assert.throws(() => refuseEmptied(full, read(empty)), /^ConfigError: server\.yaml sets no opt/);
    refuseEmptied(read(empty), full);
    const filled = mergeLive(read(empty), full);
    assert.throws(() => refuseEmptied(filled, read(empty)), /sets no option any more/);
    refuseEmptied(read(empty), read(''));
  }
  refuseEmptied(full, read('log-level: debug\n'));
  refuseEmptied(reading(), reading());
});
