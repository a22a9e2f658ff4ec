// What checks of several commands have in common: their context, relations of numbers, certificates
// and trust.
//
// Invariant: a check adds its problems and lets the others run; an option that could not be parsed
// is absent and never judged twice. Must not know: which options a command has.

import {
  type CertificateFile,
  checkAuthorities,
  checkCertificate,
  checkCertificatePair,
} from './certificate.ts';
import { type Given, labelOf } from './merge.ts';
import type { OptionTable } from './option.ts';
import type { Problems } from './problems.ts';
import { proxyProblems } from './proxy.ts';
import { type Command, SCHEMA, type Values } from './schema.ts';
import { trustProblems } from './trust.ts';
import { RELATIONS } from './tuning.ts';

export interface CheckContext<C extends Command> {
  /** What could be parsed; an option with a problem is absent. */
  readonly parsed: Partial<Values<C>>;
  readonly given: ReadonlyMap<string, Given>;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly readFile: (path: string) => string;
  readonly problems: Problems;
}

export function checkRelations(context: CheckContext<'server'> | CheckContext<'client'>): void {
  checkNeighbours<Command>(context, RELATIONS);
}

interface Relation {
  readonly lower: string;
  readonly factor: number;
  readonly upper: string;
}

export function checkNeighbours<C extends Command>(
  { parsed, given, problems }: CheckContext<C>,
  relations: readonly Relation[],
): void {
  const values = parsed as Readonly<Record<string, number | undefined>>;
  for (const { lower, factor, upper } of relations) {
    const small = values[lower];
    const large = values[upper];
    if (small === undefined || large === undefined || small * factor <= large) continue;
    const times = factor === 1 ? '' : `${factor} times `;
    problems.add(
      `${labelOf(given, upper)}: ${shownAs(upper, large)} is less than ` +
        `${times}${labelOf(given, lower)}, ${shownAs(lower, small)}`,
    );
  }
}

function shownAs(name: string, value: number): string {
  const tables: readonly OptionTable[] = Object.values(SCHEMA);
  return (
    tables
      .find((table) => table[name] !== undefined)
      ?.[name]?.show(value)
      .join() ?? ''
  );
}

/** A certificate and its key: both or none, and they belong together. */
export function checkPair<C extends Command>(
  { parsed, given, readFile, problems }: CheckContext<C>,
  certName: string,
  keyName: string,
): void {
  const paths = parsed as Readonly<Record<string, string | undefined>>;
  const cert = fileOf(certName, paths[certName], given);
  const key = fileOf(keyName, paths[keyName], given);
  if (cert !== undefined && key !== undefined) checkCertificatePair(cert, key, readFile, problems);
  else if (cert !== undefined && !given.has(keyName)) {
    problems.add(`${cert.label}: needs --${keyName} too`);
  } else if (key !== undefined && !given.has(certName)) {
    problems.add(`${key.label}: needs --${certName} too`);
  }
}

export function checkCa<C extends Command>(context: CheckContext<C>, name: string): void {
  const paths = context.parsed as Readonly<Record<string, string | undefined>>;
  const ca = fileOf(name, paths[name], context.given);
  if (ca !== undefined) checkCertificate(ca, context.readFile, context.problems);
}

/** Of clients: their certificates are signed by it, and the server starts with nothing else. */
export function checkClientCa({ parsed, given, readFile, problems }: CheckContext<'server'>): void {
  const ca = fileOf('client-ca', parsed['client-ca'], given);
  if (ca !== undefined) checkAuthorities(ca, readFile, problems);
}

export function checkTrust(
  context: CheckContext<'client'> | CheckContext<'status'>,
  urls: readonly string[],
): void {
  checkCa<Command>(context, 'tls-ca');
  checkPair<Command>(context, 'tls-client-cert', 'tls-client-key');
  addAll(
    context,
    trustProblems(context.parsed, urls, (name) => context.given.has(name)),
  );
  if (context.given.has('proxy')) return;
  for (const problem of proxyProblems(urls, context.env)) context.problems.add(problem);
}

/** Problems of options by name, with where each came from. */
export function addAll(
  { given, problems }: Pick<CheckContext<Command>, 'given' | 'problems'>,
  found: readonly { readonly option: string; readonly wrong: string }[],
): void {
  for (const { option, wrong } of found) problems.add(`${labelOf(given, option)}: ${wrong}`);
}

function fileOf(
  name: string,
  path: string | undefined,
  given: ReadonlyMap<string, Given>,
): CertificateFile | undefined {
  return path === undefined ? undefined : { label: labelOf(given, name), path };
}
