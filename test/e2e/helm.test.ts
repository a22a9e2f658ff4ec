// The charts: each example of values is linted, rendered, held against what a careful cluster asks
// of pods, and its options against the program itself. Values that cannot work are refused.

import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { CERT, KEY } from '../config/tls-pair.ts';
import {
  type Container,
  chartNames,
  examplesOf,
  Helm,
  type Manifest,
  NAMESPACE,
  type PodSpec,
} from '../support/charts.ts';
import { requireGoTool } from '../support/go-tools.ts';
import { runProgram } from '../support/process.ts';
import { scratchFolder } from '../support/programs.ts';
import { ENTRY } from '../support/tunnel.ts';

const TOKENS = `tokens:\n  - name: ci\n    hashes: ["sha256:${'ab'.repeat(32)}"]\n    hosts: ["*"]\n`;
/** What Kubernetes lets a Service's or a container's port be called. */
const PORT_NAME = /^(?=.{1,15}$)[a-z0-9](?:-?[a-z0-9])*$/u;
const LOW_PORT_END = 1024;
const WORKLOADS = new Set(['Deployment', 'StatefulSet']);

const REFUSED: readonly {
  readonly chart: string;
  readonly set: readonly string[];
  readonly says: RegExp;
}[] = [
  { chart: 'server', set: [], says: /an exit node without a token would serve everybody/u },
  {
    chart: 'server',
    set: ['token.value=x', 'token.existingSecret=y'],
    says: /token\.existingSecret or token\.value, not both/u,
  },
  { chart: 'server', set: ['token.value=x', 'tls.mode=secret'], says: /needs tls\.secretName/u },
  { chart: 'server', set: ['token.value=x', 'tls.mode=on'], says: /tls\/mode/u },
  { chart: 'server', set: ['token.value=x', 'tokn=y'], says: /additional properties 'tokn'/u },
  { chart: 'server', set: ['token.value=x', 'ports.tcp={70000}'], says: /ports\/tcp\/0/u },
  { chart: 'server', set: ['token.value=x', 'ports.udp={0}'], says: /ports\/udp\/0/u },
  ...[
    ['ports.tcp={9123}', '9123 is the admin port'],
    ['ports.tcp={2222,80}', '80 is ports\\.http'],
    ['ports.tcp={443},ports.httpsEnabled=true', '443 is ports\\.https'],
    ['ports.tcp={8443},ports.httpsEnabled=true', '8443 is the HTTPS port of the pod'],
  ].map(([set = '', is = '']) => ({
    chart: 'server',
    set: ['token.value=x', set],
    says: new RegExp(`ports\\.tcp: ${is}; no TCP tunnel can have it`, 'u'),
  })),
  {
    chart: 'server',
    set: ['token.value=x', 'service.udp.separate=true'],
    says: /leads to the ports of ports\.udp, and there are none/u,
  },
  {
    chart: 'server',
    set: ['token.value=x', 'config.udp-ports=53'],
    says: /config\.udp-ports is set by the chart/u,
  },
  {
    chart: 'server',
    set: ['token.value=x', 'config.http-addr=:80'],
    says: /config\.http-addr is set by the chart/u,
  },
  {
    chart: 'server',
    set: ['token.value=x', 'replicas=2', 'persistence.enabled=true'],
    says: /take kind StatefulSet/u,
  },
  {
    chart: 'server',
    set: ['token.value=x', 'replicas=2', 'config.letsencrypt-domain={a.example}'],
    says: /take replicas 1, or letsencrypt-challenge dns-01/u,
  },
  {
    chart: 'server',
    set: ['token.value=x', 'autoscaling.enabled=true', 'config.letsencrypt-on-demand=a.example'],
    says: /take replicas 1, or letsencrypt-challenge dns-01/u,
  },
  {
    chart: 'server',
    set: ['token.tokensSecret=x', 'serviceMonitor.enabled=true'],
    says: /needs token\.existingSecret or token\.value/u,
  },
  {
    chart: 'server',
    set: ['token.value=x', 'ingress.data.enabled=true'],
    says: /ingress\.data: give hosts/u,
  },
  {
    chart: 'server',
    set: ['token.value=x', 'gateway.control.enabled=true'],
    says: /gateway\.control: give parentRefs/u,
  },
  { chart: 'client', set: ['token.value=x', 'tcp={2222=a:1}'], says: /url: give the server/u },
  { chart: 'client', set: ['url={ws://a}', 'tcp={2222=a:1}'], says: /token: give/u },
  { chart: 'client', set: ['url={ws://a}', 'token.value=x'], says: /a client needs a tunnel/u },
  { chart: 'client', set: ['local={host:22}'], says: /local\/0/u },
  {
    chart: 'client',
    set: ['url={ws://a}', 'token.value=x', 'tcp={2222=a:1}', 'config.metrics-addr=off'],
    says: /config\.metrics-addr is set by the chart/u,
  },
  {
    chart: 'client',
    set: ['url={ws://a}', 'token.value=x', 'local={9124:a:1}'],
    says: /local: "9124:a:1" has the port of .*, metrics-addr \[::\]:9124; give another port/u,
  },
  {
    chart: 'client',
    set: ['url={ws://a}', 'token.value=x', 'local={1:a:1}', 'config.local-socks=9124'],
    says: /config\.local-socks: 9124 is the port of .*, metrics-addr \[::\]:9124; give another/u,
  },
  {
    chart: 'server',
    set: ['token.value=x', 'autoscaling.enabled=true', 'persistence.enabled=true'],
    says: /take kind StatefulSet/u,
  },
  {
    chart: 'server',
    set: [
      ...['token.value=x', 'replicas=2', 'kind=StatefulSet', 'persistence.enabled=true'],
      'persistence.existingClaim=one',
    ],
    says: /replicas would share existingClaim/u,
  },
  {
    chart: 'operator',
    set: ['options.operator-namespace=other'],
    says: /options\.operator-namespace cannot be set/u,
  },
  {
    chart: 'operator',
    set: ['options.metrics-addr=off'],
    says: /options\.metrics-addr cannot be set/u,
  },
];

interface Rule {
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
}

const PORTS: readonly (readonly string[])[] = [
  [],
  ['ports.tcp={53}'],
  ['ports.tcp={53}', 'ports.udp={53,4500}'],
  ['ports.udp={53,4500}', 'service.udp.separate=true'],
];

test('the charts', async (t) => {
  const program = requireGoTool(t, 'helm');
  if (program === undefined) return;
  const helm = new Helm(t, program);
  for (const chart of chartNames()) {
    for (const example of examplesOf(chart)) {
      await t.test(`${chart}: ${example}`, async (t) => {
        await helm.lint(chart, example);
        const manifests = await helm.template(chart, ['--values', example]);
        checkNames(manifests);
        checkPods(manifests);
        checkServices(manifests);
        if (!chart.endsWith('-operator')) await checkOptions(t, manifests);
      });
    }
  }
  for (const sets of PORTS) {
    await t.test(`ports: ${sets.join(', ') || 'none'}`, () => checkPorts(helm, sets));
  }
  await t.test('visitors are redirected to the port of the Service', () => checkRedirect(helm));
  await t.test("the operator's role is of its lease, and clients pull as it says", async () => {
    await checkOperator(helm);
  });
  await t.test('several pods order certificates by dns-01', async () => {
    const config = 'letsencrypt-domain=a.example,config.letsencrypt-challenge=dns-01';
    const set = `token.value=x,replicas=2,config.${config},config.letsencrypt-dns-hook=hook`;
    await helm.template('sluiceway-server', ['--set', set]);
  });
  for (const { chart, set, says } of REFUSED) {
    await t.test(`${chart} refuses ${set.join(', ') || 'no values'}`, async () => {
      const args = set.flatMap((value) => ['--set', value]);
      const refused = await helm.try(`sluiceway-${chart}`, args);
      assert.equal(refused.code, 1);
      assert.match(refused.stderr, says);
    });
  }
});

/** Datagrams get from a Service through the policy to a port that the program opens, no other. */
async function checkPorts(helm: Helm, sets: readonly string[]): Promise<void> {
  const args = ['token.value=x', 'networkPolicy.enabled=true', ...sets];
  const manifests = await helm.template(
    'sluiceway-server',
    args.flatMap((value) => ['--set', value]),
  );
  const services = manifests.filter(({ kind }) => kind === 'Service');
  const open = services.flatMap(({ metadata, spec }) =>
    spec.ports
      .filter(({ protocol }) => protocol === 'UDP')
      .map(({ port, targetPort }) => `${metadata.name} ${port} ${targetPort}`),
  );
  const isSeparate = sets.some((value) => value.startsWith('service.udp'));
  const name = `edge-sluiceway-server${isSeparate ? '-udp' : ''}`;
  const isOpen = sets.some((value) => value.startsWith('ports.udp'));
  assert.deepEqual(open, isOpen ? [`${name} 53 53`, `${name} 4500 4500`] : []);
  const policy = manifests.find(({ kind }) => kind === 'NetworkPolicy');
  const passed = policy?.spec.ingress?.flatMap(({ ports }) => ports) ?? [];
  assert.deepEqual(
    passed.filter(({ protocol }) => protocol === 'UDP').map(({ port }) => port),
    isOpen ? [53, 4500] : [],
  );
  const [container] = podsOf(manifests)[0]?.containers ?? [];
  const optionOf = (name: string) => container?.env?.find((one) => one.name === name)?.value;
  assert.equal(optionOf('SLUICEWAY_UDP_PORTS'), isOpen ? '53,4500' : 'off');
  const isTcpOpen = sets.some((value) => value.startsWith('ports.tcp'));
  assert.equal(optionOf('SLUICEWAY_TCP_PORTS'), isTcpOpen ? '53' : 'off');
  const hasLowPort = sets.some((value) => value.includes('{53'));
  const sysctls = [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '0' }];
  const { sysctls: found } = podsOf(manifests)[0]?.securityContext ?? {};
  assert.deepEqual(found, hasLowPort ? sysctls : undefined);
  checkNames(manifests);
  checkServices(manifests);
}

/** The program redirects to the port of its own address. */
async function checkRedirect(helm: Helm): Promise<void> {
  const set = 'token.value=x,ports.httpsEnabled=true,config.https-cert=a.example=/c\\,/k';
  for (const [redirect, port] of [
    ['true', 443],
    ['false', 8443],
  ] as const) {
    const args = ['--set', `${set},config.https-redirect=${redirect}`];
    const manifests = await helm.template('sluiceway-server', args);
    const [pod] = podsOf(manifests);
    const [container] = pod?.containers ?? [];
    const addr = container?.env?.find(({ name }) => name === 'SLUICEWAY_HTTPS_ADDR')?.value;
    assert.equal(addr, `0.0.0.0:${port}`);
    const opened = container?.ports?.find(({ name }) => name === 'https')?.containerPort;
    assert.equal(opened, port);
    assert.equal(pod?.securityContext.sysctls !== undefined, port < LOW_PORT_END);
    const services = manifests.filter(({ kind }) => kind === 'Service');
    const led = services.flatMap(({ spec }) => spec.ports).find(({ name }) => name === 'https');
    assert.deepEqual([led?.port, led?.targetPort], [443, 'https']);
    checkServices(manifests);
  }
}

async function checkOperator(helm: Helm): Promise<void> {
  const argsOf = (manifests: readonly Manifest[]) => podsOf(manifests)[0]?.containers[0]?.args;
  const leases = (manifests: readonly Manifest[]) =>
    manifests
      .flatMap((manifest) => (manifest as { rules?: readonly Rule[] }).rules ?? [])
      .flatMap(({ resources, resourceNames }) =>
        resources.includes('leases') ? (resourceNames ?? []) : [],
      );
  const own = await helm.template('sluiceway-operator', []);
  assert.deepEqual(leases(own), ['sluiceway-operator']);
  const sets = ['options.lease-name=edge', 'imagePullSecrets[0].name=registry'];
  const args = sets.flatMap((value) => ['--set', value]);
  const other = await helm.template('sluiceway-operator', args);
  assert.deepEqual(leases(other), ['edge']);
  assert.ok(argsOf(other)?.includes('--lease-name=edge'));
  assert.ok(argsOf(other)?.includes('--client-image-pull-secret=registry'));
  const mirror = [...args, '--set', 'clientImagePullSecrets[0].name=mirror'];
  const both = argsOf(await helm.template('sluiceway-operator', mirror));
  const secrets = both?.filter((arg) => arg.startsWith('--client-image-pull-secret'));
  assert.deepEqual(secrets, ['--client-image-pull-secret=mirror']);
}

/** No object twice, and none in a namespace of somebody else. */
function checkNames(manifests: readonly Manifest[]): void {
  const names = manifests.map(({ kind, metadata }) => `${kind}/${metadata.name}`);
  assert.deepEqual(names.toSorted(), [...new Set(names)].sort());
  for (const { metadata } of manifests)
    assert.ok([undefined, NAMESPACE].includes(metadata.namespace));
}

function podsOf(manifests: readonly Manifest[]): PodSpec[] {
  const workloads = manifests.filter(({ kind }) => WORKLOADS.has(kind));
  assert.equal(workloads.length, 1);
  return workloads.map(({ spec }) => spec.template.spec);
}

/** What the level `restricted` of Kubernetes asks for, and a root that is read-only. */
function checkPods(manifests: readonly Manifest[]): void {
  for (const pod of podsOf(manifests)) {
    const { runAsNonRoot, runAsUser, seccompProfile } = pod.securityContext;
    assert.deepEqual([runAsNonRoot, runAsUser], [true, 65532]);
    assert.deepEqual(seccompProfile, { type: 'RuntimeDefault' });
    for (const { securityContext, volumeMounts = [] } of pod.containers) {
      assert.deepEqual(securityContext, {
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      });
      const claims = manifests.flatMap(({ spec }) => spec?.volumeClaimTemplates ?? []);
      const volumes = [...(pod.volumes ?? []), ...claims.map(({ metadata }) => metadata)];
      const known = new Set(volumes.map(({ name }) => name));
      for (const { name } of volumeMounts) assert.ok(known.has(name), `volume ${name}`);
    }
  }
}

/** Each leads to a port that the pod has. */
function checkServices(manifests: readonly Manifest[]): void {
  const [pod] = podsOf(manifests);
  const ports = pod?.containers.flatMap((container) => container.ports ?? []) ?? [];
  const known = new Set(
    ports.flatMap(({ name, containerPort, protocol = 'TCP' }) =>
      [name, containerPort].map((port) => `${port} ${protocol}`),
    ),
  );
  for (const { name } of ports) assert.match(name, PORT_NAME);
  const services = manifests.filter(({ kind }) => kind === 'Service');
  for (const { spec } of services) {
    for (const { name, targetPort, protocol = 'TCP' } of spec.ports) {
      assert.match(name, PORT_NAME);
      const port = `${targetPort} ${protocol}`;
      assert.ok(known.has(port), `a Service leads to ${port}`);
    }
  }
}

/** The program accepts what the chart gives it: the file, the variables, the files they name. */
async function checkOptions(t: TestContext, manifests: readonly Manifest[]): Promise<void> {
  const [container] = podsOf(manifests)[0]?.containers ?? [];
  assert.ok(container !== undefined);
  const root = scratchFolder(t);
  const here = (text: string): string => text.replaceAll('/etc/sluiceway', `${root}/etc`);
  writeFiles(`${root}/etc`, manifests, here);
  const [command = '', ...args] = container.args;
  const checked = await runProgram(t, {
    command: process.execPath,
    args: [ENTRY, 'config', 'check', command, ...args.map(here)],
    env: { PATH: process.env.PATH, HOME: root, ...environmentOf(container, here) },
  });
  assert.equal(checked.code, 0, checked.stderr);
  assert.equal(checked.stdout, 'ok');
}

function environmentOf({ env = [] }: Container, here: (text: string) => string) {
  return Object.fromEntries(env.map(({ name, value = '' }) => [name, here(value)]));
}

function writeFiles(
  folder: string,
  manifests: readonly Manifest[],
  here: (text: string) => string,
): void {
  const config = manifests.find(({ kind }) => kind === 'ConfigMap')?.data ?? {};
  const files = {
    ...Object.fromEntries(Object.entries(config).map(([name, text]) => [`config/${name}`, text])),
    'token/token': 'a-token-of-the-test-0123456789',
    'tokens/tokens.yaml': TOKENS,
    'tls/tls.crt': CERT,
    'tls/tls.key': KEY,
    'ca/ca.crt': CERT,
  };
  for (const [name, text] of Object.entries(files)) {
    const file = path.join(folder, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, here(text));
  }
}
