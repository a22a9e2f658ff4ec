// What `exit-node create` is given, on both sides of `--`.
//
// Invariant: the server has a token in exactly one way. Must not know: clouds, or what a machine is
// made of.

import { ConfigError } from '../base/errors.ts';
import { type GivenConfig, type NodeConfig, readGiven, resolveConfig } from '../config/config.ts';
import { readBoth } from '../config/problems.ts';
import { type ConfigInput, givenNames } from '../config/resolve.ts';
import { adding, type ServerInput } from './machine-server.ts';
import type { Flags } from './sources.ts';

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
