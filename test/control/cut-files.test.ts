// Goal: a file that was cut while it was written, and reads well as far as it goes, lifts no list
// and revokes no token. Method: the parts that read such files again, told to, as by SIGHUP.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { ServerConfig } from '../../src/config/config.ts';
import { ConfigReload } from '../../src/control/config-reload.ts';
import { undoAfter } from '../support/cleanup.ts';
import { FileBench, readNow, tokensOf } from './file-bench.ts';

const CUT = /\.yaml ends within a line, and did not before, .*; write all of it, with a newline/;

/** A server of this file, and what it has taken over. */
function reloadOf(
  t: TestContext,
  bench: FileBench,
  text: string,
): { readonly reload: ConfigReload; readonly applied: readonly ServerConfig[] } {
  const { clock, log, reloads } = bench;
  const config = bench.put('config.yaml', text);
  const applied: ServerConfig[] = [];
  const apply = (now: ServerConfig): number => applied.push(now);
  const source = { started: readNow(config), read: () => readNow(config) };
  const reload = new ConfigReload({ source, clock, log, reloads, apply });
  undoAfter(t, () => reload.close());
  return { reload, applied };
}

test('a configuration that is cut in front of its list keeps the list, until it is whole', async (t) => {
  const bench = new FileBench(t);
  const whole = 'drain-delay: 1s\n# The office, and nobody else.\nallow-ips: [192.0.2.1]\n';
  const { reload, applied } = reloadOf(t, bench, whole);
  for (const cut of [27, 'drain-delay: 1s'.length]) {
    bench.put('config.yaml', whole.slice(0, cut));
    reload.reload();
  }
  assert.equal(applied.length, 0);
  assert.deepEqual(Object.fromEntries(bench.reloads), { failed: 2 });
  for (const { err } of bench.lines.all('configuration: the old one stays in use')) {
    assert.match(String(err), CUT);
  }
  bench.put('config.yaml', whole.replace('192.0.2.1', '192.0.2.2'));
  reload.reload();
  assert.equal(applied[0]?.allowIps?.[0]?.address, '192.0.2.2');
});

test('a configuration that never had a last newline is taken over without one', async (t) => {
  const bench = new FileBench(t);
  const { reload, applied } = reloadOf(t, bench, 'drain-delay: 1s');
  bench.put('config.yaml', 'drain-delay: 2s');
  reload.reload();
  bench.put('config.yaml', 'drain-delay: 3s\n');
  reload.reload();
  bench.put('config.yaml', 'drain-delay: 4s');
  reload.reload();
  const delays = applied.map(({ drainDelayMs }) => drainDelayMs);
  assert.deepEqual(delays, [2000, 3000], 'and what has one from then on keeps it');
});

test('a tokens file that is cut between two tokens revokes none, until it is whole', async (t) => {
  const bench = new FileBench(t);
  const whole = `${tokensOf('alpha')}# of the other team\n${tokensOf('beta').slice('tokens:\n'.length)}`;
  const access = bench.access(t, bench.put('tokens.yaml', whole));
  await access.load();
  const isKnown = (secret: string): boolean => {
    const attempt = { authorization: `Bearer ${secret}`, remoteAddress: '127.0.0.1:1' };
    return typeof access.identify(attempt) === 'object';
  };
  bench.put('tokens.yaml', whole.slice(0, whole.indexOf(' the other team')));
  await access.reload();
  assert.deepEqual([isKnown('alpha'), isKnown('beta')], [true, true]);
  assert.deepEqual(Object.fromEntries(bench.reloads), { failed: 1 });
  const [line] = bench.lines.all('the tokens file cannot be used, the tokens stay as they were');
  assert.match(String(line?.problems), CUT);
  bench.put('tokens.yaml', tokensOf('alpha'));
  await access.reload();
  assert.deepEqual([isKnown('alpha'), isKnown('beta')], [true, false], 'revoked by a whole file');
});

test('a tokens file that never had a last newline is taken over without one', async (t) => {
  const bench = new FileBench(t);
  const access = bench.access(t, bench.put('tokens.yaml', tokensOf('alpha', 'beta').trimEnd()));
  await access.load();
  bench.put('tokens.yaml', tokensOf('alpha').trimEnd());
  await access.reload();
  const attempt = { authorization: 'Bearer beta', remoteAddress: '127.0.0.1:1' };
  assert.equal(access.identify(attempt), 'refused');
});
