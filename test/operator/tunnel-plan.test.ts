// Goal: a tunnel has its client when it may, and nothing of it is left when it may not. Method:
// tables of tunnels in every state in, what is planned out.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Served } from '../../src/operator/client-readiness.ts';
import type {
  Condition,
  DeploymentObject,
  ExitNodeObject,
  TunnelObject,
  TunnelSpecFields,
} from '../../src/operator/objects.ts';
import type { TunnelObserved } from '../../src/operator/tunnel-plan.ts';
import {
  condition,
  EARLIER,
  exitNode,
  NOW,
  SETTINGS,
  statusOf,
  summary,
  tunnel,
} from './objects.ts';
import { client, NAME, plan } from './planned.ts';

describe('a tunnel that can be served', () => {
  test('is claimed before its client is made', () => {
    const made = plan({});
    assert.deepEqual(summary(made), [
      ...['status ClientStarting', 'tell Normal ClientStarting'],
      ...[`apply Deployment sluiceway/${NAME}`, 'waiting'],
    ]);
    const { claims, addresses, exitNode: on, endpoints } = statusOf(made);
    assert.deepEqual(
      { claims, addresses, on, endpoints },
      {
        ...{ claims: ['tcp:80'], addresses: ['203.0.113.7'], on: 'shared' },
        endpoints: ['tcp://203.0.113.7:80'],
      },
    );
  });

  test('has its finalizer before anything else', () => {
    const bare = tunnel({ meta: { finalizers: [] } });
    assert.equal(summary(plan({ tunnel: bare }))[0], 'finalizers sluiceway.dev/client');
  });

  const rows: readonly (readonly [string, Served, DeploymentObject['status'], string, string])[] = [
    ['is served', 'all', undefined, 'Served', 'settled'],
    ['has no pod', 'unknown', {}, 'ClientStarting', 'waiting'],
    [
      'has a pod of before',
      'unknown',
      { observedGeneration: 0, availableReplicas: 1 },
      'ClientStarting',
      'waiting',
    ],
    ['cannot be asked about', 'unknown', undefined, 'ExitNodeUnreachable', 'blocked'],
    ['is not served', { missing: ['tcp:80'] }, undefined, 'NotServed', 'blocked'],
    [
      'is served by a pod of before, too',
      'all',
      { observedGeneration: 1, replicas: 2, updatedReplicas: 1, availableReplicas: 1 },
      'RollingOut',
      'waiting',
    ],
  ];
  for (const [name, served, status, reason, next] of rows) {
    test(`${name}: ${reason}, ${next}`, () => {
      const made = plan({ served, deployment: client(tunnel(), status) });
      assert.equal(summary(made)[0], `status ${reason}`);
      assert.equal(made.next, next);
      assert.ok(!summary(made).some((one) => one.startsWith('apply')), 'nothing is applied');
    });
  }

  test('is not served yet by what its new list of visitors was written for', () => {
    const tight = tunnel({ spec: { ...tunnel().spec, allowIps: ['192.0.2.0/24'] } });
    const open = client(tunnel());
    assert.deepEqual(summary(plan({ tunnel: tight, deployment: open, served: 'all' })), [
      ...['status RollingOut', 'tell Normal RollingOut'],
      ...[`apply Deployment sluiceway/${NAME}`, 'waiting'],
    ]);
    const going = { ...open, metadata: { ...open.metadata, deletionTimestamp: NOW } };
    const made = plan({ tunnel: tight, deployment: going, served: 'all' });
    assert.equal(summary(made)[0], 'status ClientStarting');
  });

  test('is left alone once all is as it should be', () => {
    const first = plan({ served: 'all', deployment: client(tunnel()) });
    const settled = tunnel({ status: statusOf(first) as TunnelObject['status'] });
    const again = plan({ tunnel: settled, served: 'all', deployment: client(settled) });
    assert.deepEqual(summary(again), ['settled']);
  });

  test('has its client put right when somebody changed it', () => {
    const found = client(tunnel());
    const changed = { ...found, spec: { ...found.spec, replicas: 0 } };
    const made = summary(plan({ deployment: changed }));
    assert.ok(made.includes(`apply Deployment sluiceway/${NAME}`), made.join());
  });

  test('is served by what admission made of its client, and applied once', () => {
    const found = client(tunnel());
    const [template, metadata] = [{ other: 'resources' }, { ...found.metadata, generation: 3 }];
    const changed = { ...found, metadata, spec: { ...found.spec, template } };
    const status = { ...found.status, observedGeneration: 3 };
    const deployment = { ...changed, status };
    const settled = (applied: number | undefined) =>
      summary(plan({ deployment, served: 'all', applied }));
    const apply = `apply Deployment sluiceway/${NAME}`;
    assert.deepEqual(settled(3), ['status Served', 'tell Normal Served', 'settled']);
    for (const applied of [2, undefined]) {
      const made = settled(applied);
      assert.ok(made.includes(apply), `${applied}: ${made}`);
    }
    const other = tunnel({ spec: { ...tunnel().spec, allowIps: ['192.0.2.0/24'] } });
    const next = plan({ tunnel: other, deployment, served: 'all', applied: 3 });
    assert.ok(summary(next).includes(apply), 'another spec is not what was applied');
  });

  test('a client loses what its tunnel asks for no more', () => {
    const resources = { limits: { memory: '1Gi', cpu: '1' } };
    for (const settings of [{ nodeSelector: { a: 'b' } }, { tolerations: [] }, { resources }]) {
      const before = tunnel({ spec: { ...tunnel().spec, client: settings } });
      const limits = { limits: { memory: '1Gi' } };
      const left = 'resources' in settings ? { client: { resources: limits } } : {};
      const after = tunnel({ spec: { ...tunnel().spec, ...left } });
      const made = summary(plan({ tunnel: after, deployment: client(before) }));
      assert.ok(made.includes(`apply Deployment sluiceway/${NAME}`), JSON.stringify(settings));
    }
  });

  test('waits for a client that is going before it makes another', () => {
    const found = client(tunnel());
    const going = { ...found, metadata: { ...found.metadata, deletionTimestamp: NOW } };
    const made = plan({ deployment: going });
    assert.deepEqual(summary(made), [
      ...['status ClientStarting', 'tell Normal ClientStarting', 'waiting'],
    ]);
  });

  test('keeps saying what the API refused until it is taken', () => {
    const first = plan({ refusal: 'no such quantity' });
    assert.deepEqual(summary(first), ['status Refused', 'tell Warning Refused', 'blocked']);
    const refused = tunnel({ status: statusOf(first) as TunnelObject['status'] & object });
    const again = summary(plan({ tunnel: refused }));
    assert.deepEqual(again, [`apply Deployment sluiceway/${NAME}`, 'blocked']);
    const meta = { generation: 2 };
    const edited = { ...refused, metadata: { ...refused.metadata, ...meta } };
    assert.equal(summary(plan({ tunnel: edited }))[0], 'status ClientStarting');
  });

  test('waits for an exit node without an address, and holds its names meanwhile', () => {
    const young = exitNode({ status: {} });
    const made = plan({ exitNodes: [young] });
    assert.deepEqual(summary(made), [
      ...['status ExitNodePending', 'tell Normal ExitNodePending', 'waiting'],
    ]);
    assert.deepEqual(statusOf(made).claims, ['tcp:80']);
  });
});

test('a stored tunnel with an allow list of nobody serves nobody, and says why', () => {
  for (const [allowIps, message] of [
    [[], /^spec\.allowIps is empty/u],
    [['office'], /'office' is not a network/u],
  ] as const) {
    const open = tunnel({ spec: { ...tunnel().spec, allowIps } });
    const made = plan({ tunnel: open, deployment: client(tunnel()), served: 'all' });
    assert.deepEqual(summary(made), [
      ...[`delete Deployment sluiceway/${NAME}`, 'status InvalidSpec'],
      ...['tell Warning InvalidSpec', 'blocked'],
    ]);
    const { conditions } = statusOf(made) as { conditions: Condition[] };
    for (const type of ['Ready', 'Accepted']) {
      const told = conditions.find((one) => one.type === type);
      assert.equal(told?.status, 'False');
      assert.match(told?.message ?? '', message);
    }
  }
});

describe('names', () => {
  const holder = (over: { uid?: string; at?: string; claims?: string[]; on?: string } = {}) =>
    tunnel({
      meta: { name: 'old', uid: over.uid ?? 't-0', creationTimestamp: over.at ?? EARLIER },
      status: { exitNode: over.on ?? 'shared', claims: over.claims ?? ['tcp:80'] },
    });
  const refused = (made: ReturnType<typeof plan>) => summary(made)[0];

  test('that another tunnel holds are taken, whoever is older', () => {
    const late = holder({ at: '2027-01-01T00:00:00Z' });
    const made = plan({ others: [late] });
    assert.deepEqual(summary(made), ['status PortTaken', 'tell Warning PortTaken', 'blocked']);
    const { conditions } = statusOf(made) as { conditions: { message: string }[] };
    assert.match(conditions[0]?.message ?? '', /TCP port 80 is taken by tunnel shop\/old/);
  });

  test('on another exit node are free', () => {
    assert.equal(refused(plan({ others: [holder({ on: 'other' })] })), 'status ClientStarting');
  });

  test('that both hold stay with the older one', () => {
    const both = { exitNode: 'shared', claims: ['tcp:80'] };
    const self = tunnel({ status: both });
    const young = holder({ at: NOW });
    assert.equal(refused(plan({ tunnel: self, others: [young] })), 'status ClientStarting');
    const old = holder({ at: '2020-01-01T00:00:00Z' });
    assert.equal(refused(plan({ tunnel: self, others: [old] })), 'status PortTaken');
  });

  test('that are given up are held until no pod of the old client is left', () => {
    const before = { exitNode: 'shared', claims: ['tcp:80'] };
    const moved = tunnel({
      spec: { tcp: [{ publicPort: 81, service: { name: 'web', port: 80 } }] },
      status: before,
    });
    const old = client(tunnel());
    const first = plan({ tunnel: moved, deployment: old });
    assert.deepEqual(statusOf(first).claims, ['tcp:81', 'tcp:80']);
    const rolling = client(moved, { observedGeneration: 1, replicas: 2, updatedReplicas: 1 });
    const kept = tunnel({ spec: moved.spec, status: statusOf(first) as TunnelObject['status'] });
    assert.deepEqual(statusOf(plan({ tunnel: kept, deployment: rolling, served: 'all' })).claims, [
      'tcp:81',
      'tcp:80',
    ]);
    const done = plan({ tunnel: kept, deployment: client(moved), served: 'all' });
    assert.deepEqual(statusOf(done).claims, ['tcp:81']);
  });

  const hosts = (...names: string[]): TunnelObject['spec'] => ({
    upstreams: names.map((host) => ({ host, service: { name: 'web', port: 80 } })),
  });
  const node = (spec: Partial<ExitNodeObject['spec']>): ExitNodeObject => {
    const found = exitNode();
    return { ...found, spec: { ...found.spec, ...spec } };
  };
  const port = (publicPort: number, kind: 'tcp' | 'udp' = 'tcp'): TunnelObject['spec'] => ({
    [kind]: [{ publicPort, service: { name: 'web', port: 80 } }],
  });
  const networks = (count: number) =>
    Array.from({ length: count }, (_, index) => `10.0.${index}.0/24`);
  const udp = (publicPort: number) => tunnel({ spec: port(publicPort, 'udp') });

  test('of one number are two, of TCP and of UDP', () => {
    const both = tunnel({ spec: { ...port(53), ...port(53, 'udp') } });
    const { claims, endpoints } = statusOf(plan({ tunnel: both }));
    assert.deepEqual(claims, ['tcp:53', 'udp:53']);
    assert.deepEqual(endpoints, ['tcp://203.0.113.7:53', 'udp://203.0.113.7:53']);
    const rivals = [['tcp:53'], ['udp:53']].map((claims) => [holder({ claims })]);
    const made = [port(53), port(53, 'udp')].flatMap((spec) =>
      rivals.map((others) => refused(plan({ tunnel: tunnel({ spec }), others }))),
    );
    assert.deepEqual(made, [
      ...['status PortTaken', 'status ClientStarting'],
      ...['status ClientStarting', 'status PortTaken'],
    ]);
  });

  test('of UDP leave the port for links alone, and follow tcpPorts unless they have a list', () => {
    const rows = [
      [8123, {}, 'ClientStarting'],
      [53, { tcpPorts: ['1024-65535'] }, 'PortNotAllowed'],
      [5353, { tcpPorts: ['1024-65535'] }, 'ClientStarting'],
      [53, { tcpPorts: ['1024-65535'], udpPorts: ['53'] }, 'ClientStarting'],
      [5353, { tcpPorts: ['1024-65535'], udpPorts: ['53', '500-600'] }, 'PortNotAllowed'],
      [5353, { udpPorts: ['x'] }, 'PortNotAllowed'],
    ] as const;
    for (const [number, spec, reason] of rows) {
      const made = plan({ tunnel: udp(number), exitNodes: [node(spec)] });
      assert.equal(refused(made), `status ${reason}`, `${number} ${JSON.stringify(spec)}`);
    }
    const outside = plan({ tunnel: udp(80), exitNodes: [node({ udpPorts: ['53', '500-600'] })] });
    const { conditions } = statusOf(outside) as { conditions: { message: string }[] };
    assert.match(
      conditions[0]?.message ?? '',
      /^UDP port 80 is outside of 53, 500-600, which shared allows$/,
    );
  });
  const rows: readonly (readonly [string, Partial<TunnelObserved>, string])[] = [
    [
      'a host that is taken',
      { tunnel: tunnel({ spec: hosts('A.example') }), others: [holder({ claims: ['a.example'] })] },
      'HostTaken',
    ],
    ['a host twice', { tunnel: tunnel({ spec: hosts('a.example', 'A.example') }) }, 'InvalidSpec'],
    ['no host at all', { tunnel: tunnel({ spec: hosts('a b') }) }, 'InvalidHost'],
    ['nothing', { tunnel: tunnel({ spec: {} }) }, 'InvalidSpec'],
    [
      'a UDP port twice',
      { tunnel: tunnel({ spec: { udp: [...(port(53).tcp ?? []), ...(port(53).tcp ?? [])] } }) },
      'InvalidSpec',
    ],
    [
      'a path under TLS',
      {
        tunnel: tunnel({
          spec: {
            upstreams: [
              { host: 'a.example', path: '/x', scheme: 'tls', service: { name: 'web', port: 443 } },
            ],
          },
        }),
      },
      'InvalidHost',
    ],
    [
      'TLS by an address, which its client does not take',
      {
        tunnel: tunnel({
          spec: {
            upstreams: [{ host: '192.0.2.1', scheme: 'tls', service: { name: 'web', port: 443 } }],
          },
        }),
      },
      'InvalidSpec',
    ],
    [
      'visitors from more networks than its client takes',
      { tunnel: tunnel({ spec: { ...port(80), allowIps: networks(65) } }) },
      'InvalidSpec',
    ],
    [
      'visitors from what is no network',
      { tunnel: tunnel({ spec: { ...port(80), allowIps: ['192.0.2.0/33'] } }) },
      'InvalidSpec',
    ],
    ['the port of the exit node itself', { tunnel: tunnel({ spec: port(8123) }) }, 'PortTaken'],
    [
      'a port that it does not allow',
      { exitNodes: [node({ tcpPorts: ['1024-65535'] })] },
      'PortNotAllowed',
    ],
    [
      'a port, where what is allowed cannot be read',
      { exitNodes: [node({ tcpPorts: ['x'] })] },
      'PortNotAllowed',
    ],
    ['no exit node that there is', { exitNodes: [] }, 'ExitNodeNotFound'],
    [
      'one that is being deleted',
      { exitNodes: [exitNode({ meta: { deletionTimestamp: NOW } })] },
      'ExitNodeNotFound',
    ],
    [
      'one of another namespace',
      { exitNodes: [node({ allowedNamespaces: ['other'] })] },
      'ExitNodeNotAllowed',
    ],
    [
      'one of no namespace, as it was stored',
      { exitNodes: [node({ allowedNamespaces: [] })] },
      'ExitNodeNotAllowed',
    ],
  ];
  for (const [name, over, reason] of rows) {
    test(`asking for ${name} is ${reason}, and has no client`, () => {
      const deployment = client(tunnel());
      const made = summary(plan({ ...over, deployment }));
      assert.deepEqual(made, [
        ...[`delete Deployment sluiceway/${NAME}`, `status ${reason}`],
        ...[`tell Warning ${reason}`, 'blocked'],
      ]);
    });
  }

  test('with as many networks as the client takes have one; one more is told by its words', () => {
    const most = tunnel({ spec: { ...port(80), allowIps: networks(64) } });
    assert.equal(refused(plan({ tunnel: most })), 'status ClientStarting');
    const more = tunnel({ spec: { ...port(80), allowIps: networks(65) } });
    const { conditions } = statusOf(plan({ tunnel: more })) as { conditions: Condition[] };
    const ready = conditions.find(({ type }) => type === 'Ready');
    assert.equal(ready?.message, "--tcp: 'tcp:80': 65 networks are too many; give at most 64");
  });

  const web = { name: 'web', port: 80 };
  const ways: readonly (readonly [string, TunnelSpecFields])[] = [
    ['a TCP port', { tcp: [{ publicPort: 80, service: web }] }],
    ['a UDP port', { udp: [{ publicPort: 80, service: web }] }],
    ['a host', { upstreams: [{ host: 'a.example', service: web }] }],
    ['TLS by name', { upstreams: [{ host: 'a.example', scheme: 'tls', service: web }] }],
  ];
  for (const [name, spec] of ways) {
    test(`lead by ${name} to no Service of type ExternalName`, () => {
      const self = tunnel({ spec });
      const deployment = client(self);
      const made = plan({ tunnel: self, deployment, externalNames: new Set(['web']) });
      assert.deepEqual(summary(made), [
        ...[`delete Deployment sluiceway/${NAME}`, 'status ServiceNotAllowed'],
        ...['tell Warning ServiceNotAllowed', 'blocked'],
      ]);
      const other = plan({ tunnel: self, externalNames: new Set(['api']) });
      assert.ok(summary(other).includes(`apply Deployment sluiceway/${NAME}`));
    });
  }

  test('without an exit node there is a reason, too', () => {
    const { exitNode: _none, ...settings } = SETTINGS;
    assert.equal(refused(plan({ settings })), 'status NoExitNode');
  });

  test('of a client that is going are held until it has gone', () => {
    const status = { exitNode: 'shared', claims: ['tcp:80'], addresses: ['203.0.113.7'] };
    const self = tunnel({ spec: {}, status });
    const going = statusOf(plan({ tunnel: self, deployment: client(tunnel()) }));
    assert.deepEqual([going.claims, going.addresses], [['tcp:80'], null]);
    const gone = statusOf(plan({ tunnel: self }));
    assert.deepEqual([gone.claims, gone.exitNode], [null, null]);
  });
});

test('a condition keeps its time while its status does not turn', () => {
  const before = tunnel({
    status: { conditions: [condition('Ready', 'ClientStarting', 'False')] },
  });
  const { conditions } = statusOf(plan({ tunnel: before, others: [] })) as {
    conditions: { type: string; lastTransitionTime: string }[];
  };
  const times = Object.fromEntries(conditions.map((one) => [one.type, one.lastTransitionTime]));
  assert.deepEqual(times, { Accepted: NOW, Ready: EARLIER });
});
