// Goal: a tunnel that is pointed at another exit node is served all the while, and nobody takes a
// name that its client still serves. Method: states in between in, what is planned out.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { clientDeployment } from '../../src/operator/client-deployment.ts';
import { isFreed } from '../../src/operator/holdings.ts';
import type { ExitNodeObject, TunnelObject, TunnelStatus } from '../../src/operator/objects.ts';
import { exitNode, NOW, SETTINGS, statusOf, summary, tunnel } from './objects.ts';
import { client, NAME, plan } from './planned.ts';

const place = { addresses: ['203.0.113.7'], endpoints: ['tcp://203.0.113.7:80'] };
const onShared = { exitNode: 'shared', claims: ['tcp:80'], ...place, clientDeployment: NAME };
const shared = exitNode();
const otherTarget = {
  ...{ url: 'wss://203.0.113.9:8123', tokenSecret: { name: 'token', key: 'token' } },
  caFingerprint: 'sha256:ab',
};
const other = exitNode({
  meta: { name: 'other', uid: 'e-2' },
  status: { ...otherTarget, addresses: ['203.0.113.9'] },
});
const template = exitNode({
  meta: { name: 'own' },
  spec: { provision: { provider: 'fake', credentialsSecret: 'cloud' }, allocation: 'PerTunnel' },
  status: {},
});

const wanting = (name: string, status: TunnelStatus = onShared) =>
  tunnel({ spec: { ...tunnel().spec, exitNode: name }, status });
const before = client(tunnel());
/** Of that tunnel as it was written since. */
const after = (of: TunnelObject, made: ReturnType<typeof plan>): TunnelObject => {
  const fields = Object.entries(statusOf(made)).filter(([, value]) => value !== null);
  return { ...of, status: Object.fromEntries(fields) };
};
/** What another namespace's tunnel is told that wants TCP port 80 of `shared`. */
const toldRival = (holder: TunnelObject): string | undefined => {
  const meta = { name: 'rival', namespace: 'theirs', uid: 't-2' };
  return summary(plan({ tunnel: tunnel({ meta }), others: [holder] }))[0];
};
const pick = (made: ReturnType<typeof plan>) => {
  const { exitNode: on, claims, leaving, addresses, endpoints } = statusOf(made);
  return { on, claims, leaving, addresses, endpoints };
};
const leaving = [{ exitNode: 'shared', claims: ['tcp:80'] }];

describe('a tunnel that is pointed at another exit node', () => {
  const self = wanting('other');
  const exitNodes = [shared, other];
  const moved = plan({ tunnel: self, exitNodes, deployment: before, served: 'all' });
  const moving = after(self, moved);
  const made = clientDeployment(self, otherTarget, SETTINGS);
  const rolled = { ...made, metadata: { ...made.metadata, uid: 'd-1', generation: 1 } };
  const count = { observedGeneration: 1, replicas: 1, updatedReplicas: 1, availableReplicas: 1 };

  test('holds its names on both, and has its address, until its client has followed', () => {
    assert.ok(summary(moved).includes(`apply Deployment sluiceway/${NAME}`), summary(moved).join());
    const both = { on: 'other', claims: ['tcp:80'], leaving, ...place };
    assert.deepEqual(pick(moved), both);
    assert.equal(toldRival(moving), 'status PortTaken');
    const rolling = { ...rolled, status: { ...count, replicas: 2 } };
    const served = { missing: ['tcp:80'] };
    const between = plan({ tunnel: moving, exitNodes, deployment: rolling, served });
    assert.deepEqual(pick(between), both);
  });

  test('gives them up once no client is left there', () => {
    const deployment = { ...rolled, status: count };
    const done = plan({ tunnel: moving, exitNodes, deployment, served: 'all' });
    assert.deepEqual(pick(done), {
      ...{ on: 'other', claims: ['tcp:80'], leaving: null },
      ...{ addresses: ['203.0.113.9'], endpoints: ['tcp://203.0.113.9:80'] },
    });
    const there = after(self, done);
    assert.equal(toldRival(there), 'status ClientStarting');
    assert.deepEqual([isFreed(moving, there), isFreed(self, moving)], [true, false]);
    const ended = plan({ tunnel: moving, exitNodes });
    assert.equal(statusOf(ended).leaving, null);
  });

  test('and back again leaves the other one', () => {
    const back = { ...moving, spec: { ...moving.spec, exitNode: 'shared' } };
    const {
      leaving: left,
      on,
      claims,
    } = pick(plan({ tunnel: back, exitNodes, deployment: rolled }));
    assert.deepEqual([on, claims], ['shared', ['tcp:80']]);
    assert.deepEqual(left, [{ exitNode: 'other', claims: ['tcp:80'] }]);
  });

  test('has no address of one that is there no more', () => {
    const gone = plan({ tunnel: moving, exitNodes: [other], deployment: rolled });
    assert.deepEqual([pick(gone).leaving, pick(gone).addresses], [null, ['203.0.113.9']]);
    const meta = { deletionTimestamp: NOW };
    const going = [{ ...shared, metadata: { ...shared.metadata, ...meta } }, other];
    const left = plan({ tunnel: moving, exitNodes: going, deployment: rolled });
    assert.deepEqual([pick(left).leaving, pick(left).addresses], [leaving, ['203.0.113.9']]);
  });

  test('still holds them there when it is refused, for as long as its client is there', () => {
    const wrong = { ...moving, spec: { exitNode: 'other' } };
    const refused = plan({ tunnel: wrong, exitNodes, deployment: before });
    assert.equal(summary(refused)[1], 'status InvalidSpec');
    assert.deepEqual(statusOf(refused).leaving, leaving);
    assert.equal(toldRival(after(wrong, refused)), 'status PortTaken');
    assert.equal(statusOf(plan({ tunnel: wrong, exitNodes })).leaving, null);
  });

  test('takes no name from a younger one that has it there', () => {
    const status = { exitNode: 'other', claims: ['tcp:80'] };
    const holder = tunnel({
      meta: { name: 'young', uid: 't-3', creationTimestamp: NOW },
      status,
    });
    const made = plan({ tunnel: self, exitNodes, others: [holder] });
    assert.equal(summary(made)[0], 'status PortTaken');
  });
});

describe('a tunnel that is pointed at a machine of its own', () => {
  const self = wanting('own');
  const exitNodes = [shared, template];
  const ordered = plan({ tunnel: self, exitNodes, deployment: before, served: 'all' });
  const [order] = ordered.actions;
  const copy = (order?.do === 'apply' ? order.object : template) as ExitNodeObject;
  const { name } = copy.metadata;

  test('is served where it was while that is ordered and made', () => {
    const waiting = after(self, ordered);
    const kept = { on: name, leaving, ...place };
    assert.deepEqual(pick(ordered), { ...kept, claims: null });
    assert.equal(toldRival(waiting), 'status PortTaken');
    const made = plan({ tunnel: waiting, exitNodes: [...exitNodes, copy], deployment: before });
    assert.equal(summary(made)[0], 'status ExitNodePending');
    assert.deepEqual(pick(made), { ...kept, claims: ['tcp:80'] });
    assert.equal(toldRival(after(self, made)), 'status PortTaken');
  });

  const running = { ...copy, status: exitNode().status } as ExitNodeObject;
  const onOwn = { ...onShared, exitNode: name };

  test('keeps that, too, until its client has followed it to the next', () => {
    const away = wanting('other', onOwn);
    const nodes = [template, running, other];
    const moved = plan({ tunnel: away, exitNodes: nodes, deployment: before });
    assert.ok(!summary(moved).some((one) => one.startsWith('delete')), summary(moved).join());
    const made = clientDeployment(away, otherTarget, SETTINGS);
    const metadata = { ...made.metadata, uid: 'd-1', generation: 1 };
    const status = { observedGeneration: 1, replicas: 1, updatedReplicas: 1 };
    const deployment = { ...made, metadata, status };
    const followed = plan({ tunnel: after(away, moved), exitNodes: nodes, deployment });
    assert.equal(summary(followed)[0], `delete ExitNode ${name}`);
  });

  test('of another kind has both meanwhile, and loses both when it is deleted', () => {
    const second = { ...template, metadata: { ...template.metadata, name: 'own-larger' } };
    const away = wanting('own-larger', onOwn);
    const nodes = [template, second, running];
    const moved = plan({ tunnel: away, exitNodes: nodes, deployment: before });
    const [next] = moved.actions;
    assert.ok(next?.do === 'apply' && next.object.kind === 'ExitNode', summary(moved).join());
    assert.ok(!summary(moved).some((one) => one.startsWith('delete')), summary(moved).join());
    const going = { ...away, metadata: { ...away.metadata, deletionTimestamp: NOW } };
    const all = [...nodes, next.object as ExitNodeObject];
    assert.deepEqual(summary(plan({ tunnel: going, exitNodes: all })), [
      ...[`delete ExitNode ${name}`, `delete ExitNode ${next.object.metadata.name}`, 'waiting'],
    ]);
  });

  test('has one for each kind, however alike their names begin', () => {
    const names = ['a', 'b'].map((end) => {
      const long = { ...template, metadata: { ...template.metadata, name: 'x'.repeat(50) + end } };
      const of = wanting(long.metadata.name);
      return statusOf(plan({ tunnel: of, exitNodes: [long] })).exitNode;
    });
    assert.equal(new Set(names).size, 2, names.join());
  });
});
