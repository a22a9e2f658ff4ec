// One look at an upstream: does it take a connection, or answer a request?
//
// Invariant: gives an answer within its time, and leaves no connection behind; what is verified of
// a certificate is what a visitor's connection would verify. Must not know: how often, or what for.

import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { systemClock } from '../base/clock.ts';
import { attemptsWithin } from '../base/dial-attempts.ts';
import { http, https } from '../base/http-modules.ts';
import { trustIn } from '../base/own-authorities.ts';
import type { UpstreamEntry } from '../bridge/client-messages.ts';
import type { HealthCheck } from '../config/config.ts';

export type Check = Exclude<HealthCheck, 'off'>;

/** Why the upstream is not well; undefined when it is. */
export type Probe = (
  entry: UpstreamEntry,
  check: Check,
  timeoutMs: number,
) => Promise<string | undefined>;

/** What counts as an answer: beyond it are errors. */
const STATUS_MAX = 399;

export const probeUpstream: Probe = (entry, check, timeoutMs) =>
  check.kind === 'tcp' ? probeTcp(entry, timeoutMs) : probeHttp(entry, check.path, timeoutMs);

function probeTcp(entry: UpstreamEntry, timeoutMs: number): Promise<string | undefined> {
  const { path, host, port, tls } = entry;
  const way = { host, port, ...attemptsWithin(timeoutMs) };
  const place = path === undefined ? way : { path };
  return new Promise((resolve) => {
    const socket: Socket = tls ? connectTls({ ...way, ...trustOf(entry) }) : connectTcp(place);
    const settle = (reason: string | undefined): void => {
      late.cancel();
      resolve(reason);
      socket.destroy();
    };
    // Not the socket's own, which a look-up that ends and a connection begin anew.
    const onLate = (): void => settle(`no answer within ${timeoutMs} ms`);
    const late = systemClock.after(timeoutMs, onLate);
    socket.once(tls ? 'secureConnect' : 'connect', () => settle(undefined));
    socket.on('error', (error: NodeJS.ErrnoException) => settle(error.code ?? error.message));
  });
}

function probeHttp(
  entry: UpstreamEntry,
  path: string,
  timeoutMs: number,
): Promise<string | undefined> {
  const { path: socketPath, host, port, tls, options } = entry;
  const place = socketPath === undefined ? { host, port } : { socketPath };
  const signal = AbortSignal.timeout(timeoutMs);
  const named = options?.['host-header']?.[0];
  return new Promise((resolve) => {
    const asking = (tls ? https : http).request({
      ...place,
      ...{ path, signal, agent: false, ...attemptsWithin(timeoutMs) },
      headers: {
        'user-agent': 'sluiceway-health-check',
        ...(named === undefined ? {} : { host: named }),
      },
      ...(tls ? trustOf(entry) : {}),
    });
    asking.on('response', ({ statusCode = 0 }) => {
      resolve(statusCode <= STATUS_MAX ? undefined : `it answered ${statusCode}`);
      asking.destroy();
    });
    asking.on('error', (error: NodeJS.ErrnoException) => {
      resolve(signal.aborted ? `no answer within ${timeoutMs} ms` : (error.code ?? error.message));
    });
    asking.end();
  });
}

function trustOf({ host, serverName, ca, isUnverified }: UpstreamEntry) {
  // An IP address is no valid server name in TLS (RFC 6066 section 3).
  const isName = /[a-z]/i.test(host) && !host.includes(':');
  return {
    rejectUnauthorized: isUnverified !== true,
    // Empty and not left out: a request would take it from its Host field, which host-header sets.
    servername: serverName ?? (isName ? host : ''),
    ...trustIn(ca),
  };
}
