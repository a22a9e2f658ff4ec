// Parses the merged texts by the schema and checks what no single option can: relations between
// options, what is required, and the files that options name.
//
// Invariant: every check runs, whatever else is wrong, and nothing is returned unless all of them
// passed. Must not know: how a configuration is shaped for its users.

import type { Masked } from '../base/masked.ts';
import { type CheckContext, checkNeighbours, checkTrust } from './check.ts';
import { checkClient, URL_REQUIRED } from './client-check.ts';
import { checkCloud, checkNode } from './cloud.ts';
import type { ConfigFile } from './file.ts';
import { followHttps } from './https-check.ts';
import { type FlagValue, type Given, labelOf, merge } from './merge.ts';
import { readLists } from './network.ts';
import { LEASE_RELATIONS } from './operator.ts';
import type { Kind, MachineDefaults, OptionTable } from './option.ts';
import { checkPackage } from './package.ts';
import { Problems, quote } from './problems.ts';
import { type Command, SCHEMA, type Values } from './schema.ts';
import { checkServer } from './server-check.ts';
import { resolveToken } from './token.ts';
import { followTcp } from './udp.ts';

export interface ConfigInput<C extends Command = Command> {
  readonly command: C;
  readonly flags: Readonly<Record<string, FlagValue>>;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** What --config names; its reader is the caller. */
  readonly file?: ConfigFile;
  readonly defaults: MachineDefaults;
  /** Gives a file's text, or throws an error whose message says what is wrong with the file. */
  readonly readFile: (path: string) => string;
}

export interface Resolution<C extends Command> {
  readonly values: Values<C>;
  readonly token: Masked | undefined;
  readonly given: ReadonlyMap<string, Given>;
  /** The same before files of lists were read. */
  readonly merged: ReadonlyMap<string, Given>;
  /** What `@FILE` named. */
  readonly listFiles: readonly string[];
}

export function resolveValues<C extends Command>(input: ConfigInput<C>): Resolution<C> {
  const { command, env, readFile } = input;
  const problems = new Problems();
  const merged = merge({ ...input, tables: SCHEMA }, problems);
  const table: OptionTable = SCHEMA[command];
  const listFiles = new Set<string>();
  const given = readLists({ table, given: merged, readFile, listFiles }, problems);
  const untyped = parseTable(table, given, input.defaults, problems);
  // The kinds of the table gave the values: what `Values` says of them holds.
  const followed = command === 'server' ? followTcp(followHttps(untyped, given), given) : untyped;
  const parsed = followed as Partial<Values<C>>;
  const tokenTexts = untyped as Partial<Values<'server' | 'client' | 'status'>>;
  // What is wrong with a certificate is a problem of its own: it never means "no token needed".
  const substitutes = SUBSTITUTES[command] ?? [];
  const substitute = substitutes.some((name) => given.has(name));
  const sources = { given, parsed: tokenTexts, env, readFile, substitute };
  const token = Object.hasOwn(table, 'token') ? resolveToken(sources, problems) : undefined;
  const check: (context: CheckContext<C>) => void = CHECKS[command];
  check({ parsed, given, env, readFile, problems });
  problems.throwIfAny();
  // No problem means that every option of the table was parsed by its own kind.
  return { values: parsed as Values<C>, token, given, merged, listFiles: [...listFiles] };
}

/** Names of the options that are given, whatever is wrong with them. */
export function givenNames(input: ConfigInput): ReadonlySet<string> {
  return new Set(merge({ ...input, tables: SCHEMA }, new Problems()).keys());
}

/** What may stand in for a token, where a command has one. */
const SUBSTITUTES: Readonly<Partial<Record<Command, readonly string[]>>> = {
  server: ['client-ca', 'tokens-file'],
  client: ['tls-client-cert'],
  status: ['tls-client-cert', 'local', 'ready'],
};

function parseTable(
  table: OptionTable,
  given: ReadonlyMap<string, Given>,
  machine: MachineDefaults,
  problems: Problems,
): Readonly<Record<string, unknown>> {
  const parsed: Record<string, unknown> = {};
  for (const [name, option] of Object.entries(table)) {
    const found = given.get(name);
    const result = option.parse(found?.texts ?? option.defaultTexts(machine));
    if (result.ok) {
      parsed[name] = result.value;
      continue;
    }
    const label = labelOf(given, name);
    for (const { text, message } of result.wrong) {
      const shown = option.kind.name === 'secret' ? 'the value' : quote(shownOf(option.kind, text));
      problems.add(
        text === '' ? `${label}: is empty; give a value` : `${label}: ${shown} ${message}`,
      );
    }
  }
  return parsed;
}

function shownOf(kind: Kind<unknown>, text: string): string {
  return kind.shown === undefined ? text : kind.shown(text);
}

/** For commands whose options say all by themselves. */
function nothing(): void {}

const CHECKS: { readonly [C in Command]: (context: CheckContext<C>) => void } = {
  server: checkServer,
  client: checkClient,
  status(context) {
    const { local } = context.parsed;
    if (local !== true && !context.given.has('url')) context.problems.add(URL_REQUIRED);
    if (context.given.has('tunnel') && context.parsed.ready === false) {
      context.problems.add(`${labelOf(context.given, 'tunnel')}: needs --ready too`);
    }
    checkTrust(context, context.parsed.url === undefined ? [] : [context.parsed.url]);
  },
  // Whether there is such a folder is seen when it is served.
  fileserver: nothing,
  operator(context) {
    checkNeighbours(context, LEASE_RELATIONS);
    checkPackage(context, 'machine-');
  },
  'generate systemd': nothing,
  'generate compose': nothing,
  'generate k8s': nothing,
  'generate cloud-init': checkPackage,
  'exit-node create': checkNode,
  'exit-node list': checkCloud,
  'exit-node delete': checkCloud,
};
