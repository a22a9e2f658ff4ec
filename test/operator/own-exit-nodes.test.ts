// Goal: a tunnel that wants an exit node of its own gets one, and keeps it for as long as it is
// there. Method: as for all plans of tunnels, states in, what is planned out.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ExitNodeObject, TunnelSpecFields } from '../../src/operator/objects.ts';
import { exitNode, NOW, statusOf, summary, tunnel } from './objects.ts';
import { client, NAME, plan } from './planned.ts';

describe('exit nodes of single tunnels', () => {
  const provision = { provider: 'fake', credentialsSecret: 'cloud' };
  const template = exitNode({
    meta: { name: 'own' },
    spec: { provision, allocation: 'PerTunnel' },
    status: {},
  });
  const self = tunnel({ spec: { ...tunnel().spec, exitNode: 'own' } });
  const made = plan({ tunnel: self, exitNodes: [template] });
  const [order] = made.actions;
  const copy = (order?.do === 'apply' ? order.object : template) as ExitNodeObject;

  test('are made like the one that is named', () => {
    assert.deepEqual(summary(made), [
      ...[`apply ExitNode ${copy.metadata.name}`, 'status ExitNodePending'],
      ...['tell Normal ExitNodePending', 'waiting'],
    ]);
    assert.deepEqual(copy.spec, {
      ...{ provision, allocation: 'Shared', allowedNamespaces: ['shop'] },
      ...{ tcpPorts: ['1024-65535', '80'], udpPorts: ['1024-65535'] },
    });
    assert.match(copy.metadata.name, /^own-[0-9a-f]{8}$/);
  });

  test('open the low ports that their tunnel asks for, unless others were named', () => {
    const portsOf = (self: TunnelSpecFields, ports: Partial<ExitNodeObject['spec']> = {}) => {
      const exitNodes = [{ ...template, spec: { ...template.spec, ...ports } }];
      const other = tunnel({ spec: { ...self, exitNode: 'own' } });
      const [first] = plan({ tunnel: other, exitNodes }).actions;
      const { tcpPorts, udpPorts } =
        first?.do === 'apply' ? (first.object as ExitNodeObject).spec : {};
      return { tcp: tcpPorts, udp: udpPorts };
    };
    const at = (publicPort: number) => [{ publicPort, service: { name: 'web', port: 22 } }];
    const high = ['1024-65535'];
    assert.deepEqual(portsOf({ tcp: at(2222) }), { tcp: high, udp: high });
    const both = { tcp: at(80), udp: at(53) };
    assert.deepEqual(portsOf(both), { tcp: [...high, '80'], udp: [...high, '53'] });
    assert.deepEqual(portsOf(both, { tcpPorts: ['443'] }), { tcp: ['443'], udp: ['443'] });
    assert.deepEqual(portsOf(both, { udpPorts: ['53'] }), { tcp: [...high, '80'], udp: ['53'] });
  });

  test('say which ports a machine that was ordered cannot have', () => {
    const shared = exitNode({ meta: { name: 'own' }, spec: { provision }, status: {} });
    const made = plan({ tunnel: self, exitNodes: [shared] });
    assert.equal(summary(made)[0], 'status PortNotAllowed');
    const dns = tunnel({ spec: { udp: [{ publicPort: 53, service: { name: 'dns', port: 53 } }] } });
    const spec = { ...dns.spec, exitNode: 'own' };
    const { conditions } = statusOf(plan({ tunnel: { ...dns, spec }, exitNodes: [shared] })) as {
      conditions: { message: string }[];
    };
    assert.equal(conditions[0]?.message, 'UDP port 53 is outside of 1024-65535, which own allows');
  });

  const running = { ...copy, status: exitNode().status } as ExitNodeObject;

  test('serve their tunnel once they run', () => {
    const served = plan({ tunnel: self, exitNodes: [template, running] });
    assert.equal(statusOf(served).exitNode, copy.metadata.name);
    assert.ok(summary(served).some((one) => one.startsWith('apply Deployment')));
  });

  test('go when the tunnel names another', () => {
    const moved = summary(plan({ exitNodes: [template, running, exitNode()] }));
    assert.equal(moved[0], `delete ExitNode ${copy.metadata.name}`);
  });

  const host = { scheme: 'http', service: { name: 'web', port: 80 } } as const;
  const hosts = ['a.example', 'A.example'].map((name) => ({ ...host, host: name }));
  const closed = { ...template, spec: { ...template.spec, allowedNamespaces: ['other'] } };
  const slips: readonly (readonly [string, TunnelSpecFields, ExitNodeObject[], string])[] = [
    ['a host twice', { exitNode: 'own', upstreams: hosts }, [template], 'InvalidSpec'],
    [
      'a host that is none',
      { exitNode: 'own', upstreams: [{ ...host, host: 'a b' }] },
      [template],
      'InvalidHost',
    ],
    ['an empty list', { ...self.spec, allowIps: [] }, [template], 'InvalidSpec'],
    [
      'an exit node that is none',
      { ...self.spec, exitNode: 'onw' },
      [template],
      'ExitNodeNotFound',
    ],
    ['a template that is made anew', self.spec, [], 'ExitNodeNotFound'],
    ['a template for others', self.spec, [closed], 'ExitNodeNotAllowed'],
  ];
  for (const [name, spec, exitNodes, reason] of slips) {
    test(`stay while their tunnel cannot be served: ${name}, ${reason}`, () => {
      const wrong = tunnel({ spec });
      const deployment = client(self);
      const left = summary(plan({ tunnel: wrong, exitNodes: [...exitNodes, running], deployment }));
      assert.deepEqual(left, [
        ...[`delete Deployment sluiceway/${NAME}`, `status ${reason}`],
        ...[`tell Warning ${reason}`, 'blocked'],
      ]);
    });
  }

  test('go with the tunnel, before its finalizer does', () => {
    const meta = { deletionTimestamp: NOW };
    const going = { ...self, metadata: { ...self.metadata, ...meta } };
    const deployment = client(self);
    const removal = summary(plan({ tunnel: going, exitNodes: [template, running], deployment }));
    assert.deepEqual(removal, [
      ...[`delete Deployment sluiceway/${deployment.metadata.name}`],
      ...[`delete ExitNode ${copy.metadata.name}`, 'waiting'],
    ]);
    const done = summary(plan({ tunnel: going, exitNodes: [template] }));
    assert.deepEqual(done, ['finalizers ', 'settled']);
    const nothing = { ...going, metadata: { ...going.metadata, finalizers: ['other'] } };
    assert.deepEqual(summary(plan({ tunnel: nothing })), ['settled']);
  });
});
