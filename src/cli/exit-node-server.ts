// What the server on a new machine is given, and what it then is to those who dial it.
//
// Invariant: it has a token in exactly one way; ports are those of a machine that does nothing else
// unless the server's own options say otherwise; variables of this machine are none of its options.
// Must not know: clouds, or what a machine is made of.

import { ConfigError } from '../base/errors.ts';
import { bracketed } from '../base/target.ts';
import { type GivenConfig, type NodeConfig, readGiven, resolveConfig } from '../config/config.ts';
import { readBoth } from '../config/problems.ts';
import { type ConfigInput, givenNames } from '../config/resolve.ts';
import type { ControlTls } from './exit-node-reach.ts';
import { collectInput, type Flags } from './sources.ts';

type ServerInput = ConfigInput<'server'>;

export interface NodeInputs {
  /** Of `exit-node create`. */
  readonly own: ConfigInput<'exit-node create'>;
  /** Of the server, from behind `--`. */
  readonly server: ServerInput;
  /** For a server that has no token otherwise. */
  readonly secret: string;
}

export interface NodeOptions {
  readonly own: NodeConfig;
  readonly given: GivenConfig<'server'>;
  /** False: it is that of a file, or the server's options say who may come in. */
  readonly usesSecret: boolean;
}

const TOKEN_OPTIONS = ['token', 'token-file', 'token-env', 'tokens-file', 'client-ca'];
const PORTS: Flags = { 'http-addr': '0.0.0.0:80', 'https-addr': '0.0.0.0:443' };

/** One ConfigError for what is wrong on either side of `--`. */
export function readNodeOptions({ own: ownInput, server, secret }: NodeInputs): NodeOptions {
  const names = givenNames(server);
  const way = TOKEN_OPTIONS.find((name) => names.has(name));
  const withFlags = (flags: Flags) => readGiven(adding(server, flags));
  const isTwice = way !== undefined && givenNames(ownInput).has('token-file');
  const [own, given] = readBoth(
    () => resolveConfig(ownInput),
    () => {
      const both = `--token-file: the options of the server have --${way}; keep one of them`;
      if (isTwice) throw new ConfigError([both]);
      return withFlags(way === undefined ? { token: secret } : {});
    },
  );
  const { tokenFile } = own;
  if (tokenFile === undefined) return { own, given, usesSecret: way === undefined };
  return { own, given: withFlags({ 'token-file': tokenFile }), usesSecret: false };
}

export function collectServer(flags: Flags, readFile: ServerInput['readFile']): ServerInput {
  const input = { ...collectInput('server', flags, {}), readFile };
  const names = givenNames(input);
  const ports = Object.entries(PORTS).filter(([name]) => !names.has(name));
  return adding(input, Object.fromEntries(ports));
}

function adding(input: ServerInput, flags: Flags): ServerInput {
  return { ...input, flags: { ...input.flags, ...flags } };
}

/** With the name of the certificate, where that is known beforehand. */
export function withAddress(given: GivenConfig<'server'>, address: string): GivenConfig<'server'> {
  const name = 'auto-tls-san';
  if (tlsOf(given) !== 'private' || given.options.some((one) => one.name === name)) return given;
  const flags = { [name]: address, token: 'any-token' };
  const asked = readGiven(collectInput('server', flags, {}));
  const added = asked.options.filter((one) => one.name === name);
  return { ...given, options: [...given.options, ...added] };
}

export function tlsOf({ config }: GivenConfig<'server'>): ControlTls {
  if (config.autoTls !== undefined) return 'private';
  return config.tlsCert === undefined ? 'none' : 'own';
}

export function urlOf(given: GivenConfig<'server'>, address: string): string {
  const scheme = tlsOf(given) === 'none' ? 'ws' : 'wss';
  const { port } = given.config.controlAddr;
  return `${scheme}://${bracketed(address)}:${port}/connect`;
}
