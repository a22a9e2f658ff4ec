// Turns flags, environment and file into one frozen configuration for a command.
//
// Invariant: pure; files are read by the caller's `readFile`. Either every option, relation and
// secret is right and the result can be cloned to another thread (all but the Masked token), or
// one ConfigError lists every problem. Must not know: processes, sockets, commander.

import { Masked } from '../base/masked.ts';
import { buildClient, type ClientConfig } from './client.ts';
import { buildCloud, buildNode, type CloudConfig, type NodeConfig } from './cloud.ts';
import { readConfigFile } from './file.ts';
import { type FileEnd, fileEndOf } from './file-end.ts';
import { buildFileServer, type FileServerConfig } from './fileserver.ts';
import {
  buildCloudInit,
  buildCompose,
  buildManifests,
  buildSystemd,
  type CloudInitConfig,
  type ComposeConfig,
  type ManifestConfig,
  type SystemdConfig,
} from './generate.ts';
import type { LogLevel } from './log.ts';
import { buildOperator, type OperatorConfig } from './operator.ts';
import type { LogFormat, Option, OptionTable, Source } from './option.ts';
import { Problems } from './problems.ts';
import { type ConfigInput, type Resolution, resolveValues } from './resolve.ts';
import { type Command, SCHEMA, type Values } from './schema.ts';
import { buildServer, type ServerConfig } from './server.ts';
import { buildStatus, type StatusConfig } from './status.ts';

export type { PortRange } from '../base/target.ts';
export type { Address } from './address.ts';
export type { ClientConfig } from './client.ts';
export type { CloudConfig, NodeConfig, ProviderName } from './cloud.ts';
export type { Fault } from './fault.ts';
export type { FileServerConfig } from './fileserver.ts';
export type { LocalForward } from './forward.ts';
export type {
  CloudInitConfig,
  ComposeConfig,
  ManifestConfig,
  SystemdConfig,
} from './generate.ts';
export type { HealthCheck, HealthConfig } from './health-check.ts';
export type { CertificateFiles } from './https.ts';
export type { ChallengeChoice, HttpsConfig, LetsEncryptConfig } from './https-check.ts';
export type { LogLevel } from './log.ts';
export type { OidcConfig } from './oidc.ts';
export type { OperatorConfig } from './operator.ts';
export type { LogFormat } from './option.ts';
export type { PackageConfig } from './package.ts';
export type { ServerConfig } from './server.ts';
export type { StatusConfig } from './status.ts';
export type { TokenEntry } from './token-entry.ts';
export type { AutoTlsConfig, TrustConfig } from './trust.ts';
export type { Tuning } from './tuning.ts';
export type { TunnelSpec, Upstream } from './tunnel.ts';

/** With the log, which every program has. */
export interface OperatorProgramConfig extends OperatorConfig {
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
}

export interface ConfigOf {
  readonly server: ServerConfig;
  readonly client: ClientConfig;
  readonly status: StatusConfig;
  readonly fileserver: FileServerConfig;
  readonly operator: OperatorProgramConfig;
  readonly 'generate systemd': SystemdConfig;
  readonly 'generate compose': ComposeConfig;
  readonly 'generate k8s': ManifestConfig;
  readonly 'generate cloud-init': CloudInitConfig;
  readonly 'exit-node create': NodeConfig;
  readonly 'exit-node list': CloudConfig;
  readonly 'exit-node delete': CloudConfig;
}

/** Throws a ConfigError with every problem there is. */
export function resolveConfig<C extends Command>(input: ConfigInput<C>): ConfigOf[C] {
  const build: Build<C> = BUILDERS[input.command];
  return deepFreeze(build(resolveValues(input), input.env));
}

/** A server's configuration with the values that it was made of, to be compared later. */
export interface ServerReading {
  readonly config: ServerConfig;
  readonly values: Values<'server'>;
  /** What to read again when it changes. */
  readonly files: readonly string[];
  /** Of --config, with how many options it sets; absent without one. */
  readonly file?: FileEnd & { readonly keys: number };
}

/** As `resolveConfig`. */
export function readServer(input: ConfigInput<'server'>): ServerReading {
  const resolution = resolveValues(input);
  const { values, listFiles } = resolution;
  const tokenFile = values['token-file'];
  const files = [
    ...(input.file === undefined ? [] : [input.file.path]),
    ...listFiles,
    ...(tokenFile === undefined ? [] : [tokenFile]),
  ];
  const config = deepFreeze(buildServer(resolution, input.env));
  if (input.file === undefined) return { config, values, files };
  const keys = readConfigFile(input.file, new Problems()).entries.length;
  return { config, values, files, file: { ...fileEndOf(input.file), keys } };
}

/** One option as it was given. */
export interface GivenOption {
  readonly name: string;
  readonly option: Option<unknown>;
  readonly texts: readonly string[];
  readonly source: Source;
}

/** What was given, and the configuration that it makes: for whoever writes it down elsewhere. */
export interface GivenConfig<C extends Command = Command> {
  readonly command: C;
  readonly config: ConfigOf[C];
  readonly token: Masked | undefined;
  /** In the order of the schema. */
  readonly options: readonly GivenOption[];
}

/** As `resolveConfig`; files that `readFile` says to be elsewhere are not looked at. */
export function readGiven<C extends Command>(input: ConfigInput<C>): GivenConfig<C> {
  const { command, env } = input;
  const resolution = resolveValues(input);
  const build: Build<C> = BUILDERS[command];
  const table: OptionTable = SCHEMA[command];
  const options = Object.entries(table).flatMap(([name, option]) => {
    const found = resolution.merged.get(name);
    if (found === undefined) return [];
    return [{ name, option, texts: found.texts, source: found.source }];
  });
  const config = deepFreeze(build(resolution, env));
  return { command, config, token: resolution.token, options };
}

type Environment = ConfigInput['env'];
type Build<C extends Command> = (resolution: Resolution<C>, env: Environment) => ConfigOf[C];

const BUILDERS: { readonly [C in Command]: Build<C> } = {
  server: buildServer,
  client: buildClient,
  status: buildStatus,
  fileserver: buildFileServer,
  operator: ({ values }) => ({
    ...buildOperator(values),
    logLevel: values['log-level'],
    logFormat: values['log-format'],
  }),
  'generate systemd': ({ values }) => buildSystemd(values),
  'generate compose': ({ values }) => buildCompose(values),
  'generate k8s': ({ values }) => buildManifests(values),
  'generate cloud-init': ({ values }) => buildCloudInit(values),
  'exit-node create': ({ values }) => buildNode(values),
  'exit-node list': ({ values }) => buildCloud(values),
  'exit-node delete': ({ values }) => buildCloud(values),
};

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    if (!(value instanceof Masked)) Object.values(value).forEach(deepFreeze);
  }
  return value;
}
