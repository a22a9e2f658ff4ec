// Dials with shards and servers that write down what they are told, and a clock moved by hand.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { SluicewayError } from '../../src/base/errors.ts';
import { type DialledServer, Dials } from '../../src/client/dials.ts';
import { FakeClock } from '../support/fake-clock.ts';

const URL_TEXT = 'wss://server.example/connect';
const OFFER_AGAIN_MS = 15_000;

class Bench {
  readonly clock = new FakeClock();
  /** What shards were told: method and link. */
  readonly told: string[] = [];
  /** Bodies of dials. */
  readonly dialled: unknown[] = [];
  readonly ended: [link: string, code: string, detail: string][] = [];
  readonly forgotten: string[] = [];
  readonly dials: Dials;
  readonly server: DialledServer = {
    url: URL_TEXT,
    onWelcome: () => undefined,
    onGoAway: () => undefined,
    onEnd: (link, code, detail) => this.ended.push([link, code, detail]),
  };
  trust: () => Promise<{ ca: string | undefined }> = async () => ({ ca: 'CA' });
  hasShards = true;

  constructor() {
    const tell = (method: string, body: unknown): void => {
      this.told.push(`${method} ${(body as { link: string }).link}`);
      if (method === 'dial') this.dialled.push(body);
    };
    this.dials = new Dials({
      config: { urls: ['ws://other.example', URL_TEXT], linkMask: 'auto' },
      clientId: 'c1',
      trust: { forDial: () => this.trust(), forget: (url) => this.forgotten.push(url) },
      token: { read: async () => 'secret' },
      bridgeOf: () => (this.hasShards ? { tell } : undefined),
      clock: this.clock,
    });
  }
}

test('a dial says whom to trust, and who dials', async () => {
  const bench = new Bench();
  const links = [bench.dials.dial(bench.server, 0), bench.dials.dial(bench.server, 1)];
  await turn();
  assert.deepEqual(links, ['link-1', 'link-2']);
  const [first, second] = bench.dialled as Record<string, unknown>[];
  const { instance, ...rest } = first ?? {};
  assert.deepEqual(rest, {
    ...{ link: 'link-1', server: 1, url: URL_TEXT, ca: 'CA' },
    ...{ token: 'secret', client: 'c1', mask: 'auto' },
  });
  assert.match(String(instance), /^[0-9a-f]{32}$/);
  assert.equal(second?.instance, instance, 'one process');
  assert.equal(bench.dials.serverOf('link-1'), bench.server);
});

test('what keeps a dial from being made is told like a dial that failed', async () => {
  const untrusted = new Bench();
  untrusted.trust = () => Promise.reject(new SluicewayError('SLW_TLS_REFUSED', 'another CA'));
  untrusted.dials.dial(untrusted.server, 0);
  await turn();
  assert.deepEqual(untrusted.ended, [['link-1', 'SLW_TLS_REFUSED', 'another CA']]);
  assert.deepEqual(untrusted.forgotten, [URL_TEXT], 'it is asked anew');
  const restarting = new Bench();
  restarting.hasShards = false;
  restarting.dials.dial(restarting.server, 0);
  await turn();
  assert.deepEqual(restarting.ended, [['link-1', 'SLW_SHARD_FAILED', 'shard is restarting']]);
});

test('an end is told once, and nothing is dialled after it', async () => {
  const bench = new Bench();
  const link = bench.dials.dial(bench.server, 0);
  bench.dials.end(link, 'SLW_LINK_LOST', 'gone');
  bench.dials.end(link, 'SLW_LINK_LOST', 'gone');
  await turn();
  assert.deepEqual(bench.ended, [[link, 'SLW_LINK_LOST', 'gone']]);
  assert.deepEqual(bench.told, []);
  assert.equal(bench.dials.serverOf(link), undefined);
  assert.equal(bench.dials.bridgeOf(link), undefined);
});

test('links of a shard that failed end, and those of others do not', () => {
  const bench = new Bench();
  const [here, there] = [bench.dials.dial(bench.server, 0), bench.dials.dial(bench.server, 1)];
  bench.dials.endShard(0);
  assert.deepEqual(bench.ended, [[here, 'SLW_SHARD_FAILED', 'shard failed']]);
  assert.notEqual(bench.dials.serverOf(there), undefined);
});

test('tunnels are offered again after a while, once, while the link lives', async () => {
  const bench = new Bench();
  const link = bench.dials.dial(bench.server, 0);
  await turn();
  bench.dials.offerAgain(link, OFFER_AGAIN_MS);
  bench.dials.offerAgain(link, OFFER_AGAIN_MS);
  bench.clock.advance(OFFER_AGAIN_MS - 1);
  assert.deepEqual(bench.told, [`dial ${link}`]);
  bench.clock.advance(1);
  assert.deepEqual(bench.told, [`dial ${link}`, `keep ${link}`]);
  bench.dials.offerAgain(link, OFFER_AGAIN_MS);
  bench.dials.end(link, 'SLW_LINK_LOST', '');
  bench.dials.offerAgain(link, OFFER_AGAIN_MS);
  bench.clock.advance(2 * OFFER_AGAIN_MS);
  assert.equal(bench.told.length, 2, bench.told.join());
});

test('of two times to offer tunnels again the earlier counts', () => {
  const bench = new Bench();
  const link = bench.dials.dial(bench.server, 0);
  const offersAt = (): number => bench.told.filter((line) => line === `keep ${link}`).length;
  bench.dials.offerAgain(link, 60_000);
  bench.clock.advance(20_000);
  bench.dials.offerAgain(link, 15_000);
  bench.dials.offerAgain(link, 60_000);
  bench.clock.advance(14_999);
  assert.equal(offersAt(), 0);
  bench.clock.advance(1);
  assert.equal(offersAt(), 1);
  bench.clock.advance(120_000);
  assert.equal(offersAt(), 1, 'the later one was given up for it');
  bench.dials.offerAgain(link, 60_000);
  bench.clock.advance(50_000);
  bench.dials.offerAgain(link, 15_000);
  bench.clock.advance(10_000);
  assert.equal(offersAt(), 2, 'and is not put off');
});

test('once stopped nothing is dialled or offered', async () => {
  const bench = new Bench();
  const link = bench.dials.dial(bench.server, 0);
  bench.dials.offerAgain(link, OFFER_AGAIN_MS);
  bench.dials.stop();
  bench.dials.offerAgain(link, OFFER_AGAIN_MS);
  await turn();
  bench.clock.advance(2 * OFFER_AGAIN_MS);
  assert.deepEqual(bench.told, []);
});
