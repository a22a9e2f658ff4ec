import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type net from 'node:net';
import { test } from 'node:test';
import { Roster } from '../../src/base/roster.ts';
import { createHttpIngress } from '../../src/shard/ingress-http.ts';
import { KEEP_ALIVE_AFTER_MS, KeepAlive } from '../../src/shard/keep-alive.ts';
import { Meters } from '../../src/shard/meters.ts';
import type { Router } from '../../src/shard/router.ts';
import { SocketRelay } from '../../src/shard/socket-relay.ts';
import { VisitorLedger } from '../../src/shard/visitor-ledger.ts';
import { undoAfter } from '../support/cleanup.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { SILENT_LOG } from '../support/silent-log.ts';
import { shardSettings } from './settings.ts';
import { createSocketPair } from './socket-pair.ts';

/** Of /proc/net/tcp (proc_net_tcp.rst): the timer that runs is that of keep-alive. */
const KEEP_ALIVE_TIMER = 2;
const HZ = 100;

/** Seconds to the first probe, as the kernel has it; undefined without one. */
function probeIn(socket: net.Socket): number | undefined {
  const hex = (port = 0): string => `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const rows = readFileSync('/proc/net/tcp', 'utf8').split('\n');
  const row = rows
    .map((line) => line.trim().split(/\s+/))
    .find(
      ([, local, remote]) =>
        local?.endsWith(hex(socket.localPort)) && remote?.endsWith(hex(socket.remotePort)),
    );
  assert.ok(row !== undefined, 'the socket is listed');
  const [timer, jiffies] = row[5]?.split(':') ?? [];
  return Number(timer) === KEEP_ALIVE_TIMER ? Number.parseInt(jiffies ?? '', 16) / HZ : undefined;
}

test('a connection that lasts gets keep-alive, its first probe a minute away, and only once', async (t) => {
  const { ours } = await createSocketPair(t);
  const set = t.mock.method(ours, 'setKeepAlive');
  const keepAlive = new KeepAlive(ours, 1_000);
  keepAlive.sweep(1_000 + KEEP_ALIVE_AFTER_MS - 1);
  assert.equal(probeIn(ours), undefined, 'not yet');
  keepAlive.sweep(1_000 + KEEP_ALIVE_AFTER_MS);
  const seconds = probeIn(ours) ?? 0;
  assert.ok(seconds > 55 && seconds <= 60, `${seconds} s`);
  keepAlive.sweep(1_000 + 10 * KEEP_ALIVE_AFTER_MS);
  assert.equal(set.mock.callCount(), 1);
});

test('a relay asks for it when it is swept', async (t) => {
  const { ours } = await createSocketPair(t);
  const limits = { tcpIdleTimeoutMs: 0, halfCloseTimeoutMs: 0, upstreamConnectTimeoutMs: 0 };
  const relays = new Roster<SocketRelay>();
  const relay = new SocketRelay({ socket: ours, limits, state: 'open', nowMs: 0, relays });
  relay.sweep(1_000);
  assert.equal(probeIn(ours), undefined);
  relay.sweep(KEEP_ALIVE_AFTER_MS);
  assert.notEqual(probeIn(ours), undefined);
  relay.cut();
});

test('so does a visitor of HTTP that keeps its connection', async (t) => {
  const { ours } = await createSocketPair(t);
  const clock = new FakeClock();
  const settings = shardSettings();
  const meters = new Meters();
  undoAfter(t, () => meters.close());
  const ingress = createHttpIngress({
    router: NO_ROUTES,
    limits: settings,
    ledger: new VisitorLedger({ ...settings, connectionsPerAddressMax: 0 }),
    log: SILENT_LOG,
    meter: meters,
    clock,
  });
  ingress.accept(ours);
  clock.advance(KEEP_ALIVE_AFTER_MS - 1);
  ingress.sweep();
  assert.equal(probeIn(ours), undefined);
  clock.advance(1);
  ingress.sweep();
  assert.notEqual(probeIn(ours), undefined);
});

const NO_ROUTES: Router = {
  matchHost: () => undefined,
  admits: () => true,
  affinityOf: () => undefined,
  isServed: () => true,
  loginsOf: () => undefined,
  mayStay: () => true,
  noteEnd: () => undefined,
  openStream: () => 'SLW_STREAM_NO_LINK',
};
