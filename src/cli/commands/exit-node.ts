// `sluiceway exit-node create|list|delete`: machines of clouds that run a server.
//
// Invariant: credentials are read from the environment or a file and shown nowhere; a secret token
// is in a file of mode 0600 alone; whatever ends `create`, nothing is left behind that is paid for,
// or its id is said; nothing is deleted that `list` does not show. Must not know: a provider's API.

import { randomBytes } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { sleep, systemClock } from '../../base/clock.ts';
import { ConfigError, SluicewayError } from '../../base/errors.ts';
import { readSshKeys } from '../../config/cloud.ts';
import {
  type CloudConfig,
  type NodeConfig,
  type ProviderName,
  resolveConfig,
} from '../../config/config.ts';
import { quote } from '../../config/problems.ts';
import { openPorts } from '../../deploy/cloud-config.ts';
import { pathWord, shellWord } from '../../deploy/shell-word.ts';
import { createExitNode, type Progress } from '../../provision/exit-node.ts';
import type { Machine, MachineRequest, Provider } from '../../provision/provider.ts';
import { EXIT_NODE_TAG, openProvider } from '../../provision/providers.ts';
import { reachServer } from '../exit-node-reach.ts';
import { type NodeOptions, readNodeOptions } from '../exit-node-server.ts';
import { collectServer, tlsOf, urlOf, userDataOf } from '../machine-server.ts';
import { answer, complain, table } from '../output.ts';
import { packageSource } from '../package-source.ts';
import { collectInput, type Flags, readTextFile } from '../sources.ts';

const TOKEN_BYTES = 32;
const NAME_BYTES = 3;
const SECRET_MODE = 0o600;

export async function createNode(flags: Flags, serverFlags: Flags): Promise<void> {
  const readFile = readingOnce();
  const secret = randomBytes(TOKEN_BYTES).toString('base64url');
  const options = readNodeOptions({
    own: { ...collectInput('exit-node create', flags), readFile },
    server: collectServer(serverFlags, readFile),
    secret,
  });
  const { own, given } = options;
  const name = own.name ?? `exit-${randomBytes(NAME_BYTES).toString('hex')}`;
  const provider = await open(own);
  const request = requestOf({ ...options, name, provider, readFile });
  // What is wrong with files is said before anything is paid for.
  request.userData();
  const newToken = options.usesSecret ? `sluiceway-${name}.token` : undefined;
  if (newToken !== undefined) writeToken(newToken, secret);
  const run = new CreateRun(own.provider);
  try {
    const made = await createExitNode({
      ...{ provider, request, clock: systemClock, deadlineMs: own.timeoutMs, signal: run.signal },
      reach: async (address) => await reachServer(urlOf(given, address), tlsOf(given)),
      sleep,
      onProgress: (progress) => run.tell(progress),
    });
    const url = urlOf(given, made.address);
    const { fingerprint } = made.found;
    const tokenFile = own.tokenFile ?? newToken;
    show({ own, machine: made.machine, url, fingerprint, tokenFile });
  } catch (error) {
    if (newToken !== undefined) rmSync(newToken, { force: true });
    throw error;
  } finally {
    run.end();
  }
}

type ReadFile = (path: string) => string;

interface Wanted extends NodeOptions {
  readonly name: string;
  readonly provider: Provider;
  readonly readFile: ReadFile;
}

function requestOf({ own, given, name, provider, readFile }: Wanted): MachineRequest {
  const source = packageSource(own.package);
  const sshKeys = own.sshKeyFile === undefined ? [] : sshKeysOf(readFile(own.sshKeyFile));
  const { addressCommand } = provider;
  const finds = addressCommand === undefined ? {} : { addressCommand };
  const userData = (address?: string): string =>
    userDataOf(given, address, { source, readFile, sshKeys, ...finds });
  return {
    ...{ name, userData, ports: openPorts(given, sshKeys.length > 0) },
    ...(own.region === undefined ? {} : { region: own.region }),
    ...(own.size === undefined ? {} : { size: own.size }),
    ...(own.image === undefined ? {} : { image: own.image }),
  };
}

/** The check of the options has refused a file without any. */
function sshKeysOf(text: string): readonly string[] {
  const read = readSshKeys(text);
  return typeof read === 'string' ? [] : read;
}

/** As `readTextFile`, for pipes too: what options name is checked, and then used. */
function readingOnce(): ReadFile {
  const texts = new Map<string, string>();
  return (path) => {
    const text = texts.get(path) ?? readTextFile(path);
    texts.set(path, text);
    return text;
  };
}

export async function listNodes(flags: Flags): Promise<void> {
  const own = resolveConfig(collectInput('exit-node list', flags));
  const machines = await (await open(own)).list();
  if (own.json) {
    answer(`${JSON.stringify(machines)}\n`);
    return;
  }
  const rows = machines.map(({ name, id, region, state, address }) => [
    ...[name, id, region, state],
    address ?? '-',
  ]);
  answer(table([['Name', 'Id', 'Region', 'State', 'Address'], ...rows]));
}

export async function deleteNode(id: string, flags: Flags): Promise<void> {
  const own = resolveConfig(collectInput('exit-node delete', flags));
  // Where an id names a region, it is there that it is listed.
  const [, region = own.region] = /^([a-z0-9-]+)\//.exec(id) ?? [];
  const provider = await open(region === undefined ? own : { ...own, region });
  // By the tag: an id may be a name that something else has, or a number with a slip in it.
  if (!(await provider.list()).some((machine) => machine.id === id)) {
    throw new SluicewayError('SLW_CLOUD_REFUSED', `there is no machine ${quote(id)}`);
  }
  await provider.delete(id);
  answer(own.json ? `${JSON.stringify({ provider: own.provider, id })}\n` : `deleted ${id}\n`);
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
    process.on('SIGHUP', this.#onHangUp);
  }

  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  end(): void {
    process.removeListener('SIGINT', this.#onSignal);
    process.removeListener('SIGTERM', this.#onSignal);
    process.removeListener('SIGHUP', this.#onHangUp);
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

  #interrupt(): void {
    process.stderr.write('interrupted: what was made is removed; once more to leave it\n');
    this.#stop.abort(new SluicewayError('SLW_INTERRUPTED'));
  }

  /** The terminal has gone: its shell says so, and the system again, and neither insists. */
  readonly #onHangUp = (): void => {
    if (!this.#stop.signal.aborted) this.#interrupt();
  };

  readonly #onSignal = (): void => {
    if (!this.#stop.signal.aborted) {
      this.#interrupt();
      return;
    }
    const left = this.#machine?.id ?? 'maybe a machine, see sluiceway exit-node list';
    complain(`left behind at ${this.#name}, and to be deleted: ${left}`);
    process.exit(1);
  };
}

async function open(own: CloudConfig): Promise<Provider> {
  const { provider: name, region, credentials, credentialsFile, endpoint } = own;
  return await openProvider({
    ...{ name, env: process.env, readFile: readTextFile, tag: EXIT_NODE_TAG, sleep },
    ...(region === undefined ? {} : { region }),
    ...(credentials === undefined ? {} : { credentials }),
    ...(credentialsFile === undefined ? {} : { credentialsFile }),
    ...(endpoint === undefined ? {} : { endpoint }),
  });
}

function writeToken(path: string, text: string): void {
  try {
    writeFileSync(path, `${text}\n`, { mode: SECRET_MODE, flag: 'wx' });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ConfigError([`the token cannot be written: ${reason}; give --token-file`], { cause });
  }
}

interface Shown {
  readonly own: NodeConfig;
  readonly machine: Machine;
  readonly url: string;
  readonly fingerprint: string | undefined;
  readonly tokenFile: string | undefined;
}

function show({ own, machine, url, fingerprint, tokenFile }: Shown): void {
  const { id, name, region, address } = machine;
  const plainUrl = url.replace(/\/connect$/, '');
  if (own.json) {
    const facts = { provider: own.provider, id, name, region, address, url: plainUrl };
    answer(`${JSON.stringify({ ...facts, fingerprint, tokenFile })}\n`);
    return;
  }
  const { credentialsFile, endpoint } = own;
  const ending = [
    `sluiceway exit-node delete ${shellWord(id)} --provider ${own.provider}`,
    ...(credentialsFile === undefined ? [] : [`--credentials-file ${pathWord(credentialsFile)}`]),
    ...(endpoint === undefined ? [] : [`--endpoint ${shellWord(endpoint)}`]),
  ];
  const client = [
    `sluiceway client --url ${shellWord(plainUrl)}`,
    ...(tokenFile === undefined ? [] : [`--token-file ${pathWord(tokenFile)}`]),
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
    `  ${ending.join(' ')}`,
  ];
  answer(`${lines.join('\n')}\n`);
}
