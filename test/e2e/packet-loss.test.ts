// Goal: packets that are lost on the way of a link make it slow and nothing else: every byte comes
// in its place, who types waits less than two seconds beside four bulk streams, and no link is
// taken for dead. Method: real processes in a namespace, whose firewall drops three of a hundred
// packets of the links, either way.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createNetns } from '../support/netns.ts';
import { runProgram, startProcess } from '../support/process.ts';
import { isCi } from '../support/programs.ts';
import { parseLine, startClient, startServer } from '../support/tunnel.ts';

const LOAD = 'test/fixtures/lossy-load.ts';
const SECONDS = Number(process.env.SLUICEWAY_SOAK_SECONDS ?? (isCi() ? 20 : 5));
const ECHO_P95_MS_MAX = 2000;
const PORT = 2000;
const UPSTREAM_PORT = 3000;

interface Seen {
  readonly bulk: readonly {
    readonly sent: string;
    readonly got: string;
    readonly bytes: number;
    readonly otherGot: string;
    readonly otherSent: string;
  }[];
  readonly echoesMs: readonly number[];
}

test('three of a hundred packets are lost, and no byte', async (t) => {
  const netns = await createNetns(t);
  if (netns === undefined) return;
  const upstream = startProcess(t, {
    name: 'upstream',
    ...netns.inside(process.execPath, [LOAD, 'serve', String(UPSTREAM_PORT)]),
  });
  await upstream.line('the upstream is ready', (line) => line === 'ready');
  const server = await startServer(t, { netns });
  const args = ['--tcp', `${PORT}=127.0.0.1:${UPSTREAM_PORT}`];
  const client = await startClient(t, server, { netns, args });
  await netns.run('nft', 'add table inet way');
  await netns.run('nft', 'add chain inet way out { type filter hook output priority 0; }');
  for (const side of ['sport', 'dport']) {
    const lost = `numgen random mod 100 < 3 counter drop`;
    await netns.run('nft', `add rule inet way out tcp ${side} ${server.controlPort} ${lost}`);
  }
  const visitors = [LOAD, 'visit', String(PORT), String(SECONDS)];
  const visit = await runProgram(t, {
    ...netns.inside(process.execPath, visitors),
    ms: (SECONDS + 60) * 1000,
  });
  assert.equal(visit.code, 0, visit.stderr);
  const { bulk, echoesMs } = JSON.parse(visit.stdout) as Seen;
  for (const one of bulk) {
    assert.equal(one.got, one.otherSent, 'what was sent to the visitor');
    assert.equal(one.otherGot, one.sent, 'what the visitor sent');
    assert.ok(one.bytes > 0);
  }
  const sorted = echoesMs.toSorted((a, b) => a - b);
  const p95Ms = sorted[Math.floor(sorted.length * 0.95)] ?? Number.NaN;
  const bytes = bulk.reduce((sum, one) => sum + one.bytes, 0);
  t.diagnostic(`${sorted.length} echoes, p95 ${p95Ms.toFixed(0)} ms; ${bytes >> 20} MiB down`);
  assert.ok(p95Ms <= ECHO_P95_MS_MAX, `p95 ${p95Ms} ms`);
  const rules = await netns.run('nft', 'list chain inet way out');
  const dropped = [...rules.matchAll(/counter packets (\d+)/gu)].map(([, count]) => Number(count));
  assert.ok(dropped.length === 2 && dropped.every((count) => count > 10), rules);
  const ends = [...server.process.stderr, ...client.stderr]
    .map(parseLine)
    // One too many on a shard is ended by the client while it settles.
    .filter(({ msg, code }) => msg !== 'link ended' || code !== 'SLW_LINK_ENDED')
    .filter(({ msg, level }) => msg === 'link ended' || level === 'warn' || level === 'error');
  assert.deepEqual(ends, [], 'no link was given up');
});
