// What no single option of a server can say: listeners apart from each other, files that hold what
// they should, links that have a port to come in by.
//
// Invariant: every check runs, whatever else is wrong. Must not know: HTTPS (https-check.ts).

import { isOverlapping, isSameHost } from '../base/listen-overlap.ts';
import { showTarget } from '../base/target.ts';
import type { Address } from './address.ts';
import { addAll, type CheckContext, checkClientCa, checkPair, checkRelations } from './check.ts';
import { FileElsewhere } from './elsewhere.ts';
import { checkHttps } from './https-check.ts';
import { readLoginProviders, readSecret, secretFilesOf } from './login-providers.ts';
import { labelOf, originOf } from './merge.ts';
import { checkRules, readTokensFile } from './tokens-file.ts';
import { autoTlsProblems } from './trust.ts';

export function checkServer(context: CheckContext<'server'>): void {
  checkRelations(context);
  checkListeners(context);
  checkPair(context, 'tls-cert', 'tls-key');
  checkClientCa(context);
  addAll(
    context,
    autoTlsProblems(context.parsed, (name) => context.given.has(name)),
  );
  checkHttps(context);
  checkTokensFile(context);
  checkLoginProviders(context);
  checkLinkPorts(context);
  checkFault(context);
}

const LISTENERS = ['control-addr', 'http-addr', 'https-addr', 'admin-addr'] as const;
type ListenerName = (typeof LISTENERS)[number];

interface Listener {
  readonly name: ListenerName;
  readonly address: Address;
}

/** Two listeners on one port: found now rather than when the second cannot be opened. */
function checkListeners({ parsed, given, problems }: CheckContext<'server'>): void {
  const seen: Listener[] = [];
  for (const name of LISTENERS) {
    const address = parsed[name];
    if (address === undefined || address === 'off' || address.port === 0) continue;
    const listener = { name, address };
    const other = seen.find((one) => areInTheWay(one, listener, parsed));
    if (other === undefined) seen.push(listener);
    else {
      problems.add(
        `${labelOf(given, name)}: ${showTarget(address)} is also ` +
          `--${other.name}, ${showTarget(other.address)}; give one of them another port`,
      );
    }
  }
}

/**
 * Shards share the ports that they listen on, so that one address beside all of them is served by
 * its own listener; one shard shares nothing, and neither does the admin address.
 */
function areInTheWay(
  { name, address }: Listener,
  other: Listener,
  { shards = 2, 'reuse-port': reuse }: CheckContext<'server'>['parsed'],
): boolean {
  if (address.port !== other.address.port) return false;
  const isAdmin = name === 'admin-addr' || other.name === 'admin-addr';
  const isShared = !isAdmin && shards > 1 && reuse !== 'off';
  const meet = isShared ? isSameHost : isOverlapping;
  return meet(address.host, other.address.host);
}

/** What is wrong in the file is wrong with the configuration: no token is lost in silence. */
function checkTokensFile({ parsed, given, readFile, problems }: CheckContext<'server'>): void {
  const needs = (name: string, other: string): void => {
    const isAlone = given.has(name) && !given.has(other);
    if (isAlone) problems.add(`${labelOf(given, name)}: needs --${other} too`);
  };
  needs('tokens-usage-file', 'tokens-file');
  needs('oidc-issuer', 'oidc-audience');
  needs('oidc-audience', 'oidc-issuer');
  needs('oidc-issuer', 'tokens-file');
  const path = parsed['tokens-file'];
  if (path === undefined) return;
  try {
    const entries = readTokensFile({ path, text: readFile(path) }, problems);
    checkRules({ path, entries, hasIssuer: given.has('oidc-issuer') }, problems);
  } catch (error) {
    if (error instanceof FileElsewhere) return;
    const reason = error instanceof Error ? error.message : `${path} cannot be read`;
    problems.add(`${labelOf(given, 'tokens-file')}: ${reason}`);
  }
}

/** A provider that could not be used would be noticed by a visitor. */
function checkLoginProviders(context: CheckContext<'server'>): void {
  const { parsed, given, readFile, problems } = context;
  const path = parsed['login-providers'];
  if (path === undefined) return;
  const reading = (file: string, use: (text: string) => string | undefined): void => {
    const label = labelOf(given, 'login-providers');
    try {
      const wrong = use(readFile(file));
      if (wrong !== undefined) problems.add(`${label}: ${file} ${wrong}`);
    } catch (error) {
      if (error instanceof FileElsewhere) return;
      // What says that a file cannot be read names it.
      problems.add(
        `${label}: ${error instanceof Error ? error.message : `${file} cannot be read`}`,
      );
    }
  };
  reading(path, (text) => {
    const found = readLoginProviders({ path, text }, problems);
    for (const { path: file, lengthMin } of secretFilesOf(found)) {
      reading(file, (secret) => {
        const read = readSecret(secret, lengthMin);
        return typeof read === 'string' ? read : undefined;
      });
    }
    return undefined;
  });
}

/** Links have a port to come in by, or nobody would notice that they have none. */
function checkLinkPorts({ parsed, given, problems }: CheckContext<'server'>): void {
  for (const [name, port] of [
    ['control-on-http', 'http-addr'],
    ['control-on-https', 'https-addr'],
  ] as const) {
    if (parsed[name] !== true || parsed[port] !== 'off') continue;
    problems.add(`${labelOf(given, name)}: needs --${port}, which is off`);
  }
}

function checkFault({ parsed, given, problems }: CheckContext<'server'>): void {
  if (parsed.fault === undefined || parsed['allow-faults'] !== false) return;
  problems.add(`SLUICEWAY_FAULT (${originOf(given, 'fault')}): is refused without --allow-faults`);
}
