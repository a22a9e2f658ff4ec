// `sluiceway exit-node create|list|delete`: machines of clouds that run a server.
//
// Invariant: credentials are read from the environment or a file and shown nowhere; a secret token
// is in a file of mode 0600 alone; whatever ends `create`, nothing is left behind that is paid for,
// or its id is said. Must not know: a provider's API.

import { randomBytes } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { sleep, systemClock } from '../../base/clock.ts';
import { ConfigError, SluicewayError } from '../../base/errors.ts';
import { bracketed } from '../../base/target.ts';
import { type GivenConfig, readGiven } from '../../config/config.ts';
import { InvalidText } from '../../config/option.ts';
import { nearestName, quote } from '../../config/problems.ts';
import { duration } from '../../config/quantity.ts';
import { cloudConfig, openPorts } from '../../deploy/cloud-config.ts';
import { createExitNode, type Progress } from '../../provision/exit-node.ts';
import type { Machine, Provider } from '../../provision/provider.ts';
import {
  EXIT_NODE_TAG,
  isProviderName,
  openProvider,
  PROVIDER_NAMES,
  type ProviderName,
} from '../../provision/providers.ts';
import { type ControlTls, reachServer } from '../exit-node-reach.ts';
import { answer, complain, table } from '../output.ts';
import { collectInput, type Flags, readTextFile } from '../sources.ts';
import { isSafeUrl, type PackageFlags, packageSource, readName } from './generate.ts';

export interface CloudFlags {
  readonly provider?: string;
  readonly region?: string;
  readonly credentialsFile?: string;
  readonly endpoint?: string;
  readonly json?: boolean;
}

export interface CreateFlags extends CloudFlags, PackageFlags {
  readonly name?: string;
  readonly size?: string;
  readonly image?: string;
  readonly tokenFile?: string;
  readonly sshKeyFile?: string;
  readonly timeout?: string;
}

const SERVICE = 'sluiceway';
const TOKEN_BYTES = 32;
const NAME_BYTES = 3;
/** A slow provider and a slow mirror together. Guess. */
const DEFAULT_TIMEOUT = '15m';
const MINUTE_MS = 60_000;
const TOKEN_OPTIONS = ['token', 'token-file', 'token-env', 'tokens-file', 'client-ca'];
const SECRET_MODE = 0o600;

export async function createNode(own: CreateFlags, serverFlags: Flags): Promise<void> {
  const name = readName(own.name ?? `exit-${randomBytes(NAME_BYTES).toString('hex')}`);
  const timeoutMs = readTimeout(own.timeout ?? DEFAULT_TIMEOUT);
  const source = packageSource(own);
  const sshKeys = own.sshKeyFile === undefined ? [] : readSshKeys(own.sshKeyFile);
  const providerName = readProvider(own);
  const provider = await open(providerName, own);
  const token = tokenFor(own, serverFlags, name);
  const given = readServerOptions({ ...serverFlags, ...token?.flags });
  const userData = (address?: string): string => {
    const input = address === undefined ? given : withAddress(given, address);
    const { addressCommand } = provider;
    const { text } = cloudConfig(input, {
      ...{ name: SERVICE, source, readFile: readTextFile, sshKeys },
      ...(addressCommand === undefined ? {} : { addressCommand }),
    });
    return text;
  };
  // What is wrong with files is said before anything is paid for.
  userData();
  if (token !== undefined) writeToken(token);
  const run = new CreateRun(providerName);
  try {
    const made = await createExitNode({
      ...{ provider, clock: systemClock, deadlineMs: timeoutMs, signal: run.signal },
      request: {
        ...{ name, userData, ports: openPorts(given, sshKeys.length > 0) },
        ...(own.region === undefined ? {} : { region: own.region }),
        ...(own.size === undefined ? {} : { size: own.size }),
        ...(own.image === undefined ? {} : { image: own.image }),
      },
      reach: async (address) => await reachServer(urlOf(given, address), tlsOf(given)),
      sleep: async (ms) => await run.sleep(ms),
      onProgress: (progress) => run.tell(progress),
    });
    const url = urlOf(given, made.address);
    const { fingerprint } = made.found;
    show({ own, providerName, machine: made.machine, url, fingerprint, tokenFile: token?.path });
  } catch (error) {
    if (token?.isNew === true) rmSync(token.path, { force: true });
    throw error;
  } finally {
    run.end();
  }
}

export async function listNodes(own: CloudFlags): Promise<void> {
  const provider = await open(readProvider(own), own);
  const machines = await provider.list();
  if (own.json === true) {
    answer(`${JSON.stringify(machines)}\n`);
    return;
  }
  const rows = machines.map(({ name, id, region, state, address }) => [
    ...[name, id, region, state],
    address ?? '-',
  ]);
  answer(table([['Name', 'Id', 'Region', 'State', 'Address'], ...rows]));
}

export async function deleteNode(id: string, own: CloudFlags): Promise<void> {
  const provider = await open(readProvider(own), own);
  if ((await provider.get(id)) === undefined) {
    throw new SluicewayError('SLW_CLOUD_REFUSED', `there is no machine ${quote(id)}`);
  }
  await provider.delete(id);
  answer(`deleted ${id}\n`);
}

/** Signals, and lines about what happens. */
class CreateRun {
  readonly #name: ProviderName;
  readonly #stop = new AbortController();
  #machine: Machine | undefined;

  constructor(name: ProviderName) {
    this.#name = name;
    process.on('SIGINT', this.#onSignal);
    process.on('SIGTERM', this.#onSignal);
  }

  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  end(): void {
    process.removeListener('SIGINT', this.#onSignal);
    process.removeListener('SIGTERM', this.#onSignal);
  }

  /** Ends early when it is interrupted. */
  async sleep(ms: number): Promise<void> {
    const { signal } = this.#stop;
    let wake = (): void => {};
    const interrupted = new Promise<void>((resolve) => {
      wake = resolve;
      signal.addEventListener('abort', wake, { once: true });
    });
    await Promise.race([sleep(ms), interrupted]);
    signal.removeEventListener('abort', wake);
  }

  tell({ stage, machine }: Progress): void {
    this.#machine = machine;
    const where = machine === undefined ? '' : `${machine.id} in ${machine.region}`;
    const lines: Readonly<Record<Progress['stage'], string>> = {
      creating: `${this.#name}: making a machine`,
      addressing: `${this.#name}: ${where} has no address yet`,
      starting: `${this.#name}: ${where} is at ${machine?.address}; it installs itself now`,
      removing: `${this.#name}: ${where} is removed again`,
    };
    process.stderr.write(`${lines[stage]}\n`);
  }

  readonly #onSignal = (): void => {
    if (!this.#stop.signal.aborted) {
      process.stderr.write('interrupted: what was made is removed; once more to leave it\n');
      this.#stop.abort(new SluicewayError('SLW_INTERRUPTED'));
      return;
    }
    const left = this.#machine?.id ?? 'maybe a machine, see sluiceway exit-node list';
    complain(`left behind at ${this.#name}, and to be deleted: ${left}`);
    process.exit(1);
  };
}

function readProvider({ provider, endpoint }: CloudFlags): ProviderName {
  const all = PROVIDER_NAMES.join(', ');
  if (provider === undefined) throw new ConfigError([`--provider is required; give one of ${all}`]);
  if (!isProviderName(provider)) {
    const nearest = nearestName(provider, PROVIDER_NAMES);
    const hint = nearest === undefined ? `write one of ${all}` : `did you mean ${nearest}?`;
    throw new ConfigError([`--provider (flag): ${quote(provider)} is unknown; ${hint}`]);
  }
  if (endpoint !== undefined && !isSafeUrl(endpoint)) {
    throw new ConfigError([`--endpoint (flag): ${quote(endpoint)} is no URL; write https://HOST`]);
  }
  return provider;
}

async function open(name: ProviderName, own: CloudFlags): Promise<Provider> {
  const { region, credentialsFile, endpoint } = own;
  return await openProvider({
    ...{ name, env: process.env, readFile: readTextFile, tag: EXIT_NODE_TAG, sleep },
    ...(region === undefined ? {} : { region }),
    ...(credentialsFile === undefined ? {} : { credentialsFile }),
    ...(endpoint === undefined ? {} : { endpoint: endpoint.replace(/\/+$/, '') }),
  });
}

interface Token {
  readonly path: string;
  readonly flags: Flags;
  readonly isNew: boolean;
  readonly text: string;
}

/** A token of its own, unless the server's options or a file have one. */
function tokenFor(own: CreateFlags, server: Flags, name: string): Token | undefined {
  if (TOKEN_OPTIONS.some((option) => server[option] !== undefined)) return undefined;
  if (own.tokenFile !== undefined) {
    const flags = { 'token-file': own.tokenFile };
    return { path: own.tokenFile, flags, isNew: false, text: '' };
  }
  const text = randomBytes(TOKEN_BYTES).toString('base64url');
  return { path: `sluiceway-${name}.token`, flags: { token: text }, isNew: true, text };
}

function writeToken({ path, isNew, text }: Token): void {
  if (!isNew) return;
  try {
    writeFileSync(path, `${text}\n`, { mode: SECRET_MODE, flag: 'wx' });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ConfigError([`the token cannot be written: ${reason}; give --token-file`], { cause });
  }
}

/** What the server's own options say, with ports of its own: the machine is for nothing else. */
function readServerOptions(flags: Flags): GivenConfig<'server'> {
  const ports = { 'http-addr': '0.0.0.0:80', 'https-addr': '0.0.0.0:443' };
  const input = collectInput('server', { ...ports, ...flags });
  // Variables of this machine are for a server on it.
  return readGiven({ ...input, env: {} });
}

/** The name of the certificate, where it is known beforehand. */
function withAddress(given: GivenConfig<'server'>, address: string): GivenConfig<'server'> {
  const name = 'auto-tls-san';
  if (tlsOf(given) !== 'private' || given.options.some((one) => one.name === name)) return given;
  const asked = readServerOptions({ [name]: address, token: 'any-token' });
  const added = asked.options.filter((one) => one.name === name);
  return { ...given, options: [...given.options, ...added] };
}

function tlsOf({ config }: GivenConfig<'server'>): ControlTls {
  if (config.autoTls !== undefined) return 'private';
  return config.tlsCert === undefined ? 'none' : 'own';
}

function urlOf(given: GivenConfig<'server'>, address: string): string {
  const scheme = tlsOf(given) === 'none' ? 'ws' : 'wss';
  const { port } = given.config.controlAddr;
  return `${scheme}://${bracketed(address)}:${port}/connect`;
}

interface Shown {
  readonly own: CreateFlags;
  readonly providerName: ProviderName;
  readonly machine: Machine;
  readonly url: string;
  readonly fingerprint: string | undefined;
  readonly tokenFile: string | undefined;
}

function show({ own, providerName, machine, url, fingerprint, tokenFile }: Shown): void {
  const { id, name, region, address } = machine;
  const plainUrl = url.replace(/\/connect$/, '');
  if (own.json === true) {
    const facts = { provider: providerName, id, name, region, address, url: plainUrl };
    answer(`${JSON.stringify({ ...facts, fingerprint, tokenFile })}\n`);
    return;
  }
  const same = [
    ...(own.credentialsFile === undefined ? [] : [`--credentials-file ${own.credentialsFile}`]),
    ...(own.endpoint === undefined ? [] : [`--endpoint ${own.endpoint}`]),
  ];
  const client = [
    `sluiceway client --url ${plainUrl}`,
    ...(tokenFile === undefined ? [] : [`--token-file ${tokenFile}`]),
    ...(fingerprint === undefined ? [] : [`--auto-tls-fingerprint ${fingerprint}`]),
    '--upstream example.com=http://127.0.0.1:3000',
  ];
  const lines = [
    `Exit node ${name} is up at ${address}. Bring services to it by`,
    '',
    `  ${client.join(' \\\n    ')}`,
    '',
    'and end it by',
    '',
    `  ${[`sluiceway exit-node delete ${id} --provider ${providerName}`, ...same].join(' ')}`,
  ];
  answer(`${lines.join('\n')}\n`);
}

function readTimeout(text: string): number {
  const bounds = { min: MINUTE_MS / 60, max: 24 * 60 * MINUTE_MS };
  const read = duration(bounds).read(text);
  if (!(read instanceof InvalidText)) return read;
  throw new ConfigError([`--timeout (flag): ${quote(text)} ${read.message}`]);
}

function readSshKeys(path: string): readonly string[] {
  let text: string;
  try {
    text = readTextFile(path);
  } catch (cause) {
    throw new ConfigError([`--ssh-key-file: ${cause instanceof Error ? cause.message : path}`]);
  }
  const keys = text.split('\n').map((line) => line.trim());
  const filled = keys.filter((line) => line !== '' && !line.startsWith('#'));
  const isPublic = (line: string): boolean =>
    /^(?:ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/=]+/.test(line);
  if (filled.length > 0 && filled.every(isPublic)) return filled;
  throw new ConfigError([
    `--ssh-key-file: ${path} holds no public key, such as id_ed25519.pub has`,
  ]);
}
