// The options of `sluiceway exit-node`, and the configurations that they make.
//
// Invariant: credentials have one source, and by value come from the environment or a file alone,
// where other users do not see them; what is given for a machine can be read before one is paid
// for. Must not know: a provider's API, or what a machine runs.

import { assert } from '../base/assert.ts';
import { Masked } from '../base/masked.ts';
import { httpsUrl } from './address.ts';
import type { CheckContext } from './check.ts';
import { CONFIG_OPTION } from './file.ts';
import { serviceName } from './generate.ts';
import { labelOf } from './merge.ts';
import { InvalidText, type Kind, one, optional, present, type ValuesOf } from './option.ts';
import { buildPackage, checkPackage, PACKAGE_OPTIONS, type PackageConfig } from './package.ts';
import { nearestName } from './problems.ts';
import { boolean, choice, duration, path, secret, text } from './quantity.ts';
import { checkToken } from './token.ts';

export const PROVIDER_NAMES = [
  ...(['digitalocean', 'hetzner', 'ec2', 'gce', 'azure'] as const),
  ...(['linode', 'scaleway', 'vultr', 'ovh'] as const),
] as const;

export type ProviderName = (typeof PROVIDER_NAMES)[number];

export function readProviderName(given: string): ProviderName | undefined {
  return PROVIDER_NAMES.find((name) => name === given);
}

const HOUR_MS = 3_600_000;
const ALL_PROVIDERS = PROVIDER_NAMES.join(', ');
const MASK = new Masked('').toString();

const provider: Kind<ProviderName> = {
  ...choice(PROVIDER_NAMES, 'NAME'),
  read: (given) => {
    const known = readProviderName(given);
    if (known !== undefined) return known;
    const nearest = nearestName(given, PROVIDER_NAMES);
    const hint =
      nearest === undefined ? `write one of ${ALL_PROVIDERS}` : `did you mean ${nearest}?`;
    return new InvalidText(`is unknown; ${hint}`);
  },
};

/** What the provider has a name for; it says itself when it has none of that name. */
function named(placeholder: string): Kind<string> {
  return text(placeholder, /^[!-~](?:[ -~]{0,198}[!-~])?$/, 'is no name; write printable ASCII');
}

const CLOUD_OPTIONS = {
  ...CONFIG_OPTION,
  provider: optional(provider, { help: `the cloud: ${ALL_PROVIDERS}` }),
  region: optional(named('REGION'), {
    help: "as the provider names it; the provider's of docs/ if none",
  }),
  credentials: optional(secret, {
    help: 'what the file of --credentials-file holds; or the variables of the provider itself',
    sources: ['environment', 'file'],
  }),
  'credentials-file': optional(path, {
    help: 'credentials, in place of the variables of the provider',
  }),
  endpoint: optional(httpsUrl, {
    help: "of the provider's API, where it is not the usual one",
  }),
  json: one(boolean, { default: 'false', help: 'print JSON' }),
};

const NODE_OPTIONS = {
  ...CLOUD_OPTIONS,
  name: optional(serviceName, { help: 'of the machine; a random one if none' }),
  size: optional(named('SIZE'), { help: 'of the machine, as the provider names it' }),
  image: optional(named('IMAGE'), {
    help: 'with systemd and cloud-init, as the provider names it',
  }),
  'token-file': optional(path, {
    help: 'file that holds the token for its clients; a new token in a new file if none',
  }),
  'ssh-key-file': optional(path, {
    help: 'public keys of those who may log in; nobody if none',
  }),
  // A slow provider and a slow mirror together. Guess.
  timeout: one(duration({ min: 1000, max: 24 * HOUR_MS }), {
    default: '15m',
    help: 'how long it may take until it answers',
  }),
  ...PACKAGE_OPTIONS,
};

export const EXIT_NODE_OPTIONS = {
  'exit-node create': NODE_OPTIONS,
  'exit-node list': CLOUD_OPTIONS,
  'exit-node delete': CLOUD_OPTIONS,
};

export interface CloudConfig {
  readonly provider: ProviderName;
  /** Absent: as the provider's own variables say, or its default. */
  readonly region?: string;
  /** Not together with the file; absent both: the provider's own variables. */
  readonly credentials?: Masked;
  readonly credentialsFile?: string;
  /** Without a slash at its end. */
  readonly endpoint?: string;
  readonly json: boolean;
}

export interface NodeConfig extends CloudConfig {
  readonly name?: string;
  readonly size?: string;
  readonly image?: string;
  readonly tokenFile?: string;
  /** Holds at least one key, and nothing else. */
  readonly sshKeyFile?: string;
  readonly timeoutMs: number;
  readonly package: PackageConfig;
}

type CloudCommand = keyof typeof EXIT_NODE_OPTIONS;

export function checkCloud<C extends CloudCommand>(context: CheckContext<C>): void {
  const { given, problems } = context;
  const values = context.parsed as Partial<ValuesOf<typeof CLOUD_OPTIONS>>;
  if (!given.has('provider')) {
    problems.add(`--provider is required; give one of ${ALL_PROVIDERS}`);
  }
  const { credentials } = values;
  if (credentials === undefined) return;
  const label = labelOf(given, 'credentials');
  if (given.has('credentials-file')) {
    const other = labelOf(given, 'credentials-file');
    problems.add(`the credentials are given more than once: ${label} and ${other}; keep one`);
  }
  if (credentials.trim() === '') problems.add(`${label}: is empty; give a value`);
  if (credentials.trim() === MASK) {
    problems.add(`${label}: is "${MASK}", which stands for masked ones`);
  }
}

/** Files of the machine are read by whoever makes it; here they are found to be right. */
export function checkNode(context: CheckContext<'exit-node create'>): void {
  const { parsed, given, readFile, problems } = context;
  checkCloud(context);
  checkPackage(context);
  const reading = (name: 'token-file' | 'ssh-key-file', wrongOf: (text: string) => unknown) => {
    const file = parsed[name];
    if (file === undefined) return;
    let wrong: unknown;
    try {
      wrong = wrongOf(readFile(file));
    } catch (error) {
      wrong = error instanceof Error ? error.message : 'cannot be read';
    }
    if (typeof wrong === 'string') problems.add(`${labelOf(given, name)}: ${wrong}`);
  };
  reading('token-file', (content) => {
    const token = checkToken(content);
    return token instanceof Masked ? undefined : token.wrong;
  });
  reading('ssh-key-file', readSshKeys);
}

const SSH_KEY = /^(?:ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/=]+/;

/** The keys of a file, one a line, or what is wrong with it. */
export function readSshKeys(content: string): readonly string[] | string {
  const lines = content.split('\n').map((line) => line.trim());
  const filled = lines.filter((line) => line !== '' && !line.startsWith('#'));
  const isRight = filled.length > 0 && filled.every((line) => SSH_KEY.test(line));
  return isRight ? filled : 'holds no public key, such as id_ed25519.pub has';
}

export function buildCloud(values: ValuesOf<typeof CLOUD_OPTIONS>): CloudConfig {
  const { provider: name, credentials } = values;
  assert(name !== undefined, 'a configuration without its provider passed its check');
  return {
    provider: name,
    ...present('region', values.region),
    ...(credentials === undefined ? {} : { credentials: new Masked(credentials) }),
    ...present('credentialsFile', values['credentials-file']),
    ...present('endpoint', values.endpoint),
    json: values.json,
  };
}

export function buildNode(values: ValuesOf<typeof NODE_OPTIONS>): NodeConfig {
  return {
    ...buildCloud(values),
    ...present('name', values.name),
    ...present('size', values.size),
    ...present('image', values.image),
    ...present('tokenFile', values['token-file']),
    ...present('sshKeyFile', values['ssh-key-file']),
    timeoutMs: values.timeout,
    package: buildPackage(values),
  };
}
