// Goal: options of `generate` and `exit-node`, and those of the operator for its machines, have
// every source that others have, and what is wrong or of no use is refused. Method: each option of
// the schema by flag, variable and file, with what it must become; then what does not go together.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Masked } from '../../src/base/masked.ts';
import { resolveConfig } from '../../src/config/config.ts';
import { variableOf } from '../../src/config/merge.ts';
import type { OptionTable, Source } from '../../src/config/option.ts';
import { maskedConfig } from '../../src/config/print.ts';
import type { ConfigInput } from '../../src/config/resolve.ts';
import { type Command, SCHEMA } from '../../src/config/schema.ts';
import { problemsOf } from './input.ts';

const COMMANDS = [
  ...(['generate systemd', 'generate compose', 'generate k8s', 'generate cloud-init'] as const),
  ...(['exit-node create', 'exit-node list', 'exit-node delete'] as const),
  'operator',
] as const;
type DeployCommand = (typeof COMMANDS)[number];

const ARCHIVE = 'https://a.example/x.tgz';
const INTEGRITY = `sha512-${'A'.repeat(86)}==`;
const SECRET = 'credential-of-the-test';
const FILES: Readonly<Record<string, string>> = {
  '/token': 'token-of-the-test-0123456789\n',
  '/key.pub': '# ann\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5 ann@a.example\n',
};

interface Row {
  readonly value: string;
  /** What the configuration has then. */
  readonly becomes: Readonly<Record<string, unknown>>;
  /** Values that are refused, with the reason. */
  readonly wrong: Readonly<Record<string, RegExp>>;
  /** What else has to be there. */
  readonly beside?: Readonly<Record<string, string>>;
}

const NO_NAME = /is no name; write printable ASCII/u;
const NO_PATH = { '': /is empty/u };

/** `key` is where the configuration has them. */
function packageRows(prefix: string, key: string): Readonly<Record<string, Row>> {
  const registry = 'https://registry.npmjs.org';
  return {
    [`${prefix}package-integrity`]: {
      value: INTEGRITY,
      beside: { [`${prefix}package`]: ARCHIVE },
      becomes: { [key]: { spec: ARCHIVE, integrity: INTEGRITY, registry } },
      wrong: { 'sha512-x': /is no digest/u, '': /is empty/u },
    },
    [`${prefix}package`]: {
      value: 'sluiceway@0.2.0',
      becomes: { [key]: { spec: 'sluiceway@0.2.0', registry } },
      wrong: {
        "x'; reboot": /is no package/u,
        'http://a.example/x.tgz': /is no package/u,
        'https://me:secret@a.example/x.tgz': /is no package; .* without a login/u,
        [ARCHIVE]: new RegExp(`a URL needs --${prefix}package-integrity`, 'u'),
      },
    },
    [`${prefix}registry`]: {
      value: 'https://mirror.example/npm/',
      becomes: { [key]: { registry: 'https://mirror.example/npm' } },
      wrong: {
        'http://mirror.example': /is no URL; write https/u,
        'https://me:secret@mirror.example': /is no URL; .* without a login/u,
        mirror: /is no URL/u,
      },
    },
  };
}

const COMMON: Readonly<Record<string, Row>> = {
  name: {
    value: 'edge-1',
    becomes: { name: 'edge-1' },
    wrong: { A: /is no name of a service/u, ['a'.repeat(32)]: /at most 31/u, '': /is empty/u },
  },
  ...packageRows('', 'package'),
};

const IMAGE: Row = {
  value: 'registry.example/sluiceway:1',
  becomes: { image: 'registry.example/sluiceway:1' },
  wrong: { 'a b': /is no image/u, '': /is empty/u },
};

const GENERATE: Readonly<Record<string, Row>> = {
  ...COMMON,
  image: IMAGE,
  program: {
    value: '/opt/node /opt/main.js',
    becomes: { program: ['/opt/node', '/opt/main.js'] },
    wrong: { sluiceway: /needs the whole path/u, ' ': /is no program/u },
  },
  namespace: {
    value: 'edge',
    becomes: { namespace: 'edge' },
    wrong: { Edge: /is no name of a Kubernetes object/u, '-a': /is no name/u },
  },
};

const CLOUD: Readonly<Record<string, Row>> = {
  ...COMMON,
  provider: {
    value: 'ec2',
    becomes: { provider: 'ec2' },
    wrong: {
      hetzer: /'hetzer' is unknown; did you mean hetzner\?/u,
      mainframe: /write one of digitalocean, hetzner, ec2/u,
    },
  },
  region: { value: 'eu-west-1', becomes: { region: 'eu-west-1' }, wrong: { é: NO_NAME } },
  size: { value: 't3.micro', becomes: { size: 't3.micro' }, wrong: { ' a': NO_NAME } },
  image: {
    value: 'Debian 12 x64 (bookworm)',
    becomes: { image: 'Debian 12 x64 (bookworm)' },
    wrong: { 'a\nb': NO_NAME },
  },
  credentials: {
    value: SECRET,
    becomes: { credentials: SECRET },
    wrong: { '[masked]': /stands for masked ones/u, ' ': /is empty/u },
  },
  'credentials-file': {
    value: '/run/secrets/cloud',
    becomes: { credentialsFile: '/run/secrets/cloud' },
    wrong: NO_PATH,
  },
  endpoint: {
    value: 'http://127.0.0.1:4000/',
    becomes: { endpoint: 'http://127.0.0.1:4000' },
    wrong: { 'http://a.example': /is no URL; write https/u },
  },
  json: { value: 'true', becomes: { json: true }, wrong: { maybe: /is not a boolean/u } },
  'token-file': {
    value: '/token',
    becomes: { tokenFile: '/token' },
    wrong: { '/none': /\/none does not exist/u, '/key.pub': /printable ASCII without spaces/u },
  },
  'ssh-key-file': {
    value: '/key.pub',
    becomes: { sshKeyFile: '/key.pub' },
    wrong: { '/token': /holds no public key/u, '/none': /\/none does not exist/u },
  },
  timeout: {
    value: '20m',
    becomes: { timeoutMs: 1_200_000 },
    wrong: { soon: /is not a duration/u, '2d': /is not a duration/u, '999ms': /is too small/u },
  },
};

const MACHINE = packageRows('machine-', 'machinePackage');

function rowOf(command: DeployCommand, name: string): Row | undefined {
  if (command === 'operator') return MACHINE[name];
  return (command.startsWith('generate ') ? GENERATE : CLOUD)[name];
}

interface Way {
  readonly source: Source;
  readonly values: Readonly<Record<string, string>>;
}

function inputOf(command: DeployCommand, { source, values }: Way): ConfigInput<DeployCommand> {
  const isCloud = command.startsWith('exit-node ');
  const needed = isCloud && values.provider === undefined ? { SLUICEWAY_PROVIDER: 'hetzner' } : {};
  const entries = Object.entries(values);
  const variables = entries.map(([name, value]) => [variableOf(name), value]);
  const text = entries.map(([name, value]) => `${name}: ${JSON.stringify(value)}\n`).join('');
  return {
    command,
    flags: source === 'flag' ? values : {},
    env: { ...needed, ...(source === 'environment' ? Object.fromEntries(variables) : {}) },
    ...(source === 'file' ? { file: { path: 'own.yaml', text } } : {}),
    defaults: { cores: 1, logFormat: 'json' },
    readFile: (path) => {
      const found = FILES[path];
      if (found === undefined) throw new Error(`${path} does not exist`);
      return found;
    },
  };
}

const ORIGINS: Readonly<Record<Source, (name: string) => string>> = {
  flag: () => '(flag)',
  environment: (name) => `(environment variable ${variableOf(name)})`,
  file: () => '(own.yaml line 1, column 1)',
};

/** As plain values, secrets in the clear. */
function plain(config: object): Record<string, unknown> {
  const entries = Object.entries(config).map(([key, value]: [string, unknown]) => [
    key,
    value instanceof Masked ? value.reveal() : value,
  ]);
  return Object.fromEntries(entries) as Record<string, unknown>;
}

for (const command of COMMANDS) {
  describe(command, () => {
    const table: OptionTable = SCHEMA[command];
    for (const [name, option] of Object.entries(table)) {
      // Of the operator's others there are tests of what they do.
      if (command === 'operator' && !name.startsWith('machine-')) continue;
      if (name === 'config' || name === 'generate-config') {
        test(`--${name} is of the command line and the environment alone`, () => {
          assert.deepEqual(option.sources, ['flag', 'environment']);
        });
        continue;
      }
      const row = rowOf(command, name);
      const wanted: readonly Source[] =
        name === 'credentials' ? ['environment', 'file'] : ['flag', 'environment', 'file'];
      test(`--${name} has the sources ${wanted.join(', ')}, and is checked in each`, () => {
        assert.ok(row !== undefined, `${name} has no row in this test`);
        assert.deepEqual(option.sources, wanted);
        for (const source of wanted) {
          const values: Way['values'] = { [name]: row.value, ...row.beside };
          const config = plain(resolveConfig(inputOf(command, { source, values })));
          for (const [key, value] of Object.entries(row.becomes)) {
            assert.deepEqual(config[key], value, `${key} from ${source}`);
          }
          for (const [text, reason] of Object.entries(row.wrong)) {
            const way: Way = { source, values: { [name]: text } };
            const problems = problemsOf(() => resolveConfig(inputOf(command, way))).join('\n');
            assert.match(problems, reason, `${text} from ${source}`);
            assert.ok(!problems.includes('me:secret'), problems);
            assert.ok(problems.includes(`--${name} ${ORIGINS[source](name)}`), problems);
            if (name === 'credentials') continue;
            assert.equal(problems.split('\n').length, 1, problems);
          }
        }
      });
    }
  });
}

test('a flag wins over a variable, and a variable over the file', () => {
  const text = 'name: of-file\nimage: of-file\nnamespace: of-file\n';
  const env = { SLUICEWAY_NAME: 'of-variable', SLUICEWAY_IMAGE: 'of-variable' };
  const config = resolveConfig({
    ...inputOf('generate k8s', { source: 'flag', values: { name: 'of-flag' } }),
    ...{ command: 'generate k8s', env, file: { path: 'own.yaml', text } },
  });
  assert.deepEqual(config, { name: 'of-flag', image: 'of-variable', namespace: 'of-file' });
});

test('what has no effect, or is said twice, is refused', () => {
  const table: readonly (readonly [DeployCommand, Way, RegExp])[] = [
    [
      'exit-node create',
      { source: 'file', values: { credentials: SECRET, 'credentials-file': '/x' } },
      /^the credentials are given more than once: --credentials \(own\.yaml line 1, column 1\) and --credentials-file \(own\.yaml line 2, column 1\); keep one$/u,
    ],
    [
      'generate cloud-init',
      { source: 'flag', values: { 'package-integrity': INTEGRITY, package: 'sluiceway@1.0.0' } },
      /^--package-integrity \(flag\): is for a URL; the registry has that of its packages$/u,
    ],
    [
      'operator',
      { source: 'environment', values: { 'machine-package-integrity': INTEGRITY } },
      /^--machine-package-integrity \(environment variable SLUICEWAY_MACHINE_PACKAGE_INTEGRITY\): is for a URL; the registry has that of its packages$/u,
    ],
    [
      'generate systemd',
      { source: 'file', values: { image: 'x' } },
      /^'image' \(own\.yaml line 1, column 1\): is an option of generate compose, generate k8s and exit-node create, not of generate systemd$/u,
    ],
    [
      'exit-node list',
      { source: 'flag', values: { size: 'x' } },
      /^'--size' \(flag\): is an option of exit-node create, not of exit-node list$/u,
    ],
    [
      'generate k8s',
      { source: 'file', values: { namespce: 'x' } },
      /unknown option; did you mean namespace\?$/u,
    ],
    [
      'exit-node create',
      { source: 'environment', values: { 'ssh-keyfile': '/key.pub' } },
      /^'SLUICEWAY_SSH_KEYFILE' \(environment\): unknown variable; did you mean SLUICEWAY_SSH_KEY_FILE\?$/u,
    ],
    [
      'exit-node list',
      { source: 'flag', values: { credentials: SECRET } },
      /^'--credentials' \(flag\): cannot be set here; set SLUICEWAY_CREDENTIALS in the environment$/u,
    ],
  ];
  for (const [command, way, wanted] of table) {
    const problems = problemsOf(() => resolveConfig(inputOf(command, way)));
    assert.equal(problems.length, 1, problems.join('\n'));
    assert.match(problems[0] ?? '', wanted);
    assert.ok(!problems.join().includes(SECRET), 'no secret is repeated');
  }
});

test('no option of generate has the name of one that may stand on the same line', () => {
  const others = new Set([...Object.keys(SCHEMA.server), ...Object.keys(SCHEMA.client)]);
  for (const command of COMMANDS.filter((one) => one.startsWith('generate '))) {
    assert.deepEqual(
      Object.keys(SCHEMA[command]).filter((name) => others.has(name)),
      [],
    );
  }
});

test('a cloud needs a provider, and nothing else', () => {
  const input = { ...inputOf('exit-node list', { source: 'flag', values: {} }), env: {} };
  assert.match(problemsOf(() => resolveConfig(input)).join(), /^--provider is required; give one/u);
  const env = { SLUICEWAY_PROVIDER: 'vultr' };
  assert.deepEqual(resolveConfig({ ...input, env }), { provider: 'vultr', json: false });
});

test('config print masks credentials, and what it prints is read back but for them', () => {
  const values = { provider: 'ec2', credentials: SECRET, timeout: '20m', name: 'edge-1' };
  const input = inputOf('exit-node create', { source: 'file', values });
  const text = maskedConfig(input);
  assert.ok(!text.includes(SECRET));
  assert.match(text, /^credentials: "\[masked\]"$/mu);
  const again = (changed: string) => ({
    ...input,
    env: {},
    file: { path: 'own.yaml', text: changed },
  });
  assert.match(problemsOf(() => resolveConfig(again(text))).join(), /stands for masked ones/u);
  const filled = resolveConfig(again(text.replace('[masked]', SECRET)));
  assert.deepEqual(plain(filled), plain(resolveConfig(input)));
});

test('a server and a client leave variables of these commands alone', () => {
  for (const command of ['server', 'client'] as const satisfies readonly Command[]) {
    const env = {
      ...{ SLUICEWAY_TOKEN: 'token-of-the-test', SLUICEWAY_URL: 'wss://a.example' },
      ...{ SLUICEWAY_UPSTREAM: 'a.example=http://127.0.0.1:1', SLUICEWAY_PROVIDER: 'ec2' },
      ...{ SLUICEWAY_NAMESPACE: 'edge', SLUICEWAY_CREDENTIALS: SECRET },
    };
    const config = resolveConfig({
      ...{ command, flags: {}, env, defaults: { cores: 1, logFormat: 'json' as const } },
      readFile: () => '',
    });
    assert.ok(!JSON.stringify(config).includes(SECRET));
  }
});
