// Fetches the private CA of a server, and decides whether it is the right one.
//
//   fetch /.well-known/ca.crt --this connection's own certificate is verified against it-->
//   pinned: one of the fingerprints | known: the one of the file | unknown: remembered
//
// Invariant: no secret goes over the connection that fetches; its answer counts for nothing until
// the fingerprint has; every refusal says which server, what was wrong and what to do. Must not
// know: links, tokens.

import { createHash, X509Certificate } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { checkServerIdentity, TLSSocket } from 'node:tls';
import type { Clock } from '../base/clock.ts';
import { describeClockGap } from '../base/clock-gap.ts';
import { attemptsWithin } from '../base/dial-attempts.ts';
import { describeDialFailure } from '../base/dial-failure.ts';
import { type ErrorCode, SluicewayError } from '../base/errors.ts';
import { https } from '../base/http-modules.ts';
import { unbracketed } from '../base/ip.ts';
import { createProxyAgent, describeProxyAnswer } from '../base/proxy-agent.ts';
import { describeWrongName } from '../base/tls-refusal.ts';
import { controlUrl } from '../config/address.ts';
import type { TrustConfig } from '../config/config.ts';
import { type KnownServer, KnownServers } from './known-servers.ts';

const CA_PATH = '/.well-known/ca.crt';
const FETCH_TIMEOUT_MS = 10_000;
/** A CA takes less than 1 KiB. */
const ANSWER_BYTES_MAX = 64 * 1024;
const WHOLE_CERTIFICATE = /^\s*-----BEGIN CERTIFICATE-----[\w\s+/=]+-----END CERTIFICATE-----\s*$/;

export interface ServerCaOptions {
  /** `wss://host[:port]/…/connect`. */
  readonly url: string;
  readonly trust: TrustConfig;
  readonly clock: Clock;
  /** `none`: the caller keeps the fingerprint, and gives it as a pin from then on. */
  readonly memory?: 'file' | 'none';
  /** For its answer; 10 s when left out. */
  readonly timeoutMs?: number;
}

export interface ServerCa {
  /** PEM. */
  readonly ca: string;
  readonly fingerprint: string;
  /** True: nothing was known of it before. */
  readonly isNew: boolean;
}

interface Fetched {
  readonly text: string;
  readonly leaf: X509Certificate;
  readonly nameError: Error | undefined;
  /** When it answered, by its own clock. */
  readonly date: string | undefined;
}

/**
 * Rejects with SLW_TLS_REFUSED when it must not be trusted, SLW_DIAL_FAILED when it is away, and
 * SLW_TIMEOUT when it is silent.
 */
export async function fetchServerCa(options: ServerCaOptions): Promise<ServerCa> {
  const url = new URL(controlUrl(options.url, CA_PATH));
  const server = `${url.hostname}:${url.port === '' ? 443 : url.port}`;
  const proxy = options.trust.proxies?.[options.url]?.reveal();
  const fetched = await fetchCa(url, proxy, options.timeoutMs ?? FETCH_TIMEOUT_MS);
  const authority = readAuthority(fetched.text, server);
  const fingerprint = `sha256:${createHash('sha256').update(authority.raw).digest('hex')}`;
  const isKept = options.memory !== 'none';
  const isPinned = options.trust.fingerprints.length > 0;
  const isNew =
    isKept || isPinned ? await checkFingerprint(options.trust, server, fingerprint) : true;
  checkLeaf(fetched, authority, { server, nowMs: options.clock.wallMs() });
  if (isNew && isKept) await remember(options.trust, server, fingerprint);
  return { ca: fetched.text, fingerprint, isNew };
}

/** True for a server of which nothing is known; throws for one that is known otherwise. */
async function checkFingerprint(
  { fingerprints, knownServers }: TrustConfig,
  server: string,
  fingerprint: string,
): Promise<boolean> {
  if (fingerprints.length > 0) {
    if (fingerprints.includes(fingerprint)) return false;
    throw refused(
      server,
      `its CA has the fingerprint ${fingerprint}, and --auto-tls-fingerprint is ` +
        `${fingerprints.join(', ')}: compare with what the server prints when it starts`,
    );
  }
  const known = await readKnown(knownServers, server);
  const [first] = known;
  if (first === undefined) return true;
  if (known.some((one) => one.fingerprint === fingerprint)) return false;
  throw changed(server, { knownServers, first, fingerprint });
}

interface ChangedCa {
  /** The file. */
  readonly knownServers: string;
  /** What it has of the server. */
  readonly first: KnownServer;
  /** What the server shows. */
  readonly fingerprint: string;
}

function changed(server: string, { knownServers, first, fingerprint }: ChangedCa): SluicewayError {
  const place = `${knownServers} line ${first.line}`;
  return refused(
    server,
    `its CA has changed, or somebody answers in its place: ${place} ` +
      `has ${first.fingerprint}, the server shows ${fingerprint}; if the server prints the new ` +
      'one when it starts, remove that line',
  );
}

async function readKnown(path: string, server: string) {
  try {
    return await new KnownServers(path).find(server);
  } catch (cause) {
    throw refused(server, `--known-servers ${path}: ${(cause as Error).message}`);
  }
}

async function remember({ knownServers }: TrustConfig, server: string, fingerprint: string) {
  let known: readonly KnownServer[];
  try {
    known = await new KnownServers(knownServers).remember(server, fingerprint);
  } catch (cause) {
    throw refused(
      server,
      `its CA cannot be remembered in ${knownServers}: ${(cause as Error).message}; give ` +
        `--known-servers FILE, or --auto-tls-fingerprint ${fingerprint} if the server prints that`,
    );
  }
  const [first] = known;
  if (first !== undefined) {
    throw changed(server, { knownServers, first, fingerprint });
  }
}

/** Exactly one certificate, of a CA that signed itself. */
function readAuthority(text: string, server: string): X509Certificate {
  if (WHOLE_CERTIFICATE.test(text)) {
    try {
      const authority = new X509Certificate(text);
      if (authority.ca && authority.verify(authority.publicKey)) return authority;
    } catch {
      // Said below, as for anything else that is no CA.
    }
  }
  throw refused(server, `what it serves at ${CA_PATH} is not the certificate of a CA`);
}

function checkLeaf(
  { leaf, nameError, date }: Fetched,
  authority: X509Certificate,
  { server, nowMs }: { readonly server: string; readonly nowMs: number },
): void {
  if (!leaf.checkIssued(authority) || !leaf.verify(authority.publicKey)) {
    throw refused(
      server,
      'its certificate is not signed by the CA that it offers: somebody may answer in its place, ' +
        'or a proxy ends TLS in front of it; then give --no-auto-tls',
    );
  }
  const gap = describeClockGap(date, nowMs);
  for (const [name, { validFromDate, validToDate, validTo, validFrom }] of [
    ['CA', authority],
    ['certificate', leaf],
  ] as const) {
    if (nowMs > validToDate.getTime()) {
      const way = 'restart the server to renew it, or set the clock of this machine';
      throw refused(server, `its ${name} expired on ${validTo}: ${way}${gap}`);
    }
    if (nowMs < validFromDate.getTime()) {
      const way = 'check the clocks of both machines';
      throw refused(server, `its ${name} is valid from ${validFrom} only: ${way}${gap}`);
    }
  }
  if (nameError !== undefined) throw refused(server, describeWrongName(leaf.subjectAltName ?? ''));
}

async function fetchCa(url: URL, proxy: string | undefined, timeoutMs: number): Promise<Fetched> {
  const server = url.host;
  const signal = AbortSignal.timeout(timeoutMs);
  let proxyStatus = 200;
  const onAnswer = (status: number): void => {
    proxyStatus = status;
  };
  const way =
    proxy === undefined ? false : await createProxyAgent({ proxy, signal, onAnswer, timeoutMs });
  return new Promise((resolve, reject) => {
    const fail = (code: ErrorCode, why: string): void =>
      reject(failure(code, server, `cannot fetch its CA: ${why}`));
    const away = (cause: Error): void => {
      if (signal.aborted) fail('SLW_TIMEOUT', 'no answer in time');
      else fail('SLW_DIAL_FAILED', describeDialFailure(cause, url.href, proxy));
    };
    // Nothing can be trusted yet: the answer is verified as a whole when it is there.
    const trust = { rejectUnauthorized: false, minVersion: 'TLSv1.2' };
    const options = { agent: way, signal, ...attemptsWithin(timeoutMs), ...trust };
    const request = https.request(url, options as object);
    request.on('error', away);
    request.on('response', (response) => {
      response.on('error', away);
      const { socket, statusCode = 0 } = response;
      const leaf = socket instanceof TLSSocket ? socket.getPeerX509Certificate() : undefined;
      // What a proxy answers is no word of the server's.
      const isProxys = proxy !== undefined && proxyStatus !== 200;
      if (isProxys || leaf === undefined || statusCode !== 200) {
        response.resume();
        if (isProxys) fail('SLW_DIAL_FAILED', describeProxyAnswer(proxy, proxyStatus));
        else reject(noCa(server, statusCode));
        return;
      }
      const host = unbracketed(url.hostname);
      const nameError = checkServerIdentity(host, leaf.toLegacyObject());
      const { date } = response.headers;
      readText(response, (text) => resolve({ text, leaf, nameError, date }));
    });
    request.end();
  });
}

function noCa(server: string, status: number): SluicewayError {
  if (status !== 404) {
    return failure('SLW_DIAL_FAILED', server, `cannot fetch its CA: it answered ${status}`);
  }
  return refused(
    server,
    `it has no CA at ${CA_PATH}: with a certificate of its own give --no-auto-tls, and ` +
      '--tls-ca FILE unless the system knows the CA',
  );
}

function readText(response: IncomingMessage, onText: (text: string) => void): void {
  let text = '';
  response.setEncoding('latin1');
  response.on('data', (piece: string) => {
    text += piece;
    if (text.length > ANSWER_BYTES_MAX) response.destroy(new Error('the answer is too large'));
  });
  response.on('end', () => onText(text));
}

function refused(server: string, why: string): SluicewayError {
  return failure('SLW_TLS_REFUSED', server, why);
}

function failure(code: ErrorCode, server: string, why: string): SluicewayError {
  return new SluicewayError(code, `${server}: ${why}`);
}
