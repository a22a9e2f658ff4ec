// Goal: an exit node of a machine has exactly one, and none is left behind. Method: tables of what
// was found in, what is planned out.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type ExitNodeObserved, planExitNode } from '../../src/operator/exit-node-plan.ts';
import type { ExitNodeObject, ObjectMeta } from '../../src/operator/objects.ts';
import { EARLIER, exitNode, NOW, SETTINGS, statusOf, summary } from './objects.ts';

const observed = (over: Partial<ExitNodeObserved>): ExitNodeObserved => ({
  ...{ exitNode: exitNode({ status: {} }), machine: 'none', refusal: undefined, hasSecret: true },
  ...{ reach: { is: 'ready' }, hasOwner: true, tunnels: 2, newToken: 'secret' },
  ...{ settings: SETTINGS, now: NOW },
  ...over,
});
const plan = (over: Partial<ExitNodeObserved>) => planExitNode(observed(over));

describe('an exit node that is there', () => {
  test('is ready when it answers, with the address of its URL', () => {
    const made = plan({ reach: { is: 'ready', caFingerprint: 'sha256:cd' } });
    assert.deepEqual(summary(made), ['status Reachable', 'tell Normal Reachable', 'settled']);
    const { addresses, url, caFingerprint, tunnels, tokenSecret } = statusOf(made);
    assert.deepEqual(
      { addresses, url, caFingerprint, tunnels, tokenSecret },
      {
        ...{ addresses: ['203.0.113.7'], url: 'wss://203.0.113.7:8123', tunnels: 2 },
        ...{ caFingerprint: 'sha256:cd', tokenSecret: { name: 'token', key: 'token' } },
      },
    );
  });

  test('keeps the CA that was seen first while it is away', () => {
    const status = { caFingerprint: 'sha256:cd', url: 'wss://203.0.113.7:8123' };
    const made = plan({ exitNode: exitNode({ status }), reach: { is: 'away', message: 'gone' } });
    assert.deepEqual(summary(made), ['status Unreachable', 'tell Warning Unreachable', 'blocked']);
    assert.equal(statusOf(made).caFingerprint, 'sha256:cd');
    assert.deepEqual(statusOf(made).addresses, ['203.0.113.7']);
  });

  test('keeps the CA that was seen first without its secret, and without a URL', () => {
    const pinned = { caFingerprint: 'sha256:cd', url: 'wss://203.0.113.7:8123' };
    const tokenless = plan({ exitNode: exitNode({ status: pinned }), hasSecret: false });
    assert.deepEqual(summary(tokenless)[0], 'status TokenMissing');
    assert.equal(statusOf(tokenless).caFingerprint, 'sha256:cd');
    const wrong = plan({ exitNode: exitNode({ spec: {}, status: pinned }) });
    assert.deepEqual(summary(wrong)[0], 'status InvalidSpec');
    assert.equal(statusOf(wrong).caFingerprint, 'sha256:cd');
  });

  test('keeps the CA that was seen first for the host and port where it was seen alone', () => {
    const of = (url: string) => exitNode({ spec: { url, tokenSecret: { name: 'token' } } });
    const rows = [
      ['wss://203.0.113.7:8123/', 'sha256:ab'],
      ['wss://203.0.113.9:8123', null],
      ['wss://203.0.113.7:8124', null],
      ['wss://exit.example.com:443', null],
    ] as const;
    for (const [url, expected] of rows) {
      const made = statusOf(plan({ exitNode: of(url), reach: { is: 'away', message: 'gone' } }));
      assert.deepEqual([made.url, made.caFingerprint], [url, expected]);
    }
  });

  test('keeps it for that address alone, also when it had none for a while', () => {
    const of = (spec: ExitNodeObject['spec'], status: ExitNodeObject['status'] & object) =>
      statusOf(plan({ exitNode: exitNode({ spec, status }), reach: { is: 'away', message: '' } }));
    const url = 'wss://203.0.113.7:8123';
    const tokenSecret = { name: 'token' };
    const seen = { url, addresses: ['203.0.113.7'], caFingerprint: 'sha256:cd' };
    for (const spec of [{}, { tokenSecret }, { url }]) {
      const bare = of(spec, seen);
      // An address for visitors, and a secret, would be one that clients are started for.
      assert.deepEqual([bare.addresses, bare.tokenSecret], [null, null]);
      const kept = bare as ExitNodeObject['status'] & object;
      assert.equal(of({ url, tokenSecret }, kept).caFingerprint, 'sha256:cd');
      const other = 'wss://203.0.113.9:8123';
      assert.equal(of({ url: other, tokenSecret }, kept).caFingerprint, null);
      assert.equal(of({ url: other }, seen).caFingerprint, null);
    }
    const unknown = { caFingerprint: 'sha256:cd' };
    assert.equal(of({ url, tokenSecret }, unknown).caFingerprint, null, 'of which address is it?');
  });

  test('that never had its secret has no address, and says which is missing', () => {
    const made = plan({ hasSecret: false, reach: { is: 'unasked' } });
    assert.deepEqual(summary(made), [
      'status TokenMissing',
      'tell Warning TokenMissing',
      'blocked',
    ]);
    assert.equal(statusOf(made).url, null);
  });

  test('keeps its address while its secret is away for a moment', () => {
    const made = plan({ exitNode: exitNode(), hasSecret: false, reach: { is: 'unasked' } });
    assert.equal(summary(made)[0], 'status TokenMissing');
    const { url, addresses, caFingerprint, tokenSecret } = statusOf(made);
    assert.deepEqual(
      { url, addresses, caFingerprint, tokenSecret },
      {
        ...{ url: 'wss://203.0.113.7:8123', addresses: ['203.0.113.7'] },
        ...{ caFingerprint: 'sha256:ab', tokenSecret: { name: 'token', key: 'token' } },
      },
    );
  });

  test('is settled once written', () => {
    const first = plan({});
    const found = exitNode({ status: statusOf(first) as ExitNodeObject['status'] & object });
    assert.deepEqual(summary(plan({ exitNode: found })), ['settled']);
  });

  test('with neither a URL nor a machine is wrong', () => {
    assert.equal(summary(plan({ exitNode: exitNode({ spec: {} }) }))[0], 'status InvalidSpec');
  });
});

describe('an exit node on a machine of its own', () => {
  const machine = (
    status: NonNullable<ExitNodeObject['status']> = {},
    meta: Partial<ObjectMeta> = {},
  ) =>
    exitNode({
      spec: { provision: { provider: 'fake', region: 'x', credentialsSecret: 'cloud' } },
      meta: { name: 'own', finalizers: ['sluiceway.dev/machine'], ...meta },
      status,
    });
  const ordered = (since: string) => ({ machine: { id: '', state: 'ordered', since } });
  const running = { id: 'm-1', state: 'running', address: '198.51.100.9' } as const;
  const away = { is: 'away', message: 'no answer' } as const;
  const rows: readonly (readonly [string, Partial<ExitNodeObserved>, readonly string[]])[] = [
    [
      'new',
      { exitNode: machine({}, { finalizers: [] }), hasSecret: false },
      [
        ...['finalizers sluiceway.dev/machine', 'create Secret sluiceway/sluiceway-exit-node-own'],
        ...['status Provisioning', 'tell Normal Provisioning', 'create-machine', 'waiting'],
      ],
    ],
    [
      'ordered a moment ago and not listed yet',
      { exitNode: machine(ordered('2026-05-01T09:59:30Z')) },
      ['waiting'],
    ],
    [
      'ordered by a clock that was ahead',
      { exitNode: machine(ordered('2026-05-01T16:00:00Z')) },
      ['status Provisioning', 'tell Normal Provisioning', 'create-machine', 'waiting'],
    ],
    [
      'ordered long ago and never seen',
      { exitNode: machine(ordered(EARLIER)) },
      ['status Provisioning', 'tell Normal Provisioning', 'create-machine', 'waiting'],
    ],
    [
      'that is being ordered',
      { exitNode: machine(ordered('2026-05-01T09:59:40Z')), machine: 'making' },
      ['waiting'],
    ],
    [
      'that takes long to be ordered, which the next operator has to know',
      { exitNode: machine(ordered('2026-05-01T09:59:20Z')), machine: 'making' },
      ['status Provisioning', 'tell Normal Provisioning', 'waiting'],
    ],
    [
      'that was refused and is being ordered again',
      { exitNode: machine(ordered(EARLIER)), machine: 'making', refusal: 'quota exceeded' },
      ['status ProviderRefused', 'tell Warning ProviderRefused', 'blocked'],
    ],
    [
      'that was refused a moment ago',
      { exitNode: machine(ordered('2026-05-01T09:59:59Z')), refusal: 'quota exceeded' },
      ['status ProviderRefused', 'tell Warning ProviderRefused', 'create-machine', 'blocked'],
    ],
    [
      'that has just stopped',
      { exitNode: machine(), machine: { id: 'm-1', state: 'stopped' }, reach: away },
      ['status MachineStopped', 'tell Warning MachineStopped', 'waiting'],
    ],
    [
      'that has stopped for a minute',
      {
        exitNode: machine({ machine: { id: 'm-1', state: 'stopped', since: EARLIER } }),
        ...{ machine: { id: 'm-1', state: 'stopped' }, reach: away },
      },
      ['status MachineStopped', 'tell Warning MachineStopped', 'remove-machine', 'blocked'],
    ],
    [
      'that has stopped, which the provider does not let go',
      {
        exitNode: machine({ machine: { id: 'm-1', state: 'stopped', since: EARLIER } }),
        ...{ machine: { id: 'm-1', state: 'stopped' }, reach: away, refusal: 'locked' },
      },
      ['status ProviderRefused', 'tell Warning ProviderRefused', 'remove-machine', 'blocked'],
    ],
    [
      'that is being removed for another one',
      {
        exitNode: machine({ machine: { id: 'm-1', state: 'stopped', since: EARLIER } }),
        machine: 'ending',
      },
      ['waiting'],
    ],
    [
      'that is called stopped, and answers',
      { exitNode: machine(), machine: { ...running, state: 'stopped' }, reach: { is: 'ready' } },
      ['status Reachable', 'tell Normal Reachable', 'settled'],
    ],
    [
      'that did not come up in a quarter of an hour',
      {
        exitNode: machine({ machine: { id: 'm-1', state: 'starting', since: EARLIER } }),
        ...{ machine: { id: 'm-1', state: 'starting' }, reach: away },
      },
      ['status MachineStopped', 'tell Warning MachineStopped', 'remove-machine', 'blocked'],
    ],
    [
      'that runs and has not answered for a quarter of an hour',
      {
        exitNode: machine({ machine: { id: 'm-1', state: 'running', since: EARLIER } }),
        ...{ machine: running, reach: away },
      },
      ['status Provisioning', 'tell Normal Provisioning', 'blocked'],
    ],
    [
      'that starts',
      { exitNode: machine(), machine: { id: 'm-1', state: 'starting' }, reach: away },
      ['status Provisioning', 'tell Normal Provisioning', 'waiting'],
    ],
    [
      'that runs and does not answer yet',
      { exitNode: machine(), machine: running, reach: away },
      ['status Provisioning', 'tell Normal Provisioning', 'waiting'],
    ],
    [
      'that answers',
      { exitNode: machine(), machine: running, reach: { is: 'ready', caFingerprint: 'sha256:ef' } },
      ['status Reachable', 'tell Normal Reachable', 'settled'],
    ],
    [
      'that answered before and does not now',
      {
        exitNode: machine({
          caFingerprint: 'sha256:ef',
          machine: { id: 'm-1', state: 'running', since: EARLIER },
        }),
        ...{ machine: running, reach: away },
      },
      ['status Unreachable', 'tell Warning Unreachable', 'blocked'],
    ],
    [
      'that the provider refused',
      { exitNode: machine(), refusal: 'quota exceeded' },
      ['status ProviderRefused', 'tell Warning ProviderRefused', 'create-machine', 'blocked'],
    ],
    [
      'of a provider that is away, before there was an address',
      { exitNode: machine(), machine: 'unknown', refusal: 'HTTP 503' },
      ['status ProviderRefused', 'tell Warning ProviderRefused', 'blocked'],
    ],
    [
      'of a provider that is away, while it serves',
      {
        exitNode: machine({ url: 'wss://198.51.100.9:8123', addresses: ['198.51.100.9'] }),
        ...{ machine: 'unknown', refusal: 'HTTP 503' },
      },
      ['status Reachable', 'tell Normal Reachable', 'blocked'],
    ],
  ];
  for (const [name, over, expected] of rows) {
    test(`${name}: ${expected.join(', ')}`, () => {
      assert.deepEqual(summary(plan(over)), expected);
    });
  }

  const tokenless: Partial<ExitNodeObserved> = { hasSecret: false, reach: { is: 'unasked' } };
  const served = machine({
    ...{ url: 'wss://198.51.100.9:8123', addresses: ['198.51.100.9'], caFingerprint: 'sha256:ef' },
    ...{ machine: { id: 'm-1', state: 'running', since: EARLIER } },
    tokenSecret: { name: 'sluiceway-exit-node-own', key: 'token' },
  });
  for (const there of [running, { id: 'm-1', state: 'starting' }, 'unknown'] as const) {
    test(`whose secret is lost gets no other token, ${JSON.stringify(there)}`, () => {
      const made = plan({ exitNode: served, machine: there, ...tokenless });
      const missing = ['status TokenMissing', 'tell Warning TokenMissing', 'blocked'];
      assert.deepEqual(summary(made), missing);
      const { url, addresses, caFingerprint } = statusOf(made);
      const { status } = served;
      assert.deepEqual(
        [url, addresses, caFingerprint],
        [status?.url, status?.addresses, status?.caFingerprint],
      );
    });
  }

  test('whose secret is lost gets another token with another machine', () => {
    const gone = plan({ exitNode: served, machine: 'none', ...tokenless });
    assert.deepEqual(summary(gone), [
      ...['create Secret sluiceway/sluiceway-exit-node-own', 'status Provisioning'],
      ...['tell Normal Provisioning', 'create-machine', 'waiting'],
    ]);
    const other = plan({ exitNode: served, machine: { ...running, id: 'm-2' }, ...tokenless });
    assert.deepEqual([statusOf(other).url, statusOf(other).caFingerprint], [null, null]);
  });

  test('has no address, and so no client, before its CA is pinned', () => {
    const made = statusOf(plan({ exitNode: machine(), machine: running, reach: away }));
    assert.deepEqual([made.url, made.addresses, made.caFingerprint], [null, null, null]);
    const pinned = machine({
      caFingerprint: 'sha256:ef',
      machine: { id: 'm-1', state: 'running', since: EARLIER },
    });
    const later = statusOf(plan({ exitNode: pinned, machine: running, reach: away }));
    assert.deepEqual(later.addresses, ['198.51.100.9']);
  });

  test('pins the CA of its first answer', () => {
    const made = plan({
      ...{ exitNode: machine(), machine: running },
      reach: { is: 'ready', caFingerprint: 'sha256:ef' },
    });
    const { url, caFingerprint, machine: found } = statusOf(made);
    assert.deepEqual(
      { url, caFingerprint, found },
      {
        ...{ url: 'wss://198.51.100.9:8123', caFingerprint: 'sha256:ef' },
        found: { id: 'm-1', state: 'running', since: NOW },
      },
    );
  });

  const bare = { id: 'm-1', state: 'running' } as const;
  const lost = (state: string, since: string) =>
    machine({ ...served.status, machine: { id: 'm-1', state, since } });
  const addressless: typeof rows = [
    [
      'and answers',
      { exitNode: lost('addressless', EARLIER), machine: bare },
      ['status Reachable', 'tell Normal Reachable', 'settled'],
    ],
    [
      'for the first time after an hour, and does not answer',
      { exitNode: lost('running', EARLIER), machine: bare, reach: away },
      ['status Unreachable', 'tell Warning Unreachable', 'blocked'],
    ],
    [
      'for a quarter of an hour, and does not answer',
      { exitNode: lost('addressless', EARLIER), machine: bare, reach: away },
      ['status MachineStopped', 'tell Warning MachineStopped', 'remove-machine', 'blocked'],
    ],
    [
      'and has never had one',
      {
        exitNode: machine({ machine: { id: 'm-1', state: 'running', since: EARLIER } }),
        ...{ machine: bare, reach: { is: 'unasked' } },
      },
      ['status Provisioning', 'tell Normal Provisioning', 'waiting'],
    ],
    [
      'in place of another one, which answers',
      { exitNode: served, machine: { ...bare, id: 'm-2' } },
      ['status Provisioning', 'tell Normal Provisioning', 'waiting'],
    ],
  ];
  for (const [name, over, expected] of addressless) {
    test(`that is listed without an address ${name}: ${expected.join(', ')}`, () => {
      const made = plan(over);
      assert.deepEqual(summary(made), expected);
      if (!/Reachable|Unreachable/.test(expected[0] ?? '')) return;
      const { url, addresses } = statusOf(made);
      assert.deepEqual([url, addresses], [served.status?.url, served.status?.addresses]);
    });
  }

  const going = { deletionTimestamp: NOW };
  const removals: readonly (readonly [string, Partial<ExitNodeObserved>, readonly string[]])[] = [
    ['found', { machine: running }, ['remove-machine', 'waiting']],
    ['perhaps there', { machine: 'unknown' }, ['remove-machine', 'waiting']],
    ['being made', { machine: 'making' }, ['remove-machine', 'waiting']],
    ['being removed', { machine: 'ending' }, ['remove-machine', 'waiting']],
    ['stopped', { machine: { id: 'm-1', state: 'stopped' } }, ['remove-machine', 'waiting']],
    [
      'not removed by its provider',
      { machine: running, refusal: 'HTTP 401' },
      ['status ProviderRefused', 'tell Warning ProviderRefused', 'remove-machine', 'blocked'],
    ],
    [
      'gone',
      { machine: 'none' },
      ['delete Secret sluiceway/sluiceway-exit-node-own', 'finalizers ', 'settled'],
    ],
  ];
  for (const [name, over, expected] of removals) {
    test(`being deleted, with its machine ${name}: ${expected.join(', ')}`, () => {
      assert.deepEqual(summary(plan({ exitNode: machine({}, going), ...over })), expected);
    });
  }

  const late = ['delete Secret sluiceway/sluiceway-exit-node-own', 'finalizers ', 'settled'];
  const ordersOf: readonly (readonly [string, string, string, readonly string[]])[] = [
    ['ordered a moment ago', '2026-05-01T09:59:30Z', EARLIER, ['waiting']],
    ['deleted a moment ago', EARLIER, '2026-05-01T09:59:30Z', ['waiting']],
    ['ordered and deleted a minute ago', EARLIER, '2026-05-01T09:59:00Z', late],
    ['ordered by a clock that was ahead', '2026-05-01T16:00:00Z', EARLIER, late],
  ];
  for (const [name, since, deletionTimestamp, expected] of ordersOf) {
    test(`being deleted, with no machine listed, ${name}: ${expected.join(', ')}`, () => {
      const one = machine(ordered(since), { deletionTimestamp });
      assert.deepEqual(summary(plan({ exitNode: one, machine: 'none' })), expected);
      const unheard = plan({ exitNode: one, machine: 'none', refusal: 'no answer' });
      assert.deepEqual(summary(unheard), expected);
    });
  }

  test('keeps the note of an order that seemed to be refused, and makes one before each', () => {
    const { machine: note } = ordered('2026-05-01T09:59:59Z');
    const refusal = 'no answer';
    const again = plan({ exitNode: machine(ordered(note.since)), refusal });
    assert.deepEqual(statusOf(again).machine, note);
    const before = machine({ machine: { id: 'm-1', state: 'stopped', since: EARLIER } });
    const first = plan({ exitNode: before, refusal });
    assert.deepEqual(statusOf(first).machine, { ...note, since: NOW });
  });

  test('goes when its tunnel has gone', () => {
    const made = plan({ exitNode: machine(), machine: running, hasOwner: false });
    assert.deepEqual(summary(made), ['delete ExitNode own', 'settled']);
  });

  test('pins no CA of a machine that was before it', () => {
    const before = machine({
      ...{ caFingerprint: 'sha256:ef', url: 'wss://198.51.100.8:8123' },
      machine: { id: 'm-0', state: 'running', since: EARLIER },
    });
    const made = plan({ exitNode: before, machine: running, reach: away });
    assert.deepEqual(statusOf(made).caFingerprint, null);
    const same = machine({
      caFingerprint: 'sha256:ef',
      machine: { id: 'm-1', state: 'running', since: EARLIER },
    });
    const kept = plan({ exitNode: same, machine: running, reach: away });
    assert.equal(statusOf(kept).caFingerprint, 'sha256:ef');
  });

  test('keeps the CA that was seen first while it starts anew, as long as it is the same', () => {
    const pinned = machine({
      ...{ caFingerprint: 'sha256:ef', url: 'wss://198.51.100.9:8123' },
      machine: { id: 'm-1', state: 'running', since: EARLIER },
    });
    for (const state of ['starting', 'stopped'] as const) {
      const same = plan({ exitNode: pinned, machine: { id: 'm-1', state }, reach: away });
      assert.equal(statusOf(same).caFingerprint, 'sha256:ef', state);
      const other = plan({ exitNode: pinned, machine: { id: 'm-2', state }, reach: away });
      assert.equal(statusOf(other).caFingerprint, null, state);
    }
  });

  const turned: readonly (readonly [string, Partial<ExitNodeObserved>, readonly string[]])[] = [
    ['found', { machine: running }, ['remove-machine', 'waiting']],
    ['perhaps there', { machine: 'unknown' }, ['remove-machine', 'waiting']],
    [
      'gone',
      { machine: 'none' },
      [
        ...['delete Secret sluiceway/sluiceway-exit-node-own', 'finalizers '],
        ...['status Template', 'tell Normal Template', 'settled'],
      ],
    ],
  ];
  for (const [name, over, expected] of turned) {
    test(`that became a template, with its machine ${name}: ${expected.join(', ')}`, () => {
      const { spec, ...rest } = machine();
      const template = { ...rest, spec: { ...spec, allocation: 'PerTunnel' } } as const;
      assert.deepEqual(summary(plan({ exitNode: template, ...over })), expected);
    });
  }

  test('that is a template for others has no machine', () => {
    const provision = { provider: 'fake', credentialsSecret: 'cloud' };
    const spec = { provision, allocation: 'PerTunnel' } as const;
    assert.deepEqual(summary(plan({ exitNode: exitNode({ spec, status: {} }) })), [
      ...['status Template', 'tell Normal Template', 'settled'],
    ]);
  });
});
