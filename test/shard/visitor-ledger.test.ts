// Goal: the ledger never counts below zero, never lets more in than it may, and is empty when all
// have left. Method: a model of lists beside it, driven by fast-check.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { memoryPressure, PRESSURE } from '../../src/base/memory-pressure.ts';
import { VisitorLedger } from '../../src/shard/visitor-ledger.ts';

const SEED = Date.now() % 0x7fff_ffff;
const ADDRESSES = ['192.0.2.1', '::ffff:192.0.2.1', '192.0.2.2', '2001:db8::1', '2001:db8::2'];
const VISITORS = [0, 0, 1, 2, 2];

test(`keeps both limits and empties itself, whoever comes and goes (seed ${SEED})`, () => {
  const step = fc.record({ address: fc.nat({ max: 4 }), leaves: fc.boolean(), pick: fc.nat() });
  const script = fc.record({
    visitorConnectionsMax: fc.integer({ min: 1, max: 8 }),
    connectionsPerAddressMax: fc.nat({ max: 4 }),
    steps: fc.array(step, { maxLength: 100, size: 'max' }),
  });
  fc.assert(
    fc.property(script, ({ steps, ...limits }) => {
      const ledger = new VisitorLedger(limits);
      const inside: { visitor: number; key: string }[] = [];
      for (const { address, leaves, pick } of steps) {
        const [one] = leaves ? inside.splice(pick % Math.max(1, inside.length), 1) : [];
        if (one !== undefined) ledger.leave(one.key);
        const text = ADDRESSES[address] as string;
        const visitor = VISITORS[address] as number;
        const isWelcome = !leaves && ledger.judge(text).code === 'SLW_NONE';
        if (isWelcome) inside.push({ visitor, key: ledger.enter(text) });
        assert.equal(ledger.count, inside.length);
        assert.ok(ledger.count <= limits.visitorConnectionsMax);
        const visitors = new Set(inside.map((entry) => entry.visitor));
        const isCounting = limits.connectionsPerAddressMax > 0;
        assert.equal(ledger.addressesCount, isCounting ? visitors.size : 0);
        for (const each of visitors) {
          const mine = inside.filter((entry) => entry.visitor === each).length;
          if (isCounting) assert.ok(mine <= limits.connectionsPerAddressMax);
        }
      }
      for (const { key } of inside) ledger.leave(key);
      assert.deepEqual([ledger.count, ledger.addressesCount], [0, 0]);
    }),
    { seed: SEED },
  );
});

test('who is refused is told, up to a bound that is smaller for one address', () => {
  const limited: string[] = [];
  const limits = { visitorConnectionsMax: 100, connectionsPerAddressMax: 2 };
  const ledger = new VisitorLedger(limits, (limit) => limited.push(limit));
  for (let entered = 0; entered < 2; entered += 1) ledger.enter('192.0.2.1');
  assert.deepEqual(ledger.judge('192.0.2.1'), { code: 'SLW_HTTP_ADDRESS_LIMIT', isTold: true });
  for (let entered = 0; entered < 16; entered += 1) ledger.enter('192.0.2.1');
  assert.deepEqual(ledger.judge('192.0.2.1'), { code: 'SLW_HTTP_ADDRESS_LIMIT', isTold: false });
  assert.equal(ledger.judge('192.0.2.2').code, 'SLW_NONE');
  for (let entered = ledger.count; entered < 100; entered += 1) ledger.enter(`192.0.3.${entered}`);
  assert.deepEqual(ledger.judge('192.0.2.2'), { code: 'SLW_HTTP_VISITOR_LIMIT', isTold: true });
  const knownCount = limited.length;
  assert.deepEqual([ledger.hasRoom(255), limited.length], [true, knownCount]);
  assert.deepEqual([ledger.hasRoom(256), limited.length], [false, knownCount + 1]);
  assert.equal(limited.pop(), 'visitor-connections');
  for (let entered = 0; entered < 256; entered += 1) ledger.enter(`192.0.4.${entered}`);
  assert.deepEqual(ledger.judge('192.0.2.2'), { code: 'SLW_HTTP_VISITOR_LIMIT', isTold: false });
  assert.deepEqual(limited, [
    ...['visitor-connections-per-ip', 'visitor-connections-per-ip'],
    ...['visitor-connections', 'visitor-connections'],
  ]);
});

test('nobody is let in while memory is full, and is told so', (t) => {
  t.after(() => {
    memoryPressure.level = PRESSURE.NONE;
  });
  const limited: string[] = [];
  const limits = { visitorConnectionsMax: 100, connectionsPerAddressMax: 0 };
  const ledger = new VisitorLedger(limits, (limit) => limited.push(limit));
  memoryPressure.level = PRESSURE.SEVERE;
  assert.equal(ledger.judge('192.0.2.1').code, 'SLW_NONE');
  memoryPressure.level = PRESSURE.FULL;
  assert.deepEqual(ledger.judge('192.0.2.1'), { code: 'SLW_HTTP_VISITOR_LIMIT', isTold: true });
  assert.deepEqual(limited, ['memory']);
  assert.equal(ledger.judge('192.0.2.1', 'anybody').code, 'SLW_NONE', 'a client may come back');
});

test('of those whom memory keeps out no more are told than of those beyond the limit', (t) => {
  t.after(() => {
    memoryPressure.level = PRESSURE.NONE;
  });
  const limits = { visitorConnectionsMax: 1000, connectionsPerAddressMax: 0 };
  const ledger = new VisitorLedger(limits);
  for (let entered = 0; entered < 100; entered += 1) ledger.enter('192.0.2.1');
  for (const round of [1, 2]) {
    memoryPressure.level = PRESSURE.FULL;
    for (let told = 0; told < 256; told += 1) {
      assert.equal(ledger.judge('192.0.2.2').isTold, true, `${told} in round ${round}`);
      ledger.enter('192.0.2.2');
    }
    assert.equal(ledger.judge('192.0.2.2').isTold, false);
    memoryPressure.level = PRESSURE.NONE;
    assert.equal(ledger.judge('192.0.2.2').code, 'SLW_NONE');
  }
});

const RATED = {
  visitorConnectionsMax: 1000,
  connectionsPerAddressMax: 0,
  addressConnectionsPerSecondMax: 2,
};

test('an address opens a second worth of connections at once, and then its rate', () => {
  const limited: string[] = [];
  const ledger = new VisitorLedger(RATED, (limit) => limited.push(limit));
  const passing = (address: string, nowMs: number): number =>
    [1, 2, 3, 4].filter(() => ledger.arrive(address, nowMs).code === 'SLW_NONE').length;
  assert.equal(passing('192.0.2.1', 0), 2);
  assert.equal(passing('::ffff:192.0.2.1', 0), 0, 'the same address');
  assert.equal(passing('192.0.2.2', 0), 2);
  assert.equal(passing('2001:db8::1', 0), 2);
  assert.equal(passing('2001:db8::ffff:1', 0), 0, 'the same /64');
  assert.equal(passing('2001:db8:0:1::1', 0), 2);
  assert.equal(passing('', 0), 4, 'nobody alone');
  assert.equal(passing('192.0.2.1', 499), 0);
  assert.equal(passing('192.0.2.1', 500), 1);
  assert.equal(passing('192.0.2.1', 60_000), 2, 'and saves up no more');
  assert.deepEqual(new Set(limited), new Set(['connections-per-second-per-ip']));
  assert.equal(ledger.judge('192.0.2.1').code, 'SLW_NONE', 'a look takes none');
});

test('who comes too often is told sixteen times a second, and is served at its rate all the same', () => {
  const ledger = new VisitorLedger(RATED);
  const flood = (nowMs: number) => Array.from({ length: 30 }, () => ledger.arrive('::1', nowMs));
  for (const nowMs of [0, 1000, 2000]) {
    const admissions = flood(nowMs);
    const refused = admissions.slice(2);
    assert.deepEqual(
      admissions.slice(0, 2).map(({ code }) => code),
      ['SLW_NONE', 'SLW_NONE'],
    );
    assert.ok(refused.every(({ code }) => code === 'SLW_HTTP_ADDRESS_LIMIT'));
    assert.deepEqual(
      refused.map(({ isTold }) => isTold),
      [...Array(16).fill(true), ...Array(12).fill(false)],
    );
  }
});

test('a connection that may not come in for another reason takes nothing of the rate', () => {
  const ledger = new VisitorLedger({ ...RATED, connectionsPerAddressMax: 1 });
  const place = ledger.enter('192.0.2.1');
  for (let tries = 0; tries < 5; tries += 1) ledger.arrive('192.0.2.1', 0);
  assert.equal(ledger.ratedCount, 0);
  ledger.leave(place);
  assert.equal(ledger.arrive('192.0.2.1', 0).code, 'SLW_NONE');
});

test('addresses are forgotten after a second, and strangers refused when no more fit', () => {
  const ledger = new VisitorLedger(RATED);
  for (let visitor = 0; visitor < 65_536; visitor += 1) {
    assert.equal(ledger.arrive(`v${visitor}`, 0).code, 'SLW_NONE');
  }
  assert.equal(ledger.arrive('one too many', 0).code, 'SLW_HTTP_ADDRESS_LIMIT');
  ledger.sweep(499);
  assert.equal(ledger.ratedCount, 65_536);
  ledger.sweep(500);
  assert.equal(ledger.ratedCount, 0);
  assert.equal(ledger.arrive('one too many', 500).code, 'SLW_NONE');
});

test('a rate that changes begins anew, and one that is off remembers nobody', () => {
  const limits = { ...RATED };
  const ledger = new VisitorLedger(limits);
  const passing = (): number =>
    Array.from({ length: 9 }, () => ledger.arrive('192.0.2.1', 0).code).filter(
      (code) => code === 'SLW_NONE',
    ).length;
  assert.deepEqual([passing(), passing()], [2, 0]);
  limits.addressConnectionsPerSecondMax = 3;
  assert.deepEqual([passing(), passing()], [3, 0]);
  limits.addressConnectionsPerSecondMax = 0;
  assert.deepEqual([passing(), passing()], [9, 9]);
  ledger.sweep(1000);
  assert.equal(ledger.ratedCount, 0);
});
