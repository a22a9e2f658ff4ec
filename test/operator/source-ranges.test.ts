// Goal: whom the list of a Service keeps out is kept out, whatever else is wrong with it. Method:
// tables of Services in, what is read and planned out.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planBalancer } from '../../src/operator/balancer-plan.ts';
import { readBalancer } from '../../src/operator/balancer-reading.ts';
import type { ServiceObject, TunnelObject } from '../../src/operator/objects.ts';
import { annotated, NOW, OWNED, SETTINGS, service, statusOf, summary, tunnel } from './objects.ts';

const plan = (one: ServiceObject | undefined, found?: TunnelObject, settings = SETTINGS) =>
  planBalancer({ service: one, tunnel: found, settings, now: NOW });

test('loadBalancerSourceRanges become the allow list', () => {
  const ranges = ['192.0.2.0/24', ' 2001:db8::/32'];
  const reading = readBalancer(service({ spec: { loadBalancerSourceRanges: ranges } }), SETTINGS);
  assert.deepEqual(reading.is === 'ours' ? reading.spec.allowIps : [], [
    '192.0.2.0/24',
    '2001:db8::/32',
  ]);
});

const RANGES = 'service.beta.kubernetes.io/load-balancer-source-ranges';
const ranged = (loadBalancerSourceRanges: string[], annotation?: string): ServiceObject =>
  service({
    spec: { loadBalancerSourceRanges },
    ...(annotation === undefined ? {} : { meta: { annotations: { [RANGES]: annotation } } }),
  });
const allowed = (one: ServiceObject) => {
  const reading = readBalancer(one, SETTINGS);
  return reading.is === 'ours' ? reading.spec.allowIps : reading;
};

test('source ranges are read as Kubernetes does, each the network of its address', () => {
  const ranges = ['203.0.113.7/24', '010.1.02.3/08', '::ffff:192.0.2.9/120', '203.0.113.0/24'];
  assert.deepEqual(allowed(ranged(ranges)), ['203.0.113.0/24', '10.0.0.0/8', '192.0.2.0/24']);
});

test('source ranges are those of the annotation of Kubernetes where the field is empty', () => {
  assert.deepEqual(allowed(ranged([], ' 192.0.2.9/24,2001:db8::/32 ')), [
    ...['192.0.2.0/24', '2001:db8::/32'],
  ]);
  assert.deepEqual(allowed(ranged(['198.51.100.0/24'], '192.0.2.0/24')), ['198.51.100.0/24']);
  assert.equal(allowed(ranged([], ' ')), undefined);
});

const many = Array.from({ length: 65 }, (_, index) => `10.0.${index}.0/24`);
const unkept: readonly (readonly [string, ServiceObject, RegExp])[] = [
  ['too many', ranged(many), /65 networks are too many; give at most 64/],
  ['too many of the annotation', ranged([], many.join()), /65 networks are too many/],
  ['one that is none', ranged(['192.0.2.0/33']), /'192.0.2.0\/33' has no valid prefix/],
];
for (const [name, one, message] of unkept) {
  test(`source ranges that cannot be kept let nobody in: ${name}`, () => {
    const open = tunnel({ meta: OWNED, status: { addresses: ['203.0.113.7'] } });
    const made = plan(one, open);
    assert.deepEqual(summary(made), [
      ...['delete Tunnel shop/web', 'status InvalidSpec', 'tell Warning InvalidSpec', 'blocked'],
    ]);
    const status = statusOf(made) as Required<NonNullable<ServiceObject['status']>>;
    assert.deepEqual(status.loadBalancer, { ingress: [] });
    assert.match(status.conditions[0]?.message ?? '', message);
    const foreign = summary(plan(one, tunnel()));
    assert.deepEqual(foreign, ['status InvalidSpec', 'tell Warning InvalidSpec', 'blocked']);
    assert.equal(summary(plan(one))[0], 'status InvalidSpec');
  });
}

const NARROW = ['10.0.0.0/8'];
const narrowed = (annotations: Readonly<Record<string, string>>, ranges = NARROW) => {
  const one = annotated({ ports: '80', ...annotations });
  return { ...one, spec: { ...one.spec, loadBalancerSourceRanges: ranges } };
};
const broken: readonly (readonly [Readonly<Record<string, string>>, string])[] = [
  [{ typo: '1' }, 'InvalidAnnotation'],
  [{ hosts: 'a.example', 'host-port': 'nope' }, 'InvalidAnnotation'],
  [{ ports: '9' }, 'UnsupportedProtocol'],
  [{ ports: '' }, 'InvalidPorts'],
  [{ manage: 'maybe' }, 'InvalidAnnotation'],
];
for (const [annotations, reason] of broken) {
  const name = JSON.stringify(annotations);
  const said = [`status ${reason}`, `tell Warning ${reason}`, 'blocked'];

  test(`source ranges are in force, and nothing else, where ${name} is wrong`, () => {
    const open = tunnel({ meta: OWNED });
    const made = plan(narrowed(annotations), open);
    assert.deepEqual(summary(made), ['apply Tunnel shop/web', ...said]);
    const [action] = made.actions;
    const { metadata, spec } = (action?.do === 'apply' ? action.object : {}) as TunnelObject;
    assert.deepEqual(spec, { ...open.spec, allowIps: NARROW });
    assert.deepEqual(metadata.ownerReferences, OWNED.ownerReferences);
    assert.equal(statusOf(made).loadBalancer, undefined);
    const done = tunnel({ meta: OWNED, spec });
    assert.deepEqual(summary(plan(narrowed(annotations), done)), said);
    assert.deepEqual(summary(plan(narrowed(annotations), tunnel())), said);
  });

  test(`source ranges that cannot be kept let nobody in, where ${name} is wrong too`, () => {
    const made = plan(narrowed(annotations, many), tunnel({ meta: OWNED }));
    assert.equal(summary(made)[0], 'delete Tunnel shop/web');
    assert.deepEqual(statusOf(made).loadBalancer, { ingress: [] });
  });
}

test('nothing that is wrong lets in more than before', () => {
  const spec = { ...tunnel().spec, allowIps: NARROW };
  const rows: readonly (readonly [readonly string[], boolean])[] = [
    [[], false],
    [['0.0.0.0/0'], false],
    [['192.0.2.0/24', '10.0.0.0/8'], false],
    [['10.0.0.0/9'], true],
    [['192.0.2.0/24'], true],
    [['::/0'], true],
  ];
  for (const [ranges, isApplied] of rows) {
    const made = plan(narrowed({ typo: '1' }, [...ranges]), tunnel({ meta: OWNED, spec }));
    assert.equal(summary(made)[0] === 'apply Tunnel shop/web', isApplied, String(ranges));
  }
  const leaving = tunnel({ meta: { ...OWNED, deletionTimestamp: NOW } });
  assert.equal(summary(plan(narrowed({ typo: '1' }), leaving))[0], 'status InvalidAnnotation');
});

test('a Service that may be ours keeps what another wrote to its status', () => {
  const one = narrowed({ manage: 'maybe' }, many);
  const foreign = { ...one, spec: { ...one.spec, loadBalancerClass: undefined } };
  const made = plan(foreign as unknown as ServiceObject, undefined, {
    ...{ ...SETTINGS, services: 'all' },
  });
  assert.deepEqual(summary(made)[0], 'status InvalidSpec');
  assert.equal(statusOf(made).loadBalancer, undefined);
});

test('a tunnel that lets in more goes when the API takes none that does not', () => {
  const refused = (one: ServiceObject, found: TunnelObject) =>
    planBalancer({
      ...{ service: one, tunnel: found, refusal: 'no', settings: SETTINGS, now: NOW },
    });
  const open = tunnel({ meta: OWNED });
  const made = refused(ranged(NARROW), open);
  assert.deepEqual(summary(made).slice(0, 2), ['delete Tunnel shop/web', 'status Refused']);
  assert.deepEqual(statusOf(made).loadBalancer, { ingress: [] });
  const unread = refused(narrowed({ typo: '1' }), open);
  assert.deepEqual(summary(unread).slice(0, 2), [
    ...['delete Tunnel shop/web', 'status InvalidAnnotation'],
  ]);
  assert.deepEqual(statusOf(unread).loadBalancer, { ingress: [] });
  const narrow = tunnel({ meta: OWNED, spec: { ...open.spec, allowIps: NARROW } });
  assert.equal(summary(refused(ranged(NARROW), narrow))[0], 'status Refused');
  assert.equal(summary(refused(ranged([]), narrow))[0], 'status Refused');
});

test('as many networks as a tunnel may have are kept', () => {
  assert.deepEqual(allowed(ranged(many.slice(1))), many.slice(1));
});
