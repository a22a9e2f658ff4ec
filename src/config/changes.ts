// What differs between the configuration that runs and one that was read again.
//
// Invariant: pure; every option of the server stands in the table, as `live` when a running server
// takes a new value over, else as `restart`; what needs a restart keeps its old value as a whole,
// never half of it. Must not know: how files are read, shards, or how a value is taken over.

import { isDeepStrictEqual } from 'node:util';
import { ConfigError } from '../base/errors.ts';
import type { ServerConfig, ServerReading } from './config.ts';
import type { Values } from './schema.ts';

export type OptionName = keyof Values<'server'>;

export const RELOADS: Readonly<Record<OptionName, 'live' | 'restart'>> = {
  config: 'restart',
  'control-addr': 'restart',
  'control-on-http': 'restart',
  'control-on-https': 'restart',
  'http-addr': 'restart',
  'https-addr': 'restart',
  'https-cert': 'restart',
  'https-redirect': 'restart',
  hsts: 'restart',
  'letsencrypt-domain': 'restart',
  'letsencrypt-on-demand': 'restart',
  'letsencrypt-issuer': 'restart',
  'letsencrypt-email': 'restart',
  'letsencrypt-ca-file': 'restart',
  'letsencrypt-challenge': 'restart',
  'letsencrypt-dns-hook': 'restart',
  'letsencrypt-dir': 'restart',
  'tcp-addr': 'restart',
  'tcp-ports': 'restart',
  'udp-addr': 'restart',
  'udp-ports': 'restart',
  'admin-addr': 'restart',
  'allow-ips': 'live',
  'deny-ips': 'live',
  'control-allow-ips': 'live',
  'accept-proxy-protocol': 'restart',
  'trusted-proxies': 'restart',
  'client-forwarding': 'live',
  'tls-cert': 'restart',
  'tls-key': 'restart',
  'auto-tls': 'restart',
  'auto-tls-san': 'restart',
  'auto-tls-dir': 'restart',
  'client-ca': 'restart',
  token: 'live',
  'token-file': 'live',
  'token-env': 'live',
  // What is in it is taken over live, by control/access.ts.
  'tokens-file': 'restart',
  'tokens-usage-file': 'restart',
  'oidc-issuer': 'restart',
  'oidc-audience': 'restart',
  // Likewise, by control/login-desk.ts.
  'login-providers': 'restart',
  shards: 'restart',
  'reuse-port': 'restart',
  'drain-delay': 'live',
  'drain-timeout': 'live',
  'log-level': 'live',
  'log-format': 'restart',
  'access-log': 'restart',
  'error-pages': 'restart',
  inspect: 'live',
  'inspect-requests': 'live',
  'inspect-body-max': 'live',
  'allow-faults': 'restart',
  fault: 'restart',
  'window-initial': 'restart',
  'window-max': 'restart',
  'session-memory-max': 'restart',
  'frame-max': 'restart',
  'streams-per-link-max': 'restart',
  'upstream-connect-timeout': 'restart',
  'tcp-idle-timeout': 'live',
  'udp-idle-timeout': 'live',
  'half-close-timeout': 'live',
  'link-ping-interval': 'restart',
  'link-dead-after': 'restart',
  'visitor-connections-max': 'live',
  'udp-flows-max': 'live',
  'udp-flows-per-ip-max': 'live',
  'udp-new-flows-per-second-max': 'live',
  'header-timeout': 'live',
  'body-idle-timeout': 'live',
  'keep-alive-timeout': 'live',
  'upstream-response-timeout': 'live',
  'visitor-connections-per-ip-max': 'live',
  'connections-per-second-per-ip-max': 'live',
  'tunnel-connections-max': 'live',
  'requests-per-second-max': 'live',
  'requests-per-second-per-ip-max': 'live',
  'tunnel-requests-per-second-max': 'live',
  'tunnel-bytes-in-per-second-max': 'live',
  'tunnel-bytes-out-per-second-max': 'live',
  'request-body-max': 'live',
  'memory-max': 'live',
};

export interface Changes {
  readonly live: readonly OptionName[];
  readonly restart: readonly OptionName[];
}

export function changedOptions(running: ServerReading, next: ServerReading): Changes {
  const names = (Object.keys(RELOADS) as OptionName[]).filter((name) => {
    if (!isDeepStrictEqual(running.values[name], next.values[name])) return true;
    // The file, or the variable, is the same one and says something else.
    const holdsToken = name === 'token-file' || name === 'token-env';
    return holdsToken && running.values[name] !== undefined && !isSameToken(running, next);
  });
  return {
    live: names.filter((name) => RELOADS[name] === 'live'),
    restart: names.filter((name) => RELOADS[name] === 'restart'),
  };
}

function isSameToken(running: ServerReading, next: ServerReading): boolean {
  return running.config.token?.reveal() === next.config.token?.reveal();
}

/**
 * Throws a ConfigError for a file of --config that sets nothing any more: on a full disk, or while
 * it is being written, it is empty, and to take that over would lift every list and limit.
 */
export function refuseEmptied(running: ServerReading, next: ServerReading): void {
  if ((running.file?.keys ?? 0) === 0 || next.file === undefined || next.file.keys > 0) return;
  throw new ConfigError([
    `${next.file.path} sets no option any more, and did before; restart to run without any`,
  ]);
}

/** What runs after `next` was taken over as far as it can be. */
export function mergeLive(running: ServerReading, next: ServerReading): ServerReading {
  const values: Record<string, unknown> = { ...running.values };
  for (const name of Object.keys(RELOADS) as OptionName[]) {
    if (RELOADS[name] === 'live') values[name] = next.values[name];
  }
  return {
    config: mergeConfig(running.config, next.config),
    values: values as Values<'server'>,
    files: next.files,
    ...(next.file === undefined ? {} : { file: next.file }),
  };
}

function mergeConfig(running: ServerConfig, next: ServerConfig): ServerConfig {
  const { tuning, token } = next;
  const { token: _old, ...kept } = running;
  return {
    ...kept,
    ...(token === undefined ? {} : { token }),
    allowIps: next.allowIps,
    denyIps: next.denyIps,
    controlAllowIps: next.controlAllowIps,
    clientForwarding: next.clientForwarding,
    drainDelayMs: next.drainDelayMs,
    drainTimeoutMs: next.drainTimeoutMs,
    logLevel: next.logLevel,
    limits: next.limits,
    memoryMax: next.memoryMax,
    inspect: next.inspect,
    tuning: {
      ...running.tuning,
      tcpIdleTimeoutMs: tuning.tcpIdleTimeoutMs,
      udpIdleTimeoutMs: tuning.udpIdleTimeoutMs,
      halfCloseTimeoutMs: tuning.halfCloseTimeoutMs,
      visitorConnectionsMax: tuning.visitorConnectionsMax,
      udpFlowsMax: tuning.udpFlowsMax,
      udpFlowsPerAddressMax: tuning.udpFlowsPerAddressMax,
      udpNewFlowsPerSecondMax: tuning.udpNewFlowsPerSecondMax,
      headerTimeoutMs: tuning.headerTimeoutMs,
      bodyIdleTimeoutMs: tuning.bodyIdleTimeoutMs,
      keepAliveTimeoutMs: tuning.keepAliveTimeoutMs,
      upstreamResponseTimeoutMs: tuning.upstreamResponseTimeoutMs,
    },
  };
}
