// Goal: a Service gets the tunnel that it asks for, or a reason why not, and nothing stays of it.
// Method: tables of Services in, what is planned out.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { planBalancer, SERVICE_CONDITION } from '../../src/operator/balancer-plan.ts';
import { readBalancer } from '../../src/operator/balancer-reading.ts';
import type { ServiceObject, TunnelObject } from '../../src/operator/objects.ts';
import type { OperatorSettings } from '../../src/operator/settings.ts';
import {
  annotated,
  condition,
  NOW,
  OWNED,
  SETTINGS,
  service,
  statusOf,
  summary,
  tunnel,
} from './objects.ts';

const plan = (one: ServiceObject | undefined, found?: TunnelObject, settings = SETTINGS) =>
  planBalancer({ service: one, tunnel: found, settings, now: NOW });

describe('which Services are ours', () => {
  const byMode = (services: OperatorSettings['services']): OperatorSettings => ({
    ...SETTINGS,
    services,
  });
  const manage = (value: string) => ({ annotations: { 'sluiceway.dev/manage': value } });
  const none = { loadBalancerClass: undefined as unknown as string };
  const rows: readonly (readonly [string, ServiceObject, string, string, string])[] = [
    ['of the class', service(), 'ours', 'ours', 'ours'],
    ['of the class, opted out', service({ meta: manage('0') }), 'foreign', 'foreign', 'foreign'],
    ['of no class', service({ spec: none }), 'foreign', 'foreign', 'ours'],
    [
      'of no class, annotated',
      service({ spec: none, meta: manage('true') }),
      'foreign',
      'ours',
      'ours',
    ],
    [
      'of no class, opted out',
      service({ spec: none, meta: manage('false') }),
      'foreign',
      'foreign',
      'foreign',
    ],
    [
      'of no class, unreadable',
      service({ spec: none, meta: manage('yes') }),
      'foreign',
      'wrong',
      'wrong',
    ],
    [
      'of another class',
      service({ spec: { loadBalancerClass: 'a.example/b' }, meta: manage('1') }),
      'foreign',
      'foreign',
      'foreign',
    ],
    [
      'no load balancer',
      service({ spec: { type: 'ClusterIP' }, meta: manage('1') }),
      'foreign',
      'foreign',
      'foreign',
    ],
  ];
  for (const [name, one, ...expected] of rows) {
    test(`${name}: ${expected.join(', ')} for class, annotated, all`, () => {
      const found = (['class', 'annotated', 'all'] as const).map(
        (mode) => readBalancer(one, byMode(mode)).is,
      );
      assert.deepEqual(found, expected);
    });
  }
});

describe('what a Service asks for', () => {
  const tcp = (publicPort: number, port: number) => ({
    publicPort,
    service: { name: 'web', port },
  });
  const rows: readonly (readonly [Readonly<Record<string, string>>, object])[] = [
    [{ ports: '8080=80, 22' }, { tcp: [tcp(8080, 80), tcp(22, 22)] }],
    [{ ports: '2222=ssh' }, { tcp: [tcp(2222, 22)] }],
    [
      { hosts: 'Example.com, *.example.org/api' },
      {
        upstreams: [
          { host: 'example.com', scheme: 'http', service: { name: 'web', port: 80 } },
          {
            host: '*.example.org',
            path: '/api',
            scheme: 'http',
            service: { name: 'web', port: 80 },
          },
        ],
      },
    ],
    [
      { hosts: 'a.example', 'host-port': 'ssh', ports: '22', 'exit-node': 'mine' },
      {
        exitNode: 'mine',
        upstreams: [{ host: 'a.example', scheme: 'http', service: { name: 'web', port: 22 } }],
        tcp: [tcp(22, 22)],
      },
    ],
    [{ ports: '53' }, { tcp: [tcp(53, 53)], udp: [tcp(53, 53)] }],
    [{ ports: '5353=53/udp, 53/TCP' }, { tcp: [tcp(53, 53)], udp: [tcp(5353, 53)] }],
    [{ ports: '5353=dns, 5353=ssh' }, { tcp: [tcp(5353, 22)], udp: [tcp(5353, 53)] }],
    [
      { hosts: 'a.example', 'host-port': '53', ports: '53/udp' },
      {
        upstreams: [{ host: 'a.example', scheme: 'http', service: { name: 'web', port: 53 } }],
        udp: [tcp(53, 53)],
      },
    ],
    [
      { ports: '80', 'proxy-protocol': 'v2' },
      { tcp: [tcp(80, 80)], proxyProtocol: 'v2' },
    ],
    [
      { ports: '53/udp', 'udp-proxy-protocol': 'v2' },
      { udp: [tcp(53, 53)], udpProxyProtocol: 'v2' },
    ],
  ];
  for (const [annotations, expected] of rows) {
    test(`${JSON.stringify(annotations)} becomes a tunnel`, () => {
      assert.deepEqual(readBalancer(annotated(annotations), SETTINGS), {
        is: 'ours',
        spec: expected,
      });
    });
  }

  const udpOnly = service({ spec: { ports: [{ port: 51820, protocol: 'UDP' }] } });
  test('without annotations every port is public as it is', () => {
    const [udp53, tcp53] = [
      { name: 'u', port: 53, protocol: 'UDP' },
      { name: 't', port: 53 },
    ];
    const both = readBalancer(service({ spec: { ports: [udp53, tcp53] } }), SETTINGS);
    const spec = { tcp: [tcp(53, 53)], udp: [tcp(53, 53)] };
    assert.deepEqual(both, { is: 'ours', spec });
    const alone = { is: 'ours', spec: { udp: [tcp(51_820, 51_820)] } };
    assert.deepEqual(readBalancer(udpOnly, SETTINGS), alone);
  });

  test('a Service of UDP alone answers for no host', () => {
    const annotations = { 'sluiceway.dev/hosts': 'a.example' };
    const { metadata } = udpOnly;
    const reading = readBalancer({ ...udpOnly, metadata: { ...metadata, annotations } }, SETTINGS);
    assert.equal(reading.is === 'wrong' ? reading.reason : reading.is, 'InvalidPorts');
  });

  const wrong: readonly (readonly [Readonly<Record<string, string>>, string, RegExp])[] = [
    [{}, 'UnsupportedProtocol', /port 9 is SCTP, and only TCP and UDP are served/],
    [{ ports: '9' }, 'UnsupportedProtocol', /port 9 is SCTP/],
    [{ ports: '53/sctp' }, 'InvalidAnnotation', /'53\/sctp' is no port/],
    [{ ports: '80/udp' }, 'InvalidAnnotation', /names no port of the Service/],
    [{ ports: '5353=dns/tcp' }, 'InvalidAnnotation', /names no port of the Service/],
    [{ ports: '53, 53/udp' }, 'InvalidAnnotation', /'53\/udp' is given twice/],
    [{ hosts: 'a.example', 'host-port': 'dns' }, 'InvalidAnnotation', /is no TCP port/],
    [{ ports: '0=80' }, 'InvalidAnnotation', /'0=80' is no port/],
    [{ ports: '70000' }, 'InvalidAnnotation', /'70000' is no port/],
    [{ ports: '80=nosuch' }, 'InvalidAnnotation', /names no port of the Service/],
    [{ ports: '80,80=22' }, 'InvalidAnnotation', /is given twice/],
    [{ ports: '' }, 'InvalidPorts', /no port to make public/],
    [{ hosts: 'exa mple.com' }, 'InvalidAnnotation', /hosts: 'exa mple.com'/],
    [
      { hosts: 'a.example', 'host-port': '81' },
      'InvalidAnnotation',
      /is no TCP port of the Service/,
    ],
    [{ ports: '80', 'proxy-protocol': 'v3' }, 'InvalidAnnotation', /none of v1, v2, off/],
    [{ ports: '53', 'udp-proxy-protocol': 'v1' }, 'InvalidAnnotation', /'v1' is none of v2, off/],
    [{ ports: '80', 'exit-node': 'Not A Name' }, 'InvalidAnnotation', /no name of an ExitNode/],
    [{ ports: '80', 'allow-ips': '192.0.2.1' }, 'InvalidAnnotation', /allow-ips is unknown/],
    [{ manage: 'maybe', ports: '80' }, 'InvalidAnnotation', /is not a boolean/],
  ];
  for (const [annotations, reason, message] of wrong) {
    test(`${JSON.stringify(annotations)} is ${reason}`, () => {
      const reading = readBalancer(annotated(annotations), SETTINGS);
      assert.equal(reading.is, 'wrong');
      if (reading.is !== 'wrong') return;
      assert.equal(reading.reason, reason);
      assert.match(reading.message, message);
    });
  }
});

describe('what is planned', () => {
  test('a Service without a tunnel gets one of its name, which it owns', () => {
    const made = plan(service());
    assert.deepEqual(summary(made), ['apply Tunnel shop/web', 'status Pending', 'settled']);
    const [action] = made.actions;
    assert.deepEqual(
      action?.do === 'apply' ? action.object.metadata.ownerReferences : [],
      OWNED.ownerReferences,
    );
  });

  const WEB_PORT = { port: 80, protocol: 'TCP', error: undefined };
  const ready = { ...condition('Ready', 'Served', 'True'), observedGeneration: 1 };
  const served = tunnel({
    meta: OWNED,
    status: { addresses: ['203.0.113.7'], conditions: [ready] },
  });

  test('a tunnel that is ready gives the Service its address, said once', () => {
    const made = plan(service(), served);
    assert.deepEqual(summary(made), ['status Served', 'tell Normal Served', 'settled']);
    assert.deepEqual(statusOf(made).loadBalancer, {
      ingress: [{ ip: '203.0.113.7', ipMode: 'Proxy', ports: [WEB_PORT] }],
    });
    const status = statusOf(made) as ServiceObject['status'];
    assert.deepEqual(summary(plan(service({ status: status ?? {} }), served)), ['settled']);
  });

  test('names and IPv6 addresses of exit nodes are written as what they are', () => {
    const named = {
      ...served,
      status: { ...served.status, addresses: ['exit.example', '2001:db8::1'] },
    };
    assert.deepEqual(statusOf(plan(service(), named)).loadBalancer, {
      ingress: [
        { hostname: 'exit.example', ports: [WEB_PORT] },
        { ip: '2001:db8::1', ipMode: 'Proxy', ports: [WEB_PORT] },
      ],
    });
  });

  test('each port of the Service is named there, and those that are not public say so', () => {
    const mixed = annotated({ ports: '5353=53/udp, 22', hosts: 'a.example' });
    const reading = readBalancer(mixed, SETTINGS);
    const own = tunnel({
      ...{ meta: OWNED, spec: reading.is === 'ours' ? reading.spec : {} },
      status: served.status ?? {},
    });
    const made = plan(mixed, own);
    const error = 'sluiceway.dev/NotPublic';
    // As the API would hold it.
    const status = JSON.parse(JSON.stringify(statusOf(made))) as ServiceObject['status'] & object;
    assert.deepEqual(status.loadBalancer?.ingress?.[0]?.ports, [
      { port: 80, protocol: 'TCP' },
      { port: 22, protocol: 'TCP' },
      { port: 53, protocol: 'UDP' },
      { port: 53, protocol: 'TCP', error },
      { port: 9, protocol: 'SCTP', error },
    ]);
    assert.deepEqual(summary(plan({ ...mixed, status }, own)), ['settled']);
    const before = { ...status.loadBalancer?.ingress?.[0], ports: [{ ...WEB_PORT, error }] };
    const stale = { ...status, loadBalancer: { ingress: [before] } };
    const simple = plan(service({ status: stale }), served);
    assert.deepEqual(summary(simple), ['status Served', 'settled'], 'it is public by now');
  });

  test('an address that the tunnel lost is taken from the Service', () => {
    const lost = tunnel({
      meta: OWNED,
      status: {
        conditions: [{ ...condition('Ready', 'PortTaken', 'False'), observedGeneration: 1 }],
      },
    });
    const before = { loadBalancer: { ingress: [{ ip: '203.0.113.7' }] } };
    const made = plan(service({ status: before }), lost);
    assert.deepEqual(summary(made), ['status PortTaken', 'tell Warning PortTaken', 'settled']);
    assert.deepEqual(statusOf(made).loadBalancer, { ingress: [] });
  });

  test('changed ports change the tunnel, which keeps what people set for its client', () => {
    const own = tunnel({ meta: OWNED, spec: { ...served.spec, client: { replicas: 2 } } });
    assert.deepEqual(
      summary(plan(service(), { ...own, ...{ status: served.status ?? {} } })).slice(0, 1),
      ['status Served'],
    );
    const changed = service({ spec: { ports: [{ port: 81, protocol: 'TCP' }] } });
    const made = plan(changed, own);
    assert.equal(summary(made)[0], 'apply Tunnel shop/web');
  });

  test('fields of the tunnel that its Service does not ask for are taken away, whosever', () => {
    const foreign = { allowIps: ['192.0.2.0/24'], proxyProtocol: 'v2' } as const;
    const spec = { ...served.spec, ...foreign, client: { replicas: 2 } };
    const own = tunnel({ meta: OWNED, spec, ...{ status: served.status ?? {} } });
    assert.deepEqual(summary(plan(service(), own)), [
      ...['apply Tunnel shop/web', 'drop allowIps,proxyProtocol of Tunnel shop/web'],
      ...['status Pending', 'settled'],
    ]);
  });

  const told = { conditions: [condition(SERVICE_CONDITION, 'Served', 'True')] };
  const rows: readonly (readonly [
    string,
    ServiceObject | undefined,
    TunnelObject | undefined,
    readonly string[],
  ])[] = [
    [
      'gone or no LoadBalancer, with its tunnel',
      undefined,
      served,
      ['take-back-status', 'delete Tunnel shop/web', 'settled'],
    ],
    ['gone, with a tunnel of somebody else', undefined, tunnel(), ['settled']],
    [
      'being deleted',
      service({ meta: { deletionTimestamp: NOW } }),
      served,
      ['delete Tunnel shop/web', 'settled'],
    ],
    [
      'of another class by now',
      service({ spec: { loadBalancerClass: 'a.example/b' }, status: told }),
      served,
      ['status ', 'delete Tunnel shop/web', 'settled'],
    ],
    [
      'of another class ever since',
      service({ spec: { loadBalancerClass: 'a.example/b' } }),
      undefined,
      ['settled'],
    ],
    [
      'with a tunnel of a Service before it',
      service({ meta: { uid: 's-2' } }),
      served,
      ['delete Tunnel shop/web', 'waiting'],
    ],
    [
      'with a tunnel made by hand',
      service(),
      tunnel(),
      ['status NameTaken', 'tell Warning NameTaken', 'blocked'],
    ],
    [
      'with a tunnel on its way out',
      service(),
      tunnel({ meta: { ...OWNED, deletionTimestamp: NOW } }),
      ['waiting'],
    ],
    [
      'unreadable, with a tunnel',
      annotated({ ports: 'x' }),
      served,
      ['status InvalidAnnotation', 'tell Warning InvalidAnnotation', 'blocked'],
    ],
  ];
  for (const [name, one, found, expected] of rows) {
    test(`a Service ${name}: ${expected.join(', ')}`, () => {
      assert.deepEqual(summary(plan(one, found)), expected);
    });
  }

  test('an address that another gave it since is left alone', () => {
    const other = { loadBalancer: { ingress: [{ ip: '192.0.2.9' }] }, ...told };
    const foreign = service({
      meta: { annotations: { 'sluiceway.dev/manage': '0' } },
      status: other,
    });
    assert.equal(statusOf(plan(foreign, served)).loadBalancer, undefined);
    const own = { loadBalancer: { ingress: [{ ip: '203.0.113.7', ipMode: 'Proxy' }] }, ...told };
    assert.deepEqual(statusOf(plan({ ...foreign, status: own }, served)).loadBalancer, {
      ingress: null,
    });
  });

  test('a tunnel that the API would not take is a reason', () => {
    const made = planBalancer({
      ...{ service: service(), tunnel: undefined, refusal: 'too many', settings: SETTINGS },
      now: NOW,
    });
    assert.deepEqual(summary(made), ['status Refused', 'tell Warning Refused', 'blocked']);
  });

  test('a reason is told once, and again when it is another one', () => {
    const wrong = annotated({ ports: 'x' });
    const status = statusOf(plan(wrong)) as ServiceObject['status'];
    assert.deepEqual(summary(plan({ ...wrong, status: status ?? {} })), ['blocked']);
    const other = { ...annotated({}), status: status ?? {} };
    assert.deepEqual(summary(plan(other)), [
      'status UnsupportedProtocol',
      'tell Warning UnsupportedProtocol',
      'blocked',
    ]);
  });
});
