// How the options for HTTPS depend on each other: defaults that follow from others, and what does
// not go together.
//
// Invariant: what passes can be served: every name has one source, a way to prove itself to the
// issuer, and a listener. Must not know: sockets, or how a certificate is had.

import { join } from 'node:path';
import type { Address } from './address.ts';
import { checkCertificate, checkCertificatePair } from './certificate.ts';
import { type CertificateFiles, HTTPS_OPTIONS } from './https.ts';
import type { Given } from './merge.ts';
import type { OptionTable } from './option.ts';
import type { Problems } from './problems.ts';
import type { Values } from './schema.ts';
import { type Environment, stateFolder } from './trust.ts';

export type ChallengeChoice = Values<'server'>['letsencrypt-challenge'];

export interface LetsEncryptConfig {
  readonly domains: readonly string[];
  /** Names that clients register may have a certificate when one of these covers them. */
  readonly onDemand: readonly string[];
  /** The directory's URL. */
  readonly issuer: string;
  readonly email?: string;
  readonly caFile?: string;
  readonly dnsHook?: string;
  readonly dir: string;
  readonly challenge: ChallengeChoice;
}

/** HTTPS for visitors. */
export interface HttpsConfig {
  readonly addr: Address;
  readonly certificates: readonly CertificateFiles[];
  readonly redirect: boolean;
  /** 0 is off. */
  readonly hstsMaxAgeSeconds: number;
  readonly letsEncrypt?: LetsEncryptConfig;
}

interface HttpsContext {
  readonly parsed: Partial<Values<'server'>>;
  readonly given: ReadonlyMap<string, Given>;
  readonly readFile: (path: string) => string;
  readonly problems: Problems;
}

/** Names of all certificates. Guess: ten times a large site. */
const NAMES_MAX = 1000;
const ANY_HOST = '0.0.0.0';

/** Sets what follows from other options and was not given itself. */
export function followHttps(
  parsed: Partial<Values<'server'>>,
  given: ReadonlyMap<string, Given>,
): Partial<Values<'server'>> {
  const isAcme = usesAcme(parsed);
  const isSecure = isAcme || (parsed['https-cert'] ?? []).length > 0;
  return {
    ...parsed,
    ...(isAcme && !given.has('http-addr') ? { 'http-addr': { host: ANY_HOST, port: 80 } } : {}),
    ...(isSecure && !given.has('https-addr')
      ? { 'https-addr': { host: ANY_HOST, port: 443 } }
      : {}),
  };
}

function usesAcme(parsed: Partial<Values<'server'>>): boolean {
  const asked = [
    ...(parsed['letsencrypt-domain'] ?? []),
    ...(parsed['letsencrypt-on-demand'] ?? []),
  ];
  return asked.length > 0;
}

export function checkHttps(context: HttpsContext): void {
  const { parsed, problems } = context;
  const files = parsed['https-cert'] ?? [];
  const isAcme = usesAcme(parsed);
  if (parsed['https-addr'] === 'off' && (isAcme || files.length > 0)) {
    problems.add('--https-addr: is off, so certificates are of no use; give an address');
  }
  if (!isAcme) checkUnused(context);
  if (!isAcme && files.length === 0) checkWithoutCertificate(context);
  checkNames(context);
  checkChallenges(context);
  checkFiles(context);
}

/** Options that say how certificates are ordered, where none is. Defaults that are written out, as
 * `config print` does, say nothing. */
function checkUnused({ parsed, given, problems }: HttpsContext): void {
  const table: OptionTable = HTTPS_OPTIONS;
  const values: Readonly<Record<string, unknown>> = parsed;
  for (const name of given.keys()) {
    const option = name.startsWith('letsencrypt-') && !ASKING.has(name) ? table[name] : undefined;
    const value = values[name];
    if (option === undefined || value === undefined) continue;
    if (option.show(value).join() === option.defaultText) continue;
    problems.add(`--${name}: needs --letsencrypt-domain or --letsencrypt-on-demand`);
  }
}

/** The port may pass TLS through all the same. */
function checkWithoutCertificate({ parsed, problems }: HttpsContext): void {
  const { 'https-redirect': redirect = false, hsts: hstsMaxAgeSeconds = 0 } = parsed;
  const isAsked = { 'https-redirect': redirect, hsts: hstsMaxAgeSeconds > 0 };
  for (const [name, isSet] of Object.entries(isAsked)) {
    if (isSet) {
      problems.add(`--${name}: needs HTTPS; give --https-cert or --letsencrypt-domain`);
    }
  }
}

const ASKING = new Set(['letsencrypt-domain', 'letsencrypt-on-demand']);

function checkNames({ parsed, problems }: HttpsContext): void {
  const files = (parsed['https-cert'] ?? []).map(({ name }) => name);
  const names = [...files, ...(parsed['letsencrypt-domain'] ?? [])];
  const seen = new Set<string>();
  for (const name of names) {
    if (seen.has(name)) {
      problems.add(`--https-cert, --letsencrypt-domain: "${name}" is given twice`);
    }
    seen.add(name);
  }
  if (names.length > NAMES_MAX) {
    problems.add(`--https-cert, --letsencrypt-domain: ${names.length} names, at most ${NAMES_MAX}`);
  }
}

function checkChallenges({ parsed, problems }: HttpsContext): void {
  const { 'letsencrypt-challenge': challenge, 'letsencrypt-dns-hook': hook } = parsed;
  const wildcard = parsed['letsencrypt-domain']?.find((name) => name.startsWith('*.'));
  if (wildcard !== undefined && hook === undefined) {
    problems.add(
      `--letsencrypt-domain: "${wildcard}" can be proven by DNS alone; ` +
        'give --letsencrypt-dns-hook, or name the hosts one by one',
    );
  }
  if (wildcard !== undefined && challenge !== 'auto' && challenge !== 'dns-01') {
    problems.add(`--letsencrypt-challenge: ${challenge} proves no wildcard; write auto or dns-01`);
  }
  if (challenge === 'dns-01' && hook === undefined) {
    problems.add('--letsencrypt-challenge: dns-01 needs --letsencrypt-dns-hook');
  }
  if (challenge === 'http-01' && parsed['http-addr'] === 'off') {
    problems.add('--letsencrypt-challenge: http-01 needs --http-addr');
  }
}

function checkFiles({ parsed, readFile, problems }: HttpsContext): void {
  for (const { name, cert, key } of parsed['https-cert'] ?? []) {
    const label = `--https-cert "${name}"`;
    checkCertificatePair({ label, path: cert }, { label, path: key }, readFile, problems);
  }
  const ca = parsed['letsencrypt-ca-file'];
  if (ca !== undefined) {
    checkCertificate({ label: '--letsencrypt-ca-file', path: ca }, readFile, problems);
  }
}

export function buildHttps(values: Values<'server'>, env: Environment): HttpsConfig | undefined {
  const addr = values['https-addr'];
  if (addr === 'off') return undefined;
  const acme = usesAcme(values) ? { letsEncrypt: buildLetsEncrypt(values, env) } : {};
  return {
    addr,
    certificates: values['https-cert'],
    redirect: values['https-redirect'],
    hstsMaxAgeSeconds: values.hsts,
    ...acme,
  };
}

function buildLetsEncrypt(values: Values<'server'>, env: Environment): LetsEncryptConfig {
  const {
    'letsencrypt-email': email,
    'letsencrypt-ca-file': caFile,
    'letsencrypt-dns-hook': dnsHook,
  } = values;
  return {
    domains: values['letsencrypt-domain'],
    onDemand: values['letsencrypt-on-demand'],
    issuer: values['letsencrypt-issuer'],
    dir: values['letsencrypt-dir'] ?? join(stateFolder(env), 'letsencrypt'),
    challenge: values['letsencrypt-challenge'],
    ...(email === undefined ? {} : { email }),
    ...(caFile === undefined ? {} : { caFile }),
    ...(dnsHook === undefined ? {} : { dnsHook }),
  };
}
