// How a client looks whether an upstream is well: `tcp`, `http:/healthz`, or `off`.
//
// Invariant: a check is one that the upstream can answer: HTTP is asked of HTTP upstreams alone.
// Must not know: when a check is made, or what follows from it.

import { InvalidText, type Kind, kindOf, one, optional, type ValuesOf } from './option.ts';
import { duration, integer } from './quantity.ts';
import { TIMEOUT } from './tuning.ts';

const DAY_MS = 86_400_000;

export type HealthCheck =
  | 'off'
  | { readonly kind: 'tcp' }
  /** A GET of the path; 2xx and 3xx are well. */
  | { readonly kind: 'http'; readonly path: string };

export interface HealthConfig {
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** Good checks in a row that make an upstream well again. */
  readonly rise: number;
  /** Bad ones that make it ill. */
  readonly fall: number;
}

const RIGHT = 'write tcp, http:/PATH such as http:/healthz, or off';
const PATH_LENGTH_MAX = 1024;
const PATH = /^http:(\/[!-~]*)$/;

export const healthCheck: Kind<HealthCheck> = kindOf(
  'health check',
  'CHECK',
  readHealthCheck,
  showHealthCheck,
);

export function readHealthCheck(text: string): HealthCheck | InvalidText {
  if (text === 'off') return text;
  if (text === 'tcp') return { kind: 'tcp' };
  const path = text.length > PATH_LENGTH_MAX ? undefined : PATH.exec(text)?.[1];
  return path === undefined || path.startsWith('//')
    ? new InvalidText(`is no health check; ${RIGHT}`)
    : { kind: 'http', path };
}

export function showHealthCheck(check: HealthCheck): string {
  if (check === 'off') return check;
  return check.kind === 'tcp' ? 'tcp' : `http:${check.path}`;
}

export const HEALTH_OPTIONS = {
  'health-check': optional(healthCheck, {
    help: 'look whether upstreams are well, by tcp or http:/PATH, and withdraw those that are not',
  }),
  'health-check-interval': one(duration({ min: 100, max: DAY_MS }), {
    default: '10s',
    help: 'time between two checks of an upstream',
  }),
  'health-check-timeout': one(duration(TIMEOUT), {
    default: '5s',
    help: 'a check that takes longer has failed',
  }),
  'health-check-rise': one(integer({ min: 1, max: 100 }), {
    default: '2',
    help: 'good checks in a row after which an upstream is well again',
  }),
  'health-check-fall': one(integer({ min: 1, max: 100 }), {
    default: '3',
    help: 'failed checks in a row after which an upstream is withdrawn',
  }),
};

export function buildHealth(values: ValuesOf<typeof HEALTH_OPTIONS>): HealthConfig {
  return {
    intervalMs: values['health-check-interval'],
    timeoutMs: values['health-check-timeout'],
    rise: values['health-check-rise'],
    fall: values['health-check-fall'],
  };
}
