// `sluiceway status --local`: asks the clients of this user on this machine, over their sockets.
//
// Invariant: only sockets in the folder that clients use are asked, each for a bounded time; what
// a killed client left is removed. Must not know: how a client counts.

import { readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { systemClock } from '../../base/clock.ts';
import { SluicewayError } from '../../base/errors.ts';
import { http } from '../../base/http-modules.ts';
import {
  type LocalServer,
  type LocalStatus,
  type LocalTunnel,
  servingLinks,
} from '../../client/local-status.ts';
import { inBytes, inWords, readTimestamp, table } from '../output.ts';

const SOCKET = /^client-\d{1,10}\.sock$/;
const TIMEOUT_MS = 3000;
const ANSWER_BYTES_MAX = 16 * 1024 * 1024;
/** Guess: more clients of one user on a machine are a mistake. */
const CLIENTS_MAX = 64;

export interface LocalQuery {
  readonly folder: string | undefined;
  readonly json: boolean;
}

/** Rejects with SLW_DIAL_FAILED when nobody answers. */
export async function askLocalForText({ folder, json }: LocalQuery): Promise<string> {
  if (folder === undefined) throw nobody('--status-dir is off');
  const found = await findClients(folder);
  if (found.length === 0) throw nobody(`none has a socket in ${folder}`);
  found.sort((a, b) => a.pid - b.pid);
  const nowMs = systemClock.wallMs();
  return json ? `${JSON.stringify(found)}\n` : found.map((one) => describe(one, nowMs)).join('\n');
}

/** What each client of this user says; none when there is none. */
export async function findClients(folder: string): Promise<LocalStatus[]> {
  const files = (await readdir(folder).catch(() => [])).filter((file) => SOCKET.test(file));
  const asked = files.slice(0, CLIENTS_MAX).map((file) => askSocket(path.join(folder, file)));
  return (await Promise.all(asked)).filter((status) => status !== undefined);
}

function nobody(why: string): SluicewayError {
  return new SluicewayError('SLW_DIAL_FAILED', `no client of this user runs here: ${why}`);
}

/** Undefined when nobody listens any more. */
async function askSocket(socketPath: string): Promise<LocalStatus | undefined> {
  try {
    return await get(socketPath);
  } catch (error) {
    if ((error as { readonly code?: string }).code === 'ECONNREFUSED') {
      await rm(socketPath, { force: true }).catch(() => {});
    }
    return undefined;
  }
}

function get(socketPath: string): Promise<LocalStatus> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const asking = http.request({ socketPath, path: '/status', agent: false, signal }, (answer) => {
      const pieces: Buffer[] = [];
      let bytes = 0;
      answer.on('error', reject);
      answer.on('data', (piece: Buffer) => {
        bytes += piece.length;
        if (bytes > ANSWER_BYTES_MAX) asking.destroy(new Error('the answer is too long'));
        else pieces.push(piece);
      });
      answer.on('end', () => {
        try {
          resolve(JSON.parse(Buffer.concat(pieces).toString('utf8')) as LocalStatus);
        } catch (error) {
          reject(error as Error);
        }
      });
    });
    asking.on('error', reject).end();
  });
}

function describe(status: LocalStatus, nowMs: number): string {
  const { clientID, pid, version, state, servers } = status;
  const startMs = readTimestamp(status.since);
  const since = startMs === undefined ? '' : ` for ${inWords(nowMs - startMs)}`;
  const head = `Client ${clientID}, process ${pid}, version ${version}: ${state}${since}\n`;
  const links = table([
    ['Server', 'State', 'Links', 'RTT', 'Streams', 'In', 'Out', 'Last error'],
    ...servers.map(serverRow),
  ]);
  const tunnels = table([
    ['Tunnel', 'State', 'Server', 'Upstream error'],
    ...servers.flatMap(({ url, tunnels: all }) => all.map((one) => tunnelRow(one, url, nowMs))),
  ]);
  const forwards = table([
    ['Local port', 'Target'],
    ...status.forwards.map(({ listen, target }) => [listen, target]),
  ]);
  const parts = [head, links, tunnels, ...(status.forwards.length > 0 ? [forwards] : [])];
  return parts.join('\n');
}

function tunnelRow(tunnel: LocalTunnel, url: string, nowMs: number): string[] {
  const { label, state, upstreamError } = tunnel;
  if (upstreamError === undefined) return [label, state, url, '-'];
  const { code, time } = upstreamError;
  const atMs = readTimestamp(time);
  const when = atMs === undefined ? '' : `, ${inWords(nowMs - atMs)} ago`;
  return [label, state, url, `${code}${when}`];
}

function serverRow({ url, state, links, lastError }: LocalServer): string[] {
  const up = servingLinks({ links });
  const trips = up.map(({ rttMs }) => rttMs).filter((ms) => ms > 0);
  const sum = (of: (link: LocalServer['links'][number]) => number): number =>
    links.reduce((total, link) => total + of(link), 0);
  return [
    url,
    state,
    String(up.length),
    trips.length === 0 ? '-' : `${Math.min(...trips)} ms`,
    String(sum(({ streams }) => streams)),
    inBytes(sum(({ bytesIn }) => bytesIn)),
    inBytes(sum(({ bytesOut }) => bytesOut)),
    lastError === '' ? '-' : lastError,
  ];
}
