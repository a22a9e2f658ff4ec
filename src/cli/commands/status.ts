// `sluiceway status`: asks a server who is connected and prints it as a table.
//
// Invariant: an answer is checked before it is shown; what runs on this machine is asked without
// the options of a server, which are another command's. Must not know: how a server counts.

import { sleep, systemClock } from '../../base/clock.ts';
import { SluicewayError } from '../../base/errors.ts';
import { ServerTrust } from '../../client/server-trust.ts';
import { controlUrl } from '../../config/address.ts';
import { resolveConfig, type StatusConfig } from '../../config/config.ts';
import { VARIABLE_PREFIX, variableOf } from '../../config/merge.ts';
import type { ConfigInput } from '../../config/resolve.ts';
import { type BuildInfo, readBuildInfo } from '../build-info.ts';
import {
  answer,
  complain,
  inBytes,
  inWords,
  readTimestamp,
  stdoutFailure,
  table,
} from '../output.ts';
import { collectInput, type Flags } from '../sources.ts';
import { warnAtStart } from '../warnings.ts';
import { ask } from './server-answer.ts';
import { askLocalForText } from './status-local.ts';
import {
  askLocalForReadiness,
  askServerForReadiness,
  READY_PATH,
  readyText,
} from './status-ready.ts';

/** What asking again does not cure. */
const REFUSALS: ReadonlySet<string> = new Set(['SLW_AUTH_REFUSED', 'SLW_TLS_REFUSED']);
/** Of those that say how what runs here is asked. */
const LOCAL_OPTIONS = ['status-dir', 'admin-addr', 'json', 'watch-interval'];
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
  const config = resolveConfig(collect(flags));
  const build = readBuildInfo();
  warnAtStart(flags);
  if (!config.watch) {
    answer(await askForText(config, build));
    return;
  }
  // Whoever read has read enough, as `grep -m1`.
  const unread = stdoutFailure();
  while (!unread.aborted) {
    await showOnce(config, build);
    await sleep(config.watchIntervalMs, unread);
  }
}

/**
 * What runs here is asked without the variables and the file of its own options: in a container the
 * client's SLUICEWAY_URL may name three servers, and SLUICEWAY_CONFIG a file with a server's keys.
 */
function collect(flags: Flags): ConfigInput<'status'> {
  if (flags.local !== 'true' && flags.local !== true) {
    return collectInput('status', flags, withoutForwards(process.env));
  }
  const own = new Set(LOCAL_OPTIONS.map(variableOf));
  const env = Object.entries(process.env).filter(
    ([name]) => !name.startsWith(VARIABLE_PREFIX) || own.has(name),
  );
  return collectInput('status', flags, Object.fromEntries(env));
}

/** The variable of --local is a switch here and the client's list of forwards there, as `docker
 * exec` finds it. */
function withoutForwards(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { [variableOf('local')]: local, ...others } = env;
  return local === undefined || /^\s*(?:true|false)\s*$/u.test(local) ? env : others;
}

/** A server that is away may come back; a refused token will not become right. */
async function showOnce(config: StatusConfig, build: BuildInfo): Promise<void> {
  const screen = process.stdout.isTTY ? CLEAR_SCREEN : '';
  // Where nothing is cleared, one table is parted from the next.
  const gap = process.stdout.isTTY || config.json ? '' : '\n';
  try {
    answer(`${screen}${await askForText(config, build)}${gap}`);
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
  timeoutMs?: number,
): Promise<string> {
  if (config.ready && config.local) return readyText(config, await askLocalForReadiness(config));
  if (config.local) return askLocalForText({ folder: config.statusDir, json: config.json });
  const trust = await new ServerTrust({ trust: config.trust, clock: systemClock }).forDial(
    config.url,
  );
  const limits = timeoutMs === undefined ? {} : { timeoutMs };
  if (config.ready) {
    const url = new URL(controlUrl(config.url, READY_PATH));
    return readyText(config, await askServerForReadiness({ url, trust, ...limits }, config.tunnel));
  }
  const url = new URL(controlUrl(config.url, '/status'));
  const { token } = config;
  const text = await ask({ url, trust, ...(token === undefined ? {} : { token }), ...limits });
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
