// Goal: a name with several addresses is reached though the way takes longer than Node would stay
// with one of them, by everything that is dialled. Method: a name whose first address answers after
// a second, as a line far away or a lost SYN would have it, and whose other one refuses.

import assert from 'node:assert/strict';
import dns, { type LookupAddress, type LookupAllOptions } from 'node:dns';
import { once } from 'node:events';
import { syncBuiltinESMExports } from 'node:module';
import { connect } from 'node:net';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import { attemptsWithin } from '../../src/base/dial-attempts.ts';
import { readForwardRule } from '../../src/base/forward-rules.ts';
import { probeUpstream } from '../../src/client/probe.ts';
import { fetchServerCa } from '../../src/client/server-ca.ts';
import { getDocument } from '../../src/control/https-get.ts';
import { dialWebSocket } from '../../src/link/ws-handshake.ts';
import { Forwards } from '../../src/shard/forwards.ts';
import { Meters } from '../../src/shard/meters.ts';
import { Upstreams } from '../../src/shard/upstreams.ts';
import { RawPeer } from '../mux/raw-peer.ts';
import { undoAfter } from '../support/cleanup.ts';
import { eventually } from '../support/deadline.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { SILENT_LOG } from '../support/silent-log.ts';
import { startSlowListeners } from '../support/slow-listeners.ts';

const NAME = 'slow.example';
const ADDRESSES: readonly LookupAddress[] = [
  { address: '127.0.0.1', family: 4 },
  // Nobody listens there.
  { address: '127.0.0.2', family: 4 },
];
/** Of the connection and of whole requests alike. */
const TIMEOUT_MS = 10_000;
/** As Node has it, from version 26 on. */
const NODES_OWN_MS = 500;
const LIMITS = {
  ...{ tcpIdleTimeoutMs: 0, udpIdleTimeoutMs: 0, halfCloseTimeoutMs: 3_600_000 },
  upstreamConnectTimeoutMs: TIMEOUT_MS,
};

type OnAddresses = (error: Error | null, addresses: readonly LookupAddress[]) => void;

/** Gives ADDRESSES for NAME while the test runs. */
function resolveName(t: TestContext): void {
  const { lookup } = dns;
  const found = (name: string, options: LookupAllOptions, tell: OnAddresses): void => {
    if (name !== NAME) lookup(name, options, tell);
    else setImmediate(() => tell(null, ADDRESSES));
  };
  t.mock.method(dns, 'lookup', found as typeof lookup);
  syncBuiltinESMExports();
  undoAfter(t, () => {
    t.mock.restoreAll();
    syncBuiltinESMExports();
  });
}

/** Dials a port of NAME; how it ends is not looked at. */
type Dial = (t: TestContext, port: number) => unknown;

const link =
  (way: (port: number) => { readonly url: string; readonly proxy?: string }): Dial =>
  (t, port) => {
    const events = { onUpgraded: () => {}, onFailure: () => {} };
    const options = { ...way(port), token: '', agent: 'test', ca: undefined };
    undoAfter(t, dialWebSocket(options, events));
  };
const far = 'ws://server.example/connect';

const entryOf = (port: number, tls: boolean) => ({
  ...{ name: 'a', label: 'a', host: NAME, port, tls },
  proxyProtocol: 'off' as const,
});

const upstream =
  (tls: boolean): Dial =>
  (t, port) => {
    const meters = new Meters();
    const shared = { clock: new FakeClock(), meters, log: SILENT_LOG };
    const upstreams = new Upstreams({ ...shared, limits: LIMITS });
    undoAfter(t, () => {
      upstreams.cutAll();
      meters.close();
    });
    upstreams.replace([entryOf(port, tls)]);
    new RawPeer({
      onOpen: (stream, open) => upstreams.serve(stream, { ...open, tunnel: 'a' }),
    }).open();
  };

const forward: Dial = (t, port) => {
  const meters = new Meters();
  const rule = readForwardRule('127.0.0.0/8:*');
  const named = readForwardRule(`${NAME}:*`);
  assert.ok(typeof rule !== 'string' && typeof named !== 'string');
  const forwards = new Forwards({
    ...{ clock: new FakeClock(), meters, log: SILENT_LOG, limits: LIMITS },
    ...{ rules: [rule, named], onDenied: () => assert.fail('denied') },
  });
  undoAfter(t, () => {
    forwards.cutAll();
    meters.close();
  });
  const scope = { link: 'link', rules: undefined, budget: undefined };
  const tunnel = `forward:${NAME}:${port}`;
  new RawPeer({
    onOpen: (stream, open) => forwards.serve(stream, { ...open, tunnel }, scope),
  }).open();
};

const DIALS: Readonly<Record<string, Dial>> = {
  'a link': link((port) => ({ url: `ws://${NAME}:${port}/connect` })),
  'a link over TLS': link((port) => ({ url: `wss://${NAME}:${port}/connect` })),
  'an HTTP proxy': link((port) => ({ url: far, proxy: `http://${NAME}:${port}` })),
  'an HTTPS proxy': link((port) => ({ url: far, proxy: `https://${NAME}:${port}` })),
  'a SOCKS proxy': link((port) => ({ url: far, proxy: `socks5h://${NAME}:${port}` })),
  'an upstream': upstream(false),
  'an upstream over TLS': upstream(true),
  'a forward': forward,
  'a look at an upstream': (_t, port) =>
    probeUpstream(entryOf(port, false), { kind: 'tcp' }, TIMEOUT_MS),
  'one over TLS': (_t, port) => probeUpstream(entryOf(port, true), { kind: 'tcp' }, TIMEOUT_MS),
  'one by a request': (_t, port) =>
    probeUpstream(entryOf(port, false), { kind: 'http', path: '/' }, TIMEOUT_MS),
  'a look at the CA': (_t, port) => {
    const trust = { autoTls: 'on', fingerprints: [], knownServers: '' } as const;
    const url = `wss://${NAME}:${port}/connect`;
    return fetchServerCa({ url, trust, clock: systemClock, memory: 'none' });
  },
  'an issuer': (_t, port) =>
    getDocument(`http://${NAME}:${port}/`, { timeoutMs: TIMEOUT_MS, bytesMax: 1024 }),
};

test('a name whose addresses answer late is reached by whatever dials it', async (t) => {
  if (process.platform !== 'linux') {
    t.skip('queues of other kernels are other ones');
    return;
  }
  const names = Object.keys(DIALS);
  const { ports, letIn, reached } = await startSlowListeners(t, names.length + 1);
  resolveName(t);
  for (const [index, dial] of Object.values(DIALS).entries()) {
    const done = dial(t, ports[index] ?? 0);
    // It ends with its server, which is all that there is to be said here.
    if (done instanceof Promise) done.catch(() => {});
  }
  // By then a dial that stays with an address no longer than Node would has given up.
  const nodesOwn = connect({
    ...{ host: NAME, port: ports.at(-1) ?? 0 },
    autoSelectFamilyAttemptTimeout: NODES_OWN_MS,
  });
  const [error] = (await once(nodesOwn, 'error')) as [NodeJS.ErrnoException];
  assert.equal(error.code, 'ETIMEDOUT');
  letIn();
  await eventually(TIMEOUT_MS, 'all connect', async () => {
    const there = reached();
    const missing = names.filter((_name, index) => !there.has(ports[index] ?? 0));
    assert.deepEqual(missing, []);
  });
});

test('an attempt has its share of the time, and no less than Node would give it', () => {
  for (const [timeoutMs, attemptMs] of [
    [10_000, 2500],
    [60_000, 15_000],
    [2001, 500],
    [100, 500],
  ] as const) {
    const { autoSelectFamilyAttemptTimeout } = attemptsWithin(timeoutMs);
    assert.equal(autoSelectFamilyAttemptTimeout, attemptMs);
  }
});
