// Goal: a tunnel is taken when, and only when, a client of another owner serves it at another
// upstream, whatever has come and gone, and an offer costs the same among however many clients.
// Method: offers of a random history, with ports that open late, and one of each owner, upstream
// and tunnel at its end, are judged beside a search through all who are connected; the work is
// counted, in place of milliseconds.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { SluicewayError } from '../../src/base/errors.ts';
import type { TunnelRequest } from '../../src/bridge/exit-messages.ts';
import { Registry } from '../../src/control/registry.ts';
import { ownerOf } from '../../src/control/tokens.ts';
import { PLAIN } from './registry-bench.ts';

const TAKEN = 'SLW_TUNNEL_TAKEN';
const ABOUT = { agent: 'a/1', remoteAddress: '192.0.2.1:1' };

class OwnersBench {
  /** How often it was asked whose a credential is. */
  asked = 0;
  readonly registry = new Registry({
    ...PLAIN,
    openPort: async () => setImmediate(),
    scopes: {
      mayServe: () => true,
      limitsOf: () => ({}),
      ownerOf: (credential) => {
        this.asked += 1;
        return ownerOf(credential);
      },
      entryNameOf: ownerOf,
    },
  });

  #call = 0;

  hello(link: string, client: string, owner: string, instance = 'i'): void {
    const credential = `${owner}#1`;
    this.registry.hello({ link, client, instance, credential, ...ABOUT }, Number(link[0]));
  }

  async offer(link: string, name: string, label: string, isGood = true): Promise<string> {
    this.#call += 1;
    const options: TunnelRequest['options'] = isGood ? [] : [['no-such-option', ['x']]];
    const offers = [{ name, label, options }];
    const [answer] = await this.registry.register(link, offers, this.#call);
    return answer?.code ?? '';
  }

  /** By a search through all who are connected. */
  isTaken(owner: string, name: string, label: string): boolean {
    return [...this.registry.clients].some(
      ({ credential, links, tunnels }) =>
        [...links].some((link) => this.registry.servedOn(link).includes(name)) &&
        ownerOf(credential) !== owner &&
        tunnels.get(name) !== label,
    );
  }
}

const MANY: readonly (readonly [string, (index: number) => string, (index: number) => string])[] = [
  ['of one owner at one upstream', () => 'ann', () => 'a'],
  ['of one owner at their own upstreams', () => 'ann', (index) => `a${index}`],
  ['of their own owners at one upstream', (index) => `o${index}`, () => 'a'],
];

for (const [what, owner, label] of MANY) {
  test(`an offer asks as often beside a thousand clients ${what} as beside two`, async () => {
    const bench = new OwnersBench();
    const offer = async (index: number): Promise<number> => {
      bench.hello(`0-${index}`, `c${index}`, owner(index));
      const before = bench.asked;
      assert.equal(await bench.offer(`0-${index}`, 'site.test', label(index)), '');
      return bench.asked - before;
    };
    await offer(0);
    await offer(1);
    const third = await offer(2);
    for (let index = 3; index < 1000; index += 1) await offer(index);
    assert.equal(await offer(1000), third);
    bench.hello('1-1', 'other', 'eve');
    assert.equal(await bench.offer('1-1', 'site.test', 'b'), TAKEN);
  });
}

test('an offer that is refused takes no label, nor room, from one whose port is being opened', async () => {
  const bench = new OwnersBench();
  bench.hello('0-1', 'one', 'ann');
  const codes: string[] = [];
  for (let port = 1; port <= 1001; port += 1) {
    const name = `tcp:${2000 + port}`;
    const opening = bench.offer('0-1', name, 'a');
    assert.equal(await bench.offer('0-1', name, 'a', false), 'SLW_TUNNEL_OPTION');
    codes.push(await opening);
  }
  assert.deepEqual(codes.slice(0, -1), Array(1000).fill(''));
  assert.equal(codes.at(-1), 'SLW_TUNNEL_LIMIT');
  bench.hello('1-1', 'other', 'eve');
  assert.equal(await bench.offer('1-1', 'tcp:2001', 'a'), '', 'at the same upstream');
});

// --- against a search ----------------------------------------------------------------------------

const OWNERS = ['', 'red', 'blue', 'ci@1f'] as const;
const LABELS = ['a', 'b', 'c'] as const;
const NAMES = ['site.test', 'tcp:2222'] as const;
const LINKS = ['0-1', '0-2', '0-3', '1-1', '1-2', '1-3'] as const;

interface Command {
  readonly kind: 'hello' | 'offer' | 'bad' | 'unregister' | 'leave' | 'gone' | 'giveUp' | 'settle';
  readonly link: (typeof LINKS)[number];
  readonly client: string;
  readonly instance: string;
  readonly owner: (typeof OWNERS)[number];
  readonly name: (typeof NAMES)[number];
  readonly label: (typeof LABELS)[number];
  /** Which call is given up. */
  readonly call: number;
}

const COMMAND: fc.Arbitrary<Command> = fc.record({
  kind: fc.constantFrom(
    ...(['hello', 'hello', 'hello', 'offer', 'offer', 'offer', 'offer', 'offer'] as const),
    ...(['bad', 'unregister', 'leave', 'gone', 'giveUp', 'settle', 'settle'] as const),
  ),
  link: fc.constantFrom(...LINKS),
  client: fc.constantFrom('v', 'w', 'x', 'y'),
  instance: fc.constantFrom('1', '2'),
  owner: fc.constantFrom(...OWNERS),
  name: fc.constantFrom(...NAMES),
  label: fc.constantFrom(...LABELS),
  call: fc.integer({ min: 1, max: 10 }),
});

async function settle(): Promise<void> {
  for (let turn = 0; turn < 8; turn += 1) await setImmediate();
}

/** A host is judged at once; what comes of a port is seen at the end. */
async function offer(bench: OwnersBench, { link, name, label }: Command): Promise<void> {
  const credential = bench.registry.clientOf(link)?.credential;
  const isTaken = credential !== undefined && bench.isTaken(ownerOf(credential), name, label);
  const code = await bench.offer(link, name, label);
  // Others were refused because the link is leaving, or were given up.
  const isJudged = name === 'site.test' && (code === '' || code === TAKEN);
  if (isJudged) assert.equal(code, isTaken ? TAKEN : '');
}

function run(bench: OwnersBench, command: Command): Promise<unknown> | undefined {
  const { registry } = bench;
  const { kind, link, client, instance, owner, name, label } = command;
  switch (kind) {
    case 'hello':
      if (registry.clientOf(link) !== undefined) return undefined;
      try {
        bench.hello(link, client, owner, instance);
      } catch (error) {
        if (!(error instanceof SluicewayError)) throw error;
      }
      return undefined;
    case 'offer':
      return offer(bench, command);
    case 'bad':
      return bench.offer(link, name, label, false);
    case 'unregister':
      return void registry.unregister(link, [name]);
    case 'leave':
      return void registry.linkLeaving(link);
    case 'gone':
      return void registry.linkGone(link);
    case 'giveUp':
      return void registry.giveUp(link, command.call);
    case 'settle':
      return settle();
  }
}

/** What comes of an offer of each owner, tunnel and upstream, by somebody who comes for that. */
async function probe(bench: OwnersBench): Promise<void> {
  for (const owner of OWNERS) {
    for (const name of NAMES) {
      for (const label of LABELS) {
        const isTaken = bench.isTaken(owner, name, label);
        bench.hello('9-9', 'probe', owner);
        const code = await bench.offer('9-9', name, label);
        assert.equal(code, isTaken ? TAKEN : '', `${owner} ${name} ${label}`);
        bench.registry.linkGone('9-9');
        await settle();
      }
    }
  }
}

test('after any history a tunnel is taken as a search says', async (t: TestContext) => {
  const seed = 20_263;
  t.diagnostic(`seed ${seed}`);
  const histories = fc.array(COMMAND, { maxLength: 60, size: 'max' });
  await fc.assert(
    fc.asyncProperty(histories, async (commands) => {
      const bench = new OwnersBench();
      const offered: Promise<unknown>[] = [];
      for (const command of commands) {
        const running = run(bench, command);
        if (running !== undefined) offered.push(running);
        if (command.kind === 'settle') await running;
      }
      await Promise.all(offered);
      await settle();
      await probe(bench);
    }),
    { seed, numRuns: 500 },
  );
});
