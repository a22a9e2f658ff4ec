// User data for cloud-init: a machine that installs the program at its first start and runs it.
//
// Invariant: a server's token is not in it, its digest is: user data can be read by every process
// of the machine, and by whoever may look at it at the provider. What else is secret (keys, a
// client's token) is in files of mode 0600 or for the service's group. Must not know: a provider.

import { createHash } from 'node:crypto';
import { ConfigError } from '../base/errors.ts';
import type { OpenPorts } from '../base/target.ts';
import type { GivenConfig, GivenOption } from '../config/config.ts';
import { SCHEMA } from '../config/schema.ts';
import { addToken } from '../config/tokens-edit.ts';
import {
  addressFile,
  homeOf,
  installedProgram,
  installScript,
  type PackageSource,
} from './installation.ts';
import { plainYaml } from './plain-yaml.ts';
import type { PlannedFile, SecretVariable } from './plan.ts';
import { publishable, reachOf } from './reach.ts';
import { groupOf, planUnit } from './systemd-unit.ts';

export interface CloudConfigOptions {
  readonly name: string;
  readonly source: PackageSource;
  /** The text of a file that an option names, or an error whose message says what is wrong. */
  readonly readFile: (path: string) => string;
  readonly addressCommand?: string;
  /** Public keys of those who may log in. */
  readonly sshKeys?: readonly string[];
}

export interface CloudConfig {
  readonly text: string;
  /** False: whoever reads it learns nothing that opens anything. */
  readonly holdsSecrets: boolean;
}

interface WrittenFile {
  readonly path: string;
  readonly permissions: string;
  readonly content: string;
}

const TOKENS_FILE = 'tokens.yaml';
const SHARED_NAME = 'shared';
const EVERY_PORT = '1-65535';

export function cloudConfig(given: GivenConfig, options: CloudConfigOptions): CloudConfig {
  const { name, source, readFile, addressCommand, sshKeys = [] } = options;
  const { given: digested, tokens } = withDigest(given, readFile);
  const finds = addressCommand !== undefined && needsAddress(digested);
  const unit = planUnit(digested, {
    name,
    program: installedProgram(name),
    ownFolder: true,
    ...(finds ? { environmentFile: addressFile(name) } : {}),
  });
  const files = unit.files.map(({ file, path, isShared }) => ({
    path,
    permissions: isShared ? '0640' : '0600',
    content: contentOf(file, { readFile, ...(tokens === undefined ? {} : { tokens }) }),
  }));
  const script = installScript({
    ...{ name, source, group: groupOf(name) },
    sharedFiles: unit.files.filter(({ isShared }) => isShared).map(({ path }) => path),
    ports: openPorts(given, sshKeys.length > 0),
    ...(finds ? { addressCommand } : {}),
  });
  const written: WrittenFile[] = [
    { path: `/etc/systemd/system/${name}.service`, permissions: '0644', content: unit.text },
    ...files,
    ...environmentOf(unit.variables, name),
    { path: `${homeOf(name)}/install.sh`, permissions: '0755', content: script },
  ];
  const body = plainYaml({
    ...(sshKeys.length === 0 ? {} : { ssh_authorized_keys: sshKeys }),
    write_files: written,
    runcmd: [['/bin/sh', `${homeOf(name)}/install.sh`]],
  });
  const isDigest = ({ role }: PlannedFile): boolean => role === 'tokens-file';
  const holdsSecrets =
    unit.variables.length > 0 ||
    unit.files.some(({ file }) => file.kind === 'secret' && !isDigest(file));
  return { text: `#cloud-config\n${body}`, holdsSecrets };
}

const SSH_PORT = 22;

/** What a firewall has to let through, with the ranges of TCP tunnels. */
export function openPorts(given: GivenConfig, hasSsh: boolean): readonly OpenPorts[] {
  if (given.command !== 'server') return [];
  publishable(reachOf(given));
  const { config } = given as GivenConfig<'server'>;
  const single = [
    ...(hasSsh ? [SSH_PORT] : []),
    config.controlAddr.port,
    ...(config.httpAddr === 'off' ? [] : [config.httpAddr.port]),
    ...(config.https === undefined ? [] : [config.https.addr.port]),
  ];
  const { tcpPorts, udpPorts } = config;
  const isInRange = (port: number): boolean =>
    tcpPorts.some(({ first, last }) => first <= port && port <= last);
  const alone = single.filter((port) => !isInRange(port));
  const tcp = [...alone.map((port) => ({ first: port, last: port })), ...tcpPorts];
  return [
    ...tcp.map((range) => ({ ...range, protocol: 'tcp' as const })),
    ...udpPorts.map((range) => ({ ...range, protocol: 'udp' as const })),
  ];
}

/** A server that makes its certificate for names it was not told. */
function needsAddress({ command, config, options }: GivenConfig): boolean {
  const isAuto = command === 'server' && 'autoTls' in config && config.autoTls !== undefined;
  return isAuto && !options.some(({ name }) => name === 'auto-tls-san');
}

interface Digested {
  readonly given: GivenConfig;
  /** What the tokens file holds then. */
  readonly tokens?: string;
}

const TOKEN_WAYS: ReadonlySet<string> = new Set(['token', 'token-file', 'token-env']);

/** The shared token of a server as an entry of its tokens file, which has digests alone. */
function withDigest(given: GivenConfig, readFile: CloudConfigOptions['readFile']): Digested {
  const { command, token, options } = given;
  const isShared = options.some(({ name, source }) => TOKEN_WAYS.has(name) && source !== 'file');
  if (command !== 'server' || token === undefined || !isShared) return { given };
  const known = options.find(({ name }) => name === 'tokens-file');
  const path = known?.texts[0];
  const tokens = addToken(
    { path: path ?? TOKENS_FILE, text: path === undefined ? '' : readFile(path) },
    {
      name: SHARED_NAME,
      hash: `sha256:${createHash('sha256').update(token.reveal()).digest('hex')}`,
      hosts: ['*'],
      ports: [EVERY_PORT],
      udpPorts: [EVERY_PORT],
      forwards: ['*:*'],
      allowIps: [],
      expires: undefined,
      isAdmin: true,
    },
  );
  const rest = options.filter(({ name }) => !TOKEN_WAYS.has(name));
  const added: GivenOption[] =
    known === undefined
      ? [
          {
            name: 'tokens-file',
            option: SCHEMA.server['tokens-file'],
            texts: [TOKENS_FILE],
            source: 'flag',
          },
        ]
      : [];
  return { given: { ...given, token: undefined, options: [...rest, ...added] }, tokens };
}

function contentOf(
  file: PlannedFile,
  { tokens, readFile }: Pick<Digested, 'tokens'> & Pick<CloudConfigOptions, 'readFile'>,
): string {
  if (file.role === 'tokens-file' && tokens !== undefined) return tokens;
  if (file.text !== undefined) return `${file.text.reveal()}\n`;
  if (file.kind === 'folder') {
    throw new ConfigError([`--${file.role}: a folder cannot be part of user data; leave it out`]);
  }
  try {
    return readFile(file.source ?? '');
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ConfigError([`--${file.role}: ${reason}`], { cause });
  }
}

function environmentOf(variables: readonly SecretVariable[], name: string): WrittenFile[] {
  if (variables.length === 0) return [];
  const lines = variables.map(({ variable, text }) => `${variable}=${quote(text.reveal())}\n`);
  return [{ path: `/etc/${name}/${name}.env`, permissions: '0600', content: lines.join('') }];
}

/** A value as systemd.exec(5) reads it in an EnvironmentFile. */
function quote(text: string): string {
  return `"${text.replace(/["\\`$]/g, '\\$&')}"`;
}
