// Goal: the Deployment of a client is one that a strict cluster takes and that the client itself
// understands. Method: its arguments go through the client's own options; its pod is looked at.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parse } from 'yaml';
import { resolveConfig } from '../../src/config/config.ts';
import { clientDeployment, deploymentName } from '../../src/operator/client-deployment.ts';
import type { TunnelObject } from '../../src/operator/objects.ts';
import { expandInPod } from '../support/pod-expansion.ts';
import { SETTINGS, tunnel } from './objects.ts';

interface Pod {
  readonly automountServiceAccountToken: boolean;
  readonly securityContext: Readonly<Record<string, unknown>>;
  readonly volumes: readonly { readonly secret: { readonly secretName: string } }[];
  readonly containers: readonly [
    {
      readonly args: readonly string[];
      readonly image: string;
      readonly securityContext: Readonly<Record<string, unknown>>;
      readonly ports: readonly { readonly name: string; readonly containerPort: number }[];
      readonly [probe: `${string}Probe`]: {
        readonly httpGet: { readonly path: string; readonly port: string };
        readonly initialDelaySeconds?: number;
        readonly periodSeconds?: number;
        readonly failureThreshold?: number;
      };
    },
  ];
}

interface Deployment {
  readonly spec: { readonly template: { readonly spec: Pod } };
}

const TARGET = {
  url: 'wss://203.0.113.7:8123',
  tokenSecret: { name: 'token', key: 'secret' },
  caFingerprint: `sha256:${'ab'.repeat(32)}`,
};
const TOKEN = 'a-token-of-a-test-0123456789';

function podOf(spec: TunnelObject['spec']): Pod {
  const { spec: found } = clientDeployment(tunnel({ spec }), TARGET, SETTINGS);
  return (found.template as { readonly spec: Pod }).spec;
}

function configOf(spec: TunnelObject['spec']) {
  const [command, ...args] = podOf(spec).containers[0].args;
  assert.equal(command, 'client');
  const flags: Record<string, string[] | string> = {};
  for (const written of args) {
    const arg = expandInPod(written, { KUBERNETES_SERVICE_PORT: '443' });
    const [, name = '', value = ''] = /^--([a-z-]+)=(.*)$/s.exec(arg) ?? [];
    flags[name] = name in flags ? [...[flags[name] ?? []].flat(), value] : value;
  }
  return resolveConfig({
    ...{ command: 'client' as const, flags, env: {}, readFile: () => TOKEN },
    defaults: { cores: 2, logFormat: 'json' },
  });
}

test('the client understands its arguments', () => {
  const config = configOf({
    tcp: [
      { publicPort: 80, service: { name: 'web', port: 8080 } },
      { publicPort: 22, service: { name: 'ssh', port: 22 } },
    ],
    udp: [
      { publicPort: 80, service: { name: 'web', port: 443 } },
      { publicPort: 5353, service: { name: 'dns', port: 53 } },
    ],
    upstreams: [
      { host: 'example.com', path: '/api', service: { name: 'api', port: 3000 } },
      { host: '*.example.org', scheme: 'https', service: { name: 'web', port: 443 } },
      { host: 'pass.example', scheme: 'tls', service: { name: 'web', port: 443 } },
    ],
    allowIps: ['192.0.2.0/24', '2001:db8::/32'],
    proxyProtocol: 'v2',
    udpProxyProtocol: 'v2',
  });
  assert.deepEqual(
    config.tunnels.map(({ label }) => label),
    [
      ...['example.com/api=http://api.shop.svc:3000', '*.example.org=https://web.shop.svc'],
      ...['tcp:80=web.shop.svc:8080', 'tcp:22=ssh.shop.svc:22'],
      ...['udp:80=web.shop.svc:443', 'udp:5353=dns.shop.svc:53'],
      'tls:pass.example=web.shop.svc:443',
    ],
  );
  for (const { options } of config.tunnels) {
    assert.deepEqual(options?.['allow-ips'], ['192.0.2.0/24', '2001:db8::/32']);
  }
  assert.equal(config.proxyProtocol, 'v2');
  assert.equal(config.udpProxyProtocol, 'v2');
  assert.deepEqual(config.trust.fingerprints, [TARGET.caFingerprint]);
  assert.equal(config.token?.reveal(), TOKEN);
});

test('a network by one of its addresses is that network, as it is to Kubernetes', () => {
  const allowIps = ['203.0.113.7/24', '2001:DB8::1/32', '192.0.2.1', '0.0.0.9/0'];
  const [only] = configOf({ ...tunnel().spec, allowIps }).tunnels;
  assert.deepEqual(only?.options?.['allow-ips'], [
    ...['203.0.113.0/24', '2001:db8::/32', '192.0.2.1/32', '0.0.0.0/0'],
  ]);
});

test('a path reaches the client as it is, whatever Kubernetes would put in its place', () => {
  for (const path of [
    '/a$$b',
    '/$(KUBERNETES_SERVICE_PORT)',
    '/$$(KUBERNETES_SERVICE_PORT)',
    '/$',
  ]) {
    const upstreams = [{ host: 'a.example', path, service: { name: 'web', port: 80 } }];
    const [only] = configOf({ upstreams }).tunnels;
    assert.equal(only?.label, `a.example${path}=http://web.shop.svc`);
  }
});

test('a PROXY header is left out where no upstream would get it', () => {
  const upstreams = [{ host: 'a.example', service: { name: 'web', port: 80 } }];
  assert.equal(configOf({ upstreams, proxyProtocol: 'v1' }).proxyProtocol, 'off');
  assert.equal(configOf({ upstreams, udpProxyProtocol: 'v2' }).udpProxyProtocol, 'off');
  const udp = [{ publicPort: 53, service: { name: 'dns', port: 53 } }];
  assert.equal(configOf({ udp, proxyProtocol: 'v1' }).proxyProtocol, 'off');
});

test('the pod may do nothing but hold its tunnel', () => {
  const pod = podOf(tunnel().spec);
  assert.equal(pod.automountServiceAccountToken, false);
  assert.equal(pod.securityContext.runAsNonRoot, true);
  assert.deepEqual(pod.containers[0].securityContext, {
    ...{ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true },
    capabilities: { drop: ['ALL'] },
  });
  assert.ok(!JSON.stringify(pod).includes(TOKEN));
});

test('a pod without a link is not ready: probes ask where the client answers', () => {
  const [container] = podOf(tunnel().spec).containers;
  const [port, ...more] = container.ports;
  const { metricsAddr } = configOf(tunnel().spec);
  assert.deepEqual([port?.name, more], ['metrics', []]);
  assert.deepEqual(metricsAddr, { host: '::', port: port?.containerPort });
  assert.deepEqual(container.readinessProbe?.httpGet, { path: '/readyz', port: 'metrics' });
  assert.deepEqual(container.livenessProbe?.httpGet, { path: '/healthz', port: 'metrics' });
});

test('a start may take two minutes before the pod is ended for it', () => {
  const [client] = podOf(tunnel().spec).containers;
  const file = new URL('../../docker/operator/deployment.yaml', import.meta.url);
  const deployment = parse(readFileSync(file, 'utf8')) as Deployment;
  const [operator] = deployment.spec.template.spec.containers;
  for (const { startupProbe, livenessProbe } of [client, operator]) {
    assert.deepEqual(startupProbe?.httpGet, livenessProbe?.httpGet);
    const { periodSeconds = 10, failureThreshold = 3 } = startupProbe ?? {};
    assert.ok(periodSeconds * failureThreshold >= 120);
    // It would be added to the end of the start.
    assert.equal(livenessProbe?.initialDelaySeconds, undefined);
  }
});

test('its image is pulled with the secrets of the operator', () => {
  assert.ok(!('imagePullSecrets' in podOf(tunnel().spec)));
  const settings = { ...SETTINGS, clientImagePullSecrets: ['registry', 'mirror'] };
  const { spec } = clientDeployment(tunnel(), TARGET, settings);
  const { spec: pod } = spec.template as { readonly spec: { readonly imagePullSecrets: unknown } };
  assert.deepEqual(pod.imagePullSecrets, [{ name: 'registry' }, { name: 'mirror' }]);
});

test('names fit a label, and differ for tunnels that do', () => {
  const long = tunnel({ meta: { name: `a.${'b'.repeat(200)}` } });
  assert.ok(deploymentName(long).length <= 63);
  assert.match(deploymentName(long), /^[a-z0-9-]+$/);
  const other = tunnel({ meta: { name: long.metadata.name, uid: 't-2' } });
  assert.notEqual(deploymentName(long), deploymentName(other));
});

test('a toleration has no empty texts, as the API server stores none', () => {
  const tolerations = [{ key: 'a', operator: 'Exists', value: '', effect: 'NoSchedule' }];
  const pod = podOf({ client: { tolerations } }) as unknown as { readonly tolerations: unknown };
  assert.deepEqual(pod.tolerations, [{ key: 'a', operator: 'Exists', effect: 'NoSchedule' }]);
});
