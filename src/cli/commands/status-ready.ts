// `sluiceway status --ready`: exit code 0 or 1, for health checks of containers and for scripts.
//
// Invariant: whoever cannot be asked is not ready. Must not know: how a server, or a client, finds
// that it is ready.

import { SluicewayError } from '../../base/errors.ts';
import { ownHostOf, showTarget } from '../../base/target.ts';
import type { LocalStatus } from '../../client/local-status.ts';
import { servesTunnel, whyNotReady } from '../../client/readiness.ts';
import type { StatusConfig } from '../../config/config.ts';
import { ask, type Question } from './server-answer.ts';
import { findClients } from './status-local.ts';

export const READY_PATH = '/readyz';
/** On a machine of its own there is no CA, certificate or proxy to mind. */
const NO_TRUST = { ca: undefined };

export type LocalQuestion = Pick<StatusConfig, 'statusDir' | 'adminAddr' | 'tunnel'>;

/** What `status --ready` prints when all is well; `who` was asked. */
export function readyText({ json }: Pick<StatusConfig, 'json'>, who: string): string {
  return json ? `${JSON.stringify({ ready: true, asked: who })}\n` : `ready: ${who}\n`;
}

/** Whom it asked; rejects when it is not ready. */
export async function askServerForReadiness(
  question: Question,
  tunnel: string | undefined,
): Promise<string> {
  const { url } = question;
  if (tunnel !== undefined) url.searchParams.set('tunnel', tunnel);
  await ask(question);
  return url.host;
}

/** The clients of this user decide where there are any, else the server of this machine. */
export async function askLocalForReadiness(question: LocalQuestion): Promise<string> {
  const { statusDir, adminAddr, tunnel } = question;
  const clients = statusDir === undefined ? [] : await findClients(statusDir);
  if (clients.length > 0) return judgeClients(clients, tunnel);
  if (adminAddr === 'off') {
    throw notReady('no client of this user runs here, and the admin address is off');
  }
  const host = ownHostOf(adminAddr.host);
  const url = new URL(`http://${showTarget({ host, port: adminAddr.port })}${READY_PATH}`);
  return askServerForReadiness({ url, trust: NO_TRUST }, tunnel);
}

/** One that drains is on its way out, and says nothing of those that stay. */
function judgeClients(clients: readonly LocalStatus[], tunnel: string | undefined): string {
  const staying = clients.filter(({ state }) => state === 'running');
  if (staying.length === 0) throw notReady('the client drains');
  for (const client of staying) {
    const why = whyNotReady(client);
    if (why !== undefined) throw notReady(`client ${client.clientID}: ${why}`);
  }
  const isServed = tunnel === undefined || staying.some((client) => servesTunnel(client, tunnel));
  if (!isServed) throw notReady(`${tunnel} is not up`);
  return staying.map(({ clientID }) => `client ${clientID}`).join(', ');
}

function notReady(why: string): SluicewayError {
  return new SluicewayError('SLW_DIAL_FAILED', `not ready: ${why}`);
}
