// Goal: what is printed for Compose and Kubernetes is accepted, runs the options that were given,
// and holds no secret. Method: docker-compose itself, the rules of Pod Security's `restricted`
// level, and the program's own reading of the arguments.

import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { parse, parseAllDocuments } from 'yaml';
import { type Run, run } from '../cli/run.ts';
import { expandInPod } from '../support/pod-expansion.ts';
import { runProgram } from '../support/process.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';

const SECRET = 'a-token-given-by-value-9876';
const LOGIN = 'ann:swordfish-3';
const SERVER = [
  ...['server', '--token', SECRET, '--tcp-ports', '2222,8000-8002', '--udp-ports', '5353'],
];
const CLIENT = [
  ...['client', '--token', SECRET, '--url', 'wss://t.example.com:8123', '--basic-auth', LOGIN],
  ...['--upstream', 'a.example=http://web:80', '--request-header-add', 'X-Cost: $5 $(HOME) $$'],
];

async function generate(kind: string, args: readonly string[]): Promise<string> {
  const done: Run = await run(['generate', kind, ...args]);
  assert.equal(done.code, 0, done.stderr);
  assert.ok(!done.stdout.includes(SECRET) && !done.stdout.includes('swordfish'), done.stdout);
  return done.stdout;
}

interface Mount {
  readonly type: string;
  readonly source: string;
  readonly target: string;
  readonly read_only: boolean;
}

interface Service {
  readonly command: readonly string[];
  readonly ports?: readonly string[];
  readonly network_mode?: string;
  readonly stop_grace_period: string;
  readonly volumes?: readonly (string | Mount)[];
  readonly env_file?: readonly string[];
  readonly healthcheck?: { readonly test?: readonly string[]; readonly disable?: boolean };
}

function serviceOf(text: string): Service {
  return (parse(text) as { services: { sluiceway: Service } }).services.sluiceway;
}

test('docker-compose accepts the files', async (t) => {
  const programs = requirePrograms(t, ['docker-compose']);
  if (programs === undefined) return;
  const folder = scratchFolder(t);
  mkdirSync(path.join(folder, 'pages'));
  for (const name of ['token', 'cert.pem', 'key.pem', 'sluiceway.env']) {
    writeFileSync(path.join(folder, name), '');
  }
  const tls = ['--tls-cert', 'cert.pem', '--tls-key', 'key.pem', '--error-pages', 'pages'];
  const low = [...SERVER, ...tls, '--http-addr', ':80', '--admin-addr', 'off'];
  for (const args of [SERVER, low, CLIENT]) {
    writeFileSync(path.join(folder, 'docker-compose.yaml'), await generate('compose', args));
    const done = await runProgram(t, {
      ...{ command: programs['docker-compose'], args: ['config'], cwd: folder },
      env: { PATH: '/usr/bin:/bin', HOME: folder },
    });
    assert.equal(done.code, 0, done.stderr);
    assert.match(done.stdout, /read_only: true/u);
  }
});

test('docker-compose mounts a folder from where it is, whatever its path has', async (t) => {
  const programs = requirePrograms(t, ['docker-compose']);
  if (programs === undefined) return;
  const folder = scratchFolder(t);
  const pages = path.join(folder, 'a:b $HOME:c');
  mkdirSync(pages);
  const args = [...SERVER, '--error-pages', pages];
  writeFileSync(path.join(folder, 'docker-compose.yaml'), await generate('compose', args));
  const done = await runProgram(t, {
    ...{ command: programs['docker-compose'], args: ['config'], cwd: folder },
    env: { PATH: '/usr/bin:/bin', HOME: folder },
  });
  assert.equal(done.code, 0, done.stderr);
  const { volumes = [] } = serviceOf(done.stdout);
  const [mount] = volumes.filter((one) => typeof one !== 'string');
  const wanted = { source: pages.replace('$', '$$$$'), target: '/etc/sluiceway/a-b--HOME-c' };
  const bind = { propagation: 'rprivate' };
  assert.deepEqual(mount, { type: 'bind', ...wanted, read_only: true, bind });
});

test('a Compose service publishes what the server listens on, and waits for its drain', async () => {
  const service = serviceOf(await generate('compose', [...SERVER, '--drain-timeout', '2m']));
  const tcp = ['2222:2222', '8000:8000', '8001:8001', '8002:8002'];
  const wanted = ['8123:8123', '8000:8000', ...tcp, '5353:5353/udp'];
  assert.deepEqual(service.ports, wanted.filter(isFirst));
  assert.equal(service.stop_grace_period, '135s');
  assert.deepEqual(service.volumes, ['state:/var/lib/sluiceway']);
  assert.match(service.healthcheck?.test?.join(' ') ?? '', /127\.0\.0\.1:9123\/healthz/u);
  const open = await generate('compose', ['server', '--token', SECRET]);
  assert.deepEqual(serviceOf(open).ports, ['8123:8123', '8000:8000']);
  assert.match(open, /^# Ports of TCP tunnels are published one by one/mu);
  assert.doesNotMatch(open, /UDP tunnels/u);
});

test('a range too wide to list is said to be published for nobody, also of UDP alone', async () => {
  const wide = ['server', '--token', SECRET, '--tcp-ports', '8000', '--udp-ports', '20000-40000'];
  for (const form of ['compose', 'k8s'] as const) {
    const text = await generate(form, wide);
    assert.match(text, /^# .*: give --udp-ports with those .*, 100 at most\.$/mu, form);
    assert.doesNotMatch(text, /give --tcp-ports|\b20000\b.*udp/u, form);
  }
});

test('the port of the admin address is published for no tunnel', async () => {
  const portsOf = async (...args: readonly string[]) =>
    serviceOf(await generate('compose', [...SERVER, '--tcp-ports', '9123-9124', ...args])).ports;
  const both = (await portsOf('--admin-addr', '0.0.0.0:9123')) ?? [];
  assert.deepEqual([both.includes('9123:9123'), both.includes('9124:9124')], [false, true]);
  const apart = await portsOf('--admin-addr', '127.0.0.1:9123', '--tcp-addr', '192.0.2.1');
  assert.ok(apart?.includes('9123:9123'));
});

test('a health check asks where the options lead, and there is none where nothing answers', async (t) => {
  const healthOf = async (args: readonly string[]) =>
    serviceOf(await generate('compose', args)).healthcheck;
  const file = path.join(scratchFolder(t), 'client.yaml');
  writeFileSync(file, 'status-dir: "off"\n');
  for (const off of [
    [...SERVER, '--admin-addr', 'off'],
    [...SERVER, '--admin-addr', '127.0.0.1:0'],
    [...CLIENT, '--status-dir', 'off'],
    [...CLIENT, '--config', file],
  ]) {
    assert.deepEqual(await healthOf(off), { disable: true }, off.join(' '));
  }
  for (const [addr, url] of [
    ['0.0.0.0:9200', 'http://127.0.0.1:9200/healthz'],
    ['[::1]:9123', 'http://[::1]:9123/healthz'],
    ['10.1.2.3:9123', 'http://10.1.2.3:9123/healthz'],
  ] as const) {
    const asked = (await healthOf([...SERVER, '--admin-addr', addr]))?.test?.join(' ') ?? '';
    assert.ok(asked.includes(`'${url}'`), asked);
  }
  const asked = (await healthOf([...CLIENT, '--status-dir', '/run/a$b']))?.test;
  assert.deepEqual(asked?.slice(-2), ['--status-dir', '/var/lib/sluiceway/a$$b']);
  // The image's own.
  assert.equal(await healthOf(CLIENT), undefined);
});

function isFirst(text: string, index: number, all: readonly string[]): boolean {
  return all.indexOf(text) === index;
}

test('a client of services on this machine is on its network, another is not', async () => {
  const own = ['--upstream', 'b.example=http://127.0.0.1:1'];
  assert.equal(serviceOf(await generate('compose', [...CLIENT, ...own])).network_mode, 'host');
  const service = serviceOf(await generate('compose', CLIENT));
  assert.equal(service.network_mode, undefined);
  assert.deepEqual(service.env_file, ['./sluiceway.env']);
  assert.ok(service.command.includes('X-Cost: $$5 $$(HOME) $$$$'), service.command.join(' '));
});

test('files and folders of an upstream are brought along, however they are written', async () => {
  const args = [
    ...['--upstream', 'b.example=https://b:1;tls-ca="/x/a;b.pem"', '--upstream'],
    ...['c.example=https://b:1; tls-ca = /x/c.pem ;bearer-token-file=/x/t', '--upstream'],
    ...['d.example=fileserver:www;listing=true', '--upstream', 'e.example=fileserver:///srv/e'],
    ...['--response-header-add', 'X-A: b;tls-ca=/x/none'],
  ];
  const text = await generate('compose', ['client', ...CLIENT.slice(1, 5), ...args]);
  const { command } = serviceOf(text);
  assert.deepEqual(command.slice(5), [
    ...['--upstream', 'b.example=https://b:1;tls-ca=/run/secrets/a-b.pem', '--upstream'],
    'c.example=https://b:1;tls-ca=/run/secrets/c.pem;bearer-token-file=/run/secrets/t',
    ...['--upstream', 'd.example=fileserver:/etc/sluiceway/www;listing=true', '--upstream'],
    ...['e.example=fileserver:///etc/sluiceway/e'],
    ...['--response-header-add', 'X-A: b;tls-ca=/x/none'],
  ]);
  const { secrets } = parse(text) as { secrets: Readonly<Record<string, { file: string }>> };
  assert.deepEqual(
    Object.values(secrets).map(({ file }) => file),
    ['./token', '/x/a;b.pem', '/x/c.pem', '/x/t'],
  );
});

test('a token that is typed has a file of its own, whatever others are called', async () => {
  const upstream = 'b.example=https://b:1;bearer-token-file=./token;tls-ca=2-token';
  const args = [...CLIENT, '--upstream', upstream];
  const text = await generate('compose', args);
  const { secrets } = parse(text) as { secrets: Readonly<Record<string, { file: string }>> };
  const files = Object.values(secrets).map(({ file }) => file);
  assert.deepEqual(files, ['./3-token', './token', './2-token']);
  assert.match(text, /^# \.\/3-token holds the token that was given by value/mu);
  const manifests = await generate('k8s', args);
  assert.match(manifests, /--from-file=token=3-token --from-file=2-token=\.\/token /u);
});

test('readers of YAML 1.1, as docker-compose and kubectl are, see the same', async () => {
  const args = ['--admin-addr', 'off', '--tcp-ports', '22,53'];
  for (const form of ['compose', 'k8s', 'cloud-init']) {
    const text = await generate(form, [...SERVER.slice(0, 3), ...args]);
    const read = (version: '1.1' | '1.2') =>
      parseAllDocuments(text, { version }).map((one) => one.toJS());
    assert.deepEqual(read('1.1'), read('1.2'), form);
  }
});

interface Container {
  readonly args: readonly string[];
  readonly env?: readonly { readonly name: string; readonly valueFrom: unknown }[];
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly securityContext: unknown;
  readonly volumeMounts: readonly { readonly name: string }[];
  readonly [probe: `${string}Probe`]: { readonly httpGet: { readonly port: string } };
}

interface Pod {
  readonly containers: readonly [Container];
  readonly volumes: readonly { readonly name: string; readonly secret?: unknown }[];
  readonly securityContext: Readonly<Record<string, unknown>>;
  readonly terminationGracePeriodSeconds: number;
}

interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly spec: {
    readonly template: { readonly spec: Pod; readonly metadata: { readonly labels: unknown } };
    readonly strategy: { readonly type: string };
    readonly selector: { readonly matchLabels?: unknown };
    readonly ports: readonly { readonly name: string; readonly targetPort: string }[];
  };
}

async function manifestsOf(args: readonly string[]): Promise<readonly Manifest[]> {
  const documents = parseAllDocuments(await generate('k8s', args));
  assert.ok(Array.isArray(documents));
  for (const { errors } of documents) assert.deepEqual(errors, []);
  return documents.map((one) => one.toJS() as Manifest);
}

/** What the `restricted` level of Pod Security asks for (kubernetes.io, Pod Security Standards). */
function assertRestricted({ securityContext, containers: [container] }: Pod): void {
  assert.equal(securityContext.runAsNonRoot, true);
  assert.deepEqual(securityContext.seccompProfile, { type: 'RuntimeDefault' });
  assert.deepEqual(container.securityContext, {
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'] },
  });
}

test('manifests of a server fit together: selectors, ports, probes, volumes', async () => {
  const args = [...SERVER, '--namespace', 'edge', '--name', 'exit', '--http-addr', ':80'];
  const manifests = await manifestsOf(args);
  assert.deepEqual(
    manifests.map(({ apiVersion, kind, metadata }) => [apiVersion, kind, metadata.name]),
    [
      ['v1', 'PersistentVolumeClaim', 'exit-state'],
      ['apps/v1', 'Deployment', 'exit'],
      ['v1', 'Service', 'exit'],
    ],
  );
  assert.ok(manifests.every(({ metadata }) => metadata.namespace === 'edge'));
  const [, deployment, service] = manifests;
  const pod = deployment?.spec.template.spec;
  assert.ok(deployment !== undefined && service !== undefined && pod !== undefined);
  assertRestricted(pod);
  const [container] = pod.containers;
  const names = container.ports?.map(({ name }) => name) ?? [];
  assert.deepEqual(names, [
    ...['control', 'http', 'tcp-2222', 'tcp-8000', 'tcp-8001', 'tcp-8002', 'udp-5353'],
  ]);
  assert.ok(
    names.every((name) => name.length <= 15),
    'IANA names have at most 15 letters',
  );
  assert.deepEqual(
    service.spec.ports.map(({ targetPort }) => targetPort),
    names,
  );
  assert.deepEqual(deployment.spec.template.metadata.labels, deployment.spec.selector.matchLabels);
  assert.deepEqual(service.spec.selector, deployment.spec.selector.matchLabels);
  for (const probe of ['startupProbe', 'livenessProbe', 'readinessProbe'] as const) {
    assert.equal(container[probe]?.httpGet.port, 'control');
  }
  const mounted = container.volumeMounts.map(({ name }) => name);
  assert.deepEqual(
    pod.volumes.map(({ name }) => name),
    mounted,
  );
  assert.deepEqual(pod.securityContext.sysctls, [
    { name: 'net.ipv4.ip_unprivileged_port_start', value: '0' },
  ]);
  assert.equal(pod.terminationGracePeriodSeconds, 45);
});

/** The arguments for it, the port that is named, and those that probes ask. */
async function asked(args: readonly string[]) {
  const manifests = await manifestsOf([...CLIENT, ...args]);
  const deployment = manifests.find(({ kind }) => kind === 'Deployment');
  const container = deployment?.spec.template.spec.containers[0];
  const at = container?.args.indexOf('--metrics-addr') ?? -1;
  return {
    addr: at < 0 ? undefined : container?.args[at + 1],
    port: container?.ports?.find(({ name }) => name === 'metrics')?.containerPort,
    probes: ['livenessProbe', 'readinessProbe'].map(
      (probe) => container?.[probe as 'readinessProbe']?.httpGet.port,
    ),
  };
}

test('probes ask a client where it answers, and it answers unless it was told not to', async () => {
  const both = { probes: ['metrics', 'metrics'] };
  const none = { port: undefined, probes: [undefined, undefined] };
  assert.deepEqual(await asked([]), { addr: '[::]:9124', port: 9124, ...both });
  const given = await asked(['--metrics-addr', ':9300']);
  assert.deepEqual(given, { addr: ':9300', port: 9300, ...both });
  for (const addr of ['off', '127.0.0.1:9124', ':0']) {
    assert.deepEqual(await asked(['--metrics-addr', addr]), { addr, ...none });
  }
});

test('a forward on the port where probes would ask is refused, with what to do', async () => {
  for (const [name, value] of [
    ['--local', '9124:db:1'],
    ['--local-socks', '9124'],
  ] as const) {
    const refused = await run(['generate', 'k8s', ...CLIENT, name, value]);
    assert.equal(refused.code, 2, refused.stdout);
    const says = `${name}: port 9124 is where probes ask a pod, by --metrics-addr [::]:9124; give`;
    assert.ok(refused.stderr.includes(says), refused.stderr);
    const { port } = await asked([name, value, '--metrics-addr', ':9300']);
    assert.equal(port, 9300);
    assert.equal((await asked([name, value, '--metrics-addr', 'off'])).port, undefined);
  }
});

test('a client has no Service, and takes its secrets from the Secret', async () => {
  const pinned = ['--auto-tls-fingerprint', `sha256:${'a'.repeat(64)}`];
  const [deployment, ...more] = await manifestsOf([...CLIENT, ...pinned]);
  assert.deepEqual([deployment?.kind, more], ['Deployment', []]);
  const pod = deployment?.spec.template.spec;
  assert.ok(pod !== undefined);
  assertRestricted(pod);
  assert.equal(deployment?.spec.strategy.type, 'RollingUpdate');
  const [container] = pod.containers;
  assert.deepEqual(container.env, [
    {
      name: 'SLUICEWAY_BASIC_AUTH',
      valueFrom: { secretKeyRef: { name: 'sluiceway', key: 'SLUICEWAY_BASIC_AUTH' } },
    },
  ]);
  assert.ok(container.args.includes('X-Cost: $5 $$(HOME) $$$'), container.args.join(' '));
  const args = container.args.map((arg) => expandInPod(arg, { HOME: '/' }));
  assert.ok(args.includes('X-Cost: $5 $(HOME) $$'), args.join(' '));
});

test('the arguments in a deployment are read back as the same configuration', async () => {
  const options = [
    ...[
      '--control-on-http',
      '--no-auto-tls',
      '--access-log',
      '--hsts',
      '600',
      '--https-addr',
      ':444',
    ],
    ...['--letsencrypt-domain', 'a.example,b.example', '--window-max', '16MiB', '--shards', '3'],
    ...['--client-forwarding', 'db.svc:5432', '--allow-ips', '10.0.0.0/8,2001:db8::/32'],
  ];
  const print = async (args: readonly string[]) =>
    (await run(['config', 'print', ...args], { SLUICEWAY_TOKEN: SECRET })).stdout;
  const wanted = await print([
    'server',
    ...options,
    '--tcp-ports',
    '2222,8000-8002',
    '--udp-ports',
    '5353',
  ]);
  const { command } = serviceOf(await generate('compose', [...SERVER, ...options]));
  const at = command.indexOf('--token-file');
  assert.equal(await print(command.toSpliced(at, 2)), wanted);
});
