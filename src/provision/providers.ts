// Which providers there are, what each is proven by, and how one is opened.
//
// Invariant: credentials come from the environment or a file, never from a command line, and are
// all there before a request is made; a provider's code is loaded when it is asked for. Must not
// know: a provider's API.

import { ConfigError } from '../base/errors.ts';
import type { Masked } from '../base/masked.ts';
import type { ProviderName } from '../config/cloud.ts';
import type { Provider, ProviderOptions } from './provider.ts';

type Create = (options: ProviderOptions) => Provider;

interface ProviderRow {
  /** What people call it. */
  readonly title: string;
  /** Variables, of which the first stands for a file with nothing but its value. */
  readonly variables: readonly string[];
  readonly optional?: readonly string[];
  /** Other names of the first one. */
  readonly aliases?: readonly string[];
  /** The first names a file, whose text is meant. */
  readonly isFile?: true;
  /** Where else a region may be said. */
  readonly regionVariables?: readonly string[];
  readonly load: () => Promise<Create>;
}

export const PROVIDERS = {
  digitalocean: {
    title: 'DigitalOcean',
    variables: ['DIGITALOCEAN_TOKEN'],
    aliases: ['DIGITALOCEAN_ACCESS_TOKEN'],
    load: async () => (await import('./digitalocean.ts')).createDigitalocean,
  },
  hetzner: {
    title: 'Hetzner Cloud',
    variables: ['HCLOUD_TOKEN'],
    load: async () => (await import('./hetzner.ts')).createHetzner,
  },
  ec2: {
    title: 'Amazon EC2',
    variables: ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'],
    optional: ['AWS_SESSION_TOKEN'],
    regionVariables: ['AWS_REGION', 'AWS_DEFAULT_REGION'],
    load: async () => (await import('./ec2.ts')).createEc2,
  },
  gce: {
    title: 'Google Compute Engine',
    variables: ['GOOGLE_APPLICATION_CREDENTIALS'],
    isFile: true,
    load: async () => (await import('./gce.ts')).createGce,
  },
  azure: {
    title: 'Microsoft Azure',
    variables: [
      ...['AZURE_TENANT_ID', 'AZURE_CLIENT_ID', 'AZURE_CLIENT_SECRET', 'AZURE_SUBSCRIPTION_ID'],
    ],
    load: async () => (await import('./azure.ts')).createAzure,
  },
  linode: {
    title: 'Linode',
    variables: ['LINODE_TOKEN'],
    load: async () => (await import('./linode.ts')).createLinode,
  },
  scaleway: {
    title: 'Scaleway',
    variables: ['SCW_SECRET_KEY', 'SCW_DEFAULT_PROJECT_ID'],
    regionVariables: ['SCW_DEFAULT_ZONE'],
    load: async () => (await import('./scaleway.ts')).createScaleway,
  },
  vultr: {
    title: 'Vultr',
    variables: ['VULTR_API_KEY'],
    load: async () => (await import('./vultr.ts')).createVultr,
  },
  ovh: {
    title: 'OVHcloud',
    variables: [
      ...['OVH_APPLICATION_KEY', 'OVH_APPLICATION_SECRET', 'OVH_CONSUMER_KEY'],
      'OVH_CLOUD_PROJECT_SERVICE',
    ],
    load: async () => (await import('./ovh.ts')).createOvh,
  },
} as const satisfies Readonly<Record<ProviderName, ProviderRow>>;

/** Mark what `exit-node` makes, and what operators of clusters do. */
export const EXIT_NODE_TAG = 'sluiceway-exit-node';
export const OPERATOR_TAG = 'sluiceway-operator';

export interface CredentialSources {
  readonly name: ProviderName;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Stands in for the environment. */
  readonly credentials?: Masked;
  /** Path of a file that does. */
  readonly credentialsFile?: string;
  /** Where variables are to be, for whoever looks for one that is missing. */
  readonly where?: string;
  /** The text of a file, or an error whose message says what is wrong. */
  readonly readFile: (path: string) => string;
}

export interface OpenOptions extends CredentialSources {
  readonly tag: string;
  readonly region?: string;
  readonly endpoint?: string;
  readonly sleep: (ms: number) => Promise<void>;
}

/** A ConfigError when credentials are missing. */
export async function openProvider(options: OpenOptions): Promise<Provider> {
  const { name, env, tag, endpoint, sleep } = options;
  const row: ProviderRow = PROVIDERS[name];
  const said = row.regionVariables?.map((variable) => env[variable]).find((text) => text);
  const region = options.region ?? said;
  const create = await row.load();
  return create({
    credentials: readCredentials(options),
    ...{ tag, sleep },
    ...(region === undefined ? {} : { region }),
    ...(endpoint === undefined ? {} : { endpoint }),
  });
}

/** By the names of variables. A ConfigError when some are missing. */
export function readCredentials(options: CredentialSources): Readonly<Record<string, string>> {
  const { env, credentials, credentialsFile } = options;
  const row: ProviderRow = PROVIDERS[options.name];
  const text =
    credentialsFile === undefined
      ? credentials?.reveal().trim()
      : readText(options, credentialsFile, '--credentials-file');
  const given = text === undefined ? env : readLines(row, text);
  const [first = '', ...rest] = row.variables;
  const found: Record<string, string> = {};
  const own = [first, ...(row.aliases ?? [])].map((name) => given[name]).find((text) => text);
  if (own !== undefined) found[first] = own;
  for (const name of [...rest, ...(row.optional ?? [])]) {
    const text = given[name];
    if (text !== undefined && text !== '') found[name] = text;
  }
  if (row.isFile === true && text === undefined && own !== undefined) {
    found[first] = readText(options, own, first);
  }
  const missing = row.variables.filter((name) => found[name] === undefined);
  if (missing.length === 0) return found;
  const source = text === undefined ? 'the environment' : 'its credentials';
  const usual = `in ${credentialsFile ?? source}, or a file by --credentials-file`;
  const where = options.where ?? usual;
  throw new ConfigError([`${row.title} needs ${missing.join(', ')} ${where}`]);
}

/** `NAME=VALUE` a line; or, where one value is enough, that alone. */
function readLines(row: ProviderRow, text: string): Readonly<Record<string, string>> {
  const [first = '', ...more] = row.variables;
  if (row.isFile === true) return { [first]: text };
  const lines = text.split('\n').map((line) => line.trim());
  const filled = lines.filter((line) => line !== '' && !line.startsWith('#'));
  const [only = ''] = filled;
  if (more.length === 0 && filled.length === 1 && !/^[A-Z_]+=/.test(only)) return { [first]: only };
  return Object.fromEntries(
    filled.map((line) => {
      const [, name = '', value = ''] = /^(?:export )?([A-Z_]+)=(.*)$/.exec(line) ?? [];
      return [name, unquoted(value)];
    }),
  );
}

/** As a shell has it. */
function unquoted(value: string): string {
  const [first = ''] = value;
  const isQuoted = value.length > 1 && (first === '"' || first === "'") && value.endsWith(first);
  return isQuoted ? value.slice(1, -1) : value;
}

function readText({ readFile }: CredentialSources, path: string, what: string): string {
  try {
    return readFile(path).trim();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ConfigError([`${what}: ${reason}`], { cause });
  }
}
