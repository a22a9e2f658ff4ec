// What a command warns of when it starts: secrets that show, and options that work against another.
//
// Invariant: a warning never changes what happens and never repeats a secret. Must not know: what
// is wrong, for that is an error.

import type { ServerConfig } from '../config/config.ts';
import { complain } from './output.ts';
import type { Flags } from './sources.ts';

type Version = readonly [major: number, minor: number, patch: number];

/** First releases without the holes closed in July 2026, by release line (Node's advisories). */
const FLOOR_24: Version = [24, 18, 1];
const FLOOR_26: Version = [26, 5, 1];

export function warnAtStart(flags: Flags): void {
  const floor = securityFloor(process.versions.node);
  if (floor !== undefined) {
    warn(`Node ${process.version} has known security holes, use v${floor} or later`);
  }
  if (flags.token !== undefined) {
    warn('--token shows the token to everyone who can list processes, use --token-file');
  }
  if (flags['basic-auth'] !== undefined) {
    warn('--basic-auth shows passwords to everyone who can list processes, use --config');
  }
}

/** Of what can be right, but seldom is: an issuer of one's own may be on the list. */
export function warnOfServer({ allowIps, httpAddr, https }: ServerConfig): void {
  const { domains = [], onDemand = [], challenge = 'dns-01' } = https?.letsEncrypt ?? {};
  const isVisited = onDemand.length > 0 || domains.some((name) => !name.startsWith('*.'));
  // Over plain HTTP a challenge is answered to everybody.
  const isByTls = challenge === 'tls-alpn-01' || (challenge === 'auto' && httpAddr === 'off');
  if (allowIps.length === 0 || !isVisited || !isByTls) return;
  warn(
    '--allow-ips turns away the certificate issuer, unless it is listed; ' +
      'use --letsencrypt-challenge http-01 or dns-01',
  );
}

/** The version to move to when `version` is below the floor of its line. */
export function securityFloor(version: string): string | undefined {
  const [major = 0, minor = 0, patch = 0] = version
    .split('.')
    .map((part) => Number.parseInt(part, 10));
  // Odd lines such as 25 have ended: what they lack is only in the next even one.
  const floor = major > 24 ? FLOOR_26 : FLOOR_24;
  return isBelow([major, minor, patch], floor) ? floor.join('.') : undefined;
}

function isBelow(left: Version, right: Version): boolean {
  for (const [index, part] of left.entries()) {
    const other = right[index] ?? 0;
    if (part !== other) return part < other;
  }
  return false;
}

function warn(text: string): void {
  complain(`warning: ${text}`);
}
