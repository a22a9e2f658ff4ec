// Goal: limits of an entry count all clients and links that it let in, whatever has come and gone
// and whatever has become of the tokens file, and a hello costs the same among however many.
// Method: every hello of a random history is judged beside a plain sum over who is connected, with
// the entries of a real TokenGate; the work is counted, in place of milliseconds.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { SluicewayError } from '../../src/base/errors.ts';
import type { LinkHello } from '../../src/bridge/exit-messages.ts';
import type { TokenEntry } from '../../src/config/config.ts';
import type { ClientLimits } from '../../src/control/clients.ts';
import { Registry } from '../../src/control/registry.ts';
import { entryNameOf, ownerOf, TokenGate } from '../../src/control/tokens.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { PLAIN } from './registry-bench.ts';

const ABOUT = { agent: 'a/1', remoteAddress: '192.0.2.1:1' };

function codeOf(action: () => void): string {
  try {
    action();
    return '';
  } catch (error) {
    if (error instanceof SluicewayError) return error.code;
    throw error;
  }
}

test('a hello asks whose a credential is as often among a thousand clients as among none', () => {
  let asked = 0;
  const count = (of: (credential: string) => string) => (credential: string) => {
    asked += 1;
    return of(credential);
  };
  const registry = new Registry({
    ...PLAIN,
    scopes: {
      mayServe: () => true,
      limitsOf: () => ({ clientsMax: 1002, linksMax: 1002 }),
      ownerOf: count(ownerOf),
      entryNameOf: count(entryNameOf),
    },
  });
  const hello = (index: number): number => {
    const before = asked;
    const who = { link: `0-${index}`, client: `c${index}`, instance: 'i', credential: 'ann#1' };
    registry.hello({ ...ABOUT, ...who }, 0);
    return asked - before;
  };
  const first = hello(0);
  for (let index = 1; index <= 1000; index += 1) hello(index);
  assert.equal(hello(1001), first);
  assert.throws(() => hello(1002), { code: 'SLW_LINK_LIMIT' });
});

// --- against a plain sum -------------------------------------------------------------------------

const LINKS = ['0-1', '0-2', '0-3', '1-1', '1-2', '1-3'] as const;
const SECRETS = ['ann-old', 'ann-new', 'bob'] as const;
const SUBJECTS = ['repo:x', 'repo:y'] as const;

/** A tokens file: an entry with two secrets, one with one, a rule for two subjects. */
interface TokensFile {
  readonly secrets: readonly string[];
  readonly clientsMax: number | undefined;
  readonly linksMax: number | undefined;
}

interface Command {
  readonly kind: 'hello' | 'linkGone' | 'shardGone' | 'file';
  readonly link: (typeof LINKS)[number];
  readonly client: string;
  readonly instance: string;
  /** A secret, a subject, or nothing: a certificate. */
  readonly by: string;
  readonly file: TokensFile;
}

const LIMIT = fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined });
const FILE: fc.Arbitrary<TokensFile> = fc.record({
  secrets: fc.subarray([...SECRETS]),
  clientsMax: LIMIT,
  linksMax: LIMIT,
});
const COMMAND: fc.Arbitrary<Command> = fc.record({
  kind: fc.constantFrom(
    ...(['hello', 'hello', 'hello', 'hello', 'hello'] as const),
    ...(['linkGone', 'linkGone', 'shardGone', 'file'] as const),
  ),
  link: fc.constantFrom(...LINKS),
  client: fc.constantFrom('v', 'w', 'x', 'y'),
  instance: fc.constantFrom('1', '2'),
  by: fc.constantFrom(...SECRETS, ...SUBJECTS, ''),
  file: FILE,
});

function entriesOf({ secrets, clientsMax, linksMax }: TokensFile): TokenEntry[] {
  const more = {
    ...{ hosts: [], ports: [], udpPorts: [], isAdmin: false },
    ...(clientsMax === undefined ? {} : { clientsMax }),
    ...(linksMax === undefined ? {} : { linksMax }),
  };
  const digestsOf = (name: string): string[] =>
    secrets
      .filter((secret) => secret.startsWith(name))
      .map((secret) => createHash('sha256').update(secret).digest('hex'));
  return [
    { ...more, name: 'ann', digests: digestsOf('ann') },
    { ...more, name: 'bob', digests: digestsOf('bob') },
    { ...more, name: 'ci', digests: [], claims: [{ claim: 'sub', patterns: ['repo:*'] }] },
  ];
}

class LimitsBench {
  readonly gate = new TokenGate(undefined, new FakeClock());
  readonly registry = new Registry({
    ...PLAIN,
    scopes: {
      mayServe: () => true,
      limitsOf: ({ credential }) => this.gate.entryOf(credential, '192.0.2.1'),
      ownerOf,
      entryNameOf,
    },
  });

  /** As access.ts does: those whose entry or secret is gone are ended at once. */
  read(file: TokensFile): void {
    this.gate.replace(entriesOf(file));
    this.registry.endLinks(
      ({ credential }) =>
        credential !== '' && this.gate.entryOf(credential, '192.0.2.1') === undefined,
      'SLW_LINK_REVOKED',
    );
  }

  /** Undefined: it is not let in. */
  credentialOf(by: string): string | undefined {
    if (by === '') return '';
    const principal = by.startsWith('repo:')
      ? this.gate.identifyClaims({ sub: by }, '192.0.2.1')
      : this.gate.identify(`Bearer ${by}`, '192.0.2.1');
    return principal?.credential;
  }

  /** What comes of a hello, by adding up all who are there. */
  expect({ client, instance, credential = '' }: LinkHello): string {
    const clients = [...this.registry.clients];
    const same = clients.find(({ id }) => id === client);
    if (same?.replaced.includes(instance) === true) return 'SLW_LINK_REPLACED';
    if (same !== undefined && ownerOf(same.credential) !== ownerOf(credential)) {
      return 'SLW_LINK_ID_TAKEN';
    }
    const limits: ClientLimits | undefined =
      credential === '' ? {} : this.gate.entryOf(credential, '192.0.2.1');
    const entry = entryNameOf(credential);
    const own = clients.filter((one) => entryNameOf(one.credential) === entry);
    const others = own.filter((one) => one !== same);
    const staying = same?.instance === instance ? own : others;
    const links = staying.reduce((sum, one) => sum + one.links.size, 0);
    const isFull = others.length >= (limits?.clientsMax ?? 99) || links >= (limits?.linksMax ?? 99);
    return isFull ? 'SLW_LINK_LIMIT' : '';
  }
}

function run(bench: LimitsBench, { kind, link, client, instance, by, file }: Command): string {
  const { registry } = bench;
  const shard = Number(link[0]);
  if (kind === 'linkGone') registry.linkGone(link);
  if (kind === 'shardGone') registry.shardGone(shard);
  if (kind === 'file') bench.read(file);
  const credential = bench.credentialOf(by);
  if (kind !== 'hello' || credential === undefined) return '';
  if (registry.clientOf(link) !== undefined) return '';
  const hello = { link, client, instance, credential, ...ABOUT };
  const expected = bench.expect(hello);
  assert.equal(
    codeOf(() => registry.hello(hello, shard)),
    expected,
  );
  return expected;
}

test('any history of clients and tokens files counts as a plain sum does', (t: TestContext) => {
  const seed = 20_262;
  t.diagnostic(`seed ${seed}`);
  const codes = new Set<string>();
  const histories = fc.array(COMMAND, { maxLength: 60, size: 'max' });
  fc.assert(
    fc.property(FILE, histories, (file, commands) => {
      const bench = new LimitsBench();
      bench.read(file);
      for (const command of commands) codes.add(run(bench, command));
    }),
    { seed, numRuns: 2000 },
  );
  const seen = ['', 'SLW_LINK_ID_TAKEN', 'SLW_LINK_LIMIT', 'SLW_LINK_REPLACED'];
  assert.deepEqual([...codes].sort(), seen, 'all of it has happened');
});
