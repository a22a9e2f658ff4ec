// `sluiceway status`: asks a server who is connected and prints it as a table.
//
// Invariant: the certificate is always verified, whatever the environment says; the answer is
// bounded in size and time, and checked before it is shown. Must not know: how a server counts.

import type { IncomingMessage } from 'node:http';
import { sleep, systemClock } from '../../base/clock.ts';
import { describeDialFailure } from '../../base/dial-failure.ts';
import { SluicewayError } from '../../base/errors.ts';
import { http, https } from '../../base/http-modules.ts';
import { createProxyAgent } from '../../base/proxy-agent.ts';
import { describeTlsRefusal } from '../../base/tls-refusal.ts';
import { type DialTrust, ServerTrust } from '../../client/server-trust.ts';
import { controlUrl } from '../../config/address.ts';
import { resolveConfig, type StatusConfig } from '../../config/config.ts';
import { type BuildInfo, readBuildInfo } from '../build-info.ts';
import { answer, complain, inBytes, inWords, readTimestamp, table } from '../output.ts';
import { collectInput, type Flags } from '../sources.ts';
import { warnAtStart } from '../warnings.ts';
import { askLocalForText } from './status-local.ts';

/** Contract: exit code 4 after this long. */
const TIMEOUT_MS = 10_000;
/** Guess: room for ten thousand clients. */
const ANSWER_BYTES_MAX = 16 * 1024 * 1024;
/** What asking again does not cure. */
const REFUSALS: ReadonlySet<string> = new Set(['SLW_AUTH_REFUSED', 'SLW_TLS_REFUSED']);
const CLEAR_SCREEN = '\u001b[H\u001b[2J';

export interface Status {
  readonly info: {
    readonly version: string;
    readonly mode: string;
    readonly hostname: string;
    readonly startTime: string;
  };
  readonly clients: readonly {
    readonly clientID: string;
    readonly remoteAddr: string;
    readonly since: string;
    readonly upstreams: readonly string[];
    readonly version?: string;
    readonly links?: number;
    readonly streams?: number;
    readonly bytesIn?: number;
    readonly bytesOut?: number;
    readonly rttMs?: number;
    readonly restarts?: number;
  }[];
}

export async function runStatus(flags: Flags): Promise<void> {
  const config = resolveConfig(collectInput('status', flags));
  const build = readBuildInfo();
  warnAtStart(flags);
  if (!config.watch) {
    answer(await askForText(config, build));
    return;
  }
  for (;;) {
    await showOnce(config, build);
    await sleep(config.watchIntervalMs);
  }
}

/** A server that is away may come back; a refused token will not become right. */
async function showOnce(config: StatusConfig, build: BuildInfo): Promise<void> {
  const screen = process.stdout.isTTY ? CLEAR_SCREEN : '';
  try {
    answer(`${screen}${await askForText(config, build)}`);
  } catch (error) {
    const isFinal = !(error instanceof SluicewayError) || REFUSALS.has(error.code);
    if (isFinal) throw error;
    if (screen !== '') process.stdout.write(screen);
    complain(error.message);
  }
}

export async function askForText(
  config: StatusConfig,
  build: BuildInfo,
  timeoutMs = TIMEOUT_MS,
): Promise<string> {
  if (config.local) return askLocalForText({ folder: config.statusDir, json: config.json });
  const trust = await new ServerTrust({ trust: config.trust, clock: systemClock }).forDial(
    config.url,
  );
  const text = await ask(config, trust, timeoutMs);
  const status = readStatus(text);
  return config.json
    ? text
    : formatStatus(status, build, { nowMs: systemClock.wallMs(), isWide: config.wide });
}

/** What the contract promises, for a person. */
export function formatStatus(
  status: Status,
  build: BuildInfo,
  { nowMs, isWide }: { nowMs: number; isWide: boolean },
): string {
  const { info, clients } = status;
  const since = (time: string): string => {
    const startMs = readTimestamp(time);
    return startMs === undefined ? 'unknown' : inWords(nowMs - startMs);
  };
  const head = table([
    [`Querying server status. Version ${build.version} - ${build.commit}`],
    [`Hostname: ${info.hostname}`],
    [`Started: ${since(info.startTime)}`],
    [`Mode: ${info.mode}`],
    [`Version:        ${info.version}`],
  ]);
  if (isWide) return `${head}\n${table(wideRows(clients, since))}`;
  const rows = clients.map((client) => [
    client.clientID,
    client.remoteAddr,
    since(client.since),
    client.upstreams.join(', '),
  ]);
  return `${head}\n${table([['Client ID', 'Remote Address', 'Connected', 'Upstreams'], ...rows])}`;
}

/** Where an older server says nothing, neither do we. */
function wideRows(clients: Status['clients'], since: (time: string) => string): string[][] {
  const known = (value: number | undefined, show: (value: number) => string = String): string =>
    value === undefined ? '-' : show(value);
  const titles = [
    ...['Client ID', 'Remote Address', 'Connected', 'Version', 'Links', 'Streams'],
    ...['In', 'Out', 'RTT', 'Restarts', 'Upstreams'],
  ];
  const rows = clients.map((client) => [
    ...[client.clientID, client.remoteAddr, since(client.since), client.version ?? '-'],
    ...[known(client.links), known(client.streams)],
    ...[known(client.bytesIn, inBytes), known(client.bytesOut, inBytes)],
    client.rttMs ? `${client.rttMs} ms` : '-',
    known(client.restarts),
    client.upstreams.join(', '),
  ]);
  return [titles, ...rows];
}

function readStatus(text: string): Status {
  const status = parse(text) as Partial<Status> | undefined;
  const { info, clients } = status ?? {};
  const isWhole =
    areTexts(info, ['version', 'mode', 'hostname', 'startTime']) &&
    Array.isArray(clients) &&
    clients.every(
      (client) =>
        areTexts(client, ['clientID', 'remoteAddr', 'since']) && Array.isArray(client.upstreams),
    );
  if (!isWhole) {
    throw new SluicewayError('SLW_DIAL_FAILED', 'what answered is not a sluiceway server');
  }
  return status as Status;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The caller refuses what is no status.
    return undefined;
  }
}

function areTexts(value: unknown, keys: readonly string[]): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return keys.every((key) => typeof (value as Record<string, unknown>)[key] === 'string');
}

async function ask(config: StatusConfig, trust: DialTrust, timeoutMs: number): Promise<string> {
  const url = new URL(controlUrl(config.url, '/status'));
  const isTls = url.protocol === 'https:';
  const signal = AbortSignal.timeout(timeoutMs);
  const options = {
    headers: {
      accept: 'application/json',
      ...(config.token === undefined ? {} : { authorization: `Bearer ${config.token.reveal()}` }),
    },
    signal,
    // Said here because NODE_TLS_REJECT_UNAUTHORIZED=0 would otherwise decide.
    ...(isTls ? { rejectUnauthorized: true } : {}),
    ...(trust.ca === undefined ? {} : { ca: trust.ca }),
    ...trust.own,
    ...(trust.proxy === undefined
      ? {}
      : { agent: await createProxyAgent({ proxy: trust.proxy, signal }) }),
  };
  return new Promise((resolve, reject) => {
    const request = (isTls ? https : http).request(url, options);
    const fail = (cause: Error): void => {
      reject(signal.aborted ? timedOut(url, timeoutMs, cause) : unreachable(url, cause));
    };
    request.on('error', fail);
    request.on('response', (response) => {
      response.on('error', fail);
      if (response.statusCode === 200) {
        readText(response, resolve);
      } else {
        response.resume();
        reject(refusal(response.statusCode ?? 0, url));
      }
    });
    request.end();
  });
}

function readText(response: IncomingMessage, onText: (text: string) => void): void {
  let text = '';
  response.setEncoding('utf8');
  response.on('data', (piece: string) => {
    text += piece;
    if (text.length > ANSWER_BYTES_MAX) response.destroy(new Error('the answer is too large'));
  });
  response.on('end', () => onText(text));
}

function refusal(statusCode: number, url: URL): SluicewayError {
  if (statusCode === 401 || statusCode === 403) {
    return new SluicewayError(
      'SLW_AUTH_REFUSED',
      `${url.host} refused the token; check that it is the one the server was started with`,
    );
  }
  return new SluicewayError('SLW_DIAL_FAILED', `${url.href} answered ${statusCode}, not 200`);
}

function timedOut(url: URL, timeoutMs: number, cause: Error): SluicewayError {
  const text = `${url.host} did not answer within ${inWords(timeoutMs)}`;
  return new SluicewayError('SLW_TIMEOUT', text, { cause });
}

function unreachable(url: URL, cause: Error): SluicewayError {
  const refused = describeTlsRefusal(cause);
  if (refused !== undefined) {
    return new SluicewayError('SLW_TLS_REFUSED', `${url.host}: ${refused}`, { cause });
  }
  const text = `cannot ask ${url.host}: ${describeDialFailure(cause, url.href)}`;
  return new SluicewayError('SLW_DIAL_FAILED', text, { cause });
}
