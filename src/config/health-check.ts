// How a client looks whether an upstream is well: `tcp`, `http:/healthz`, or `off`.
//
// Invariant: a check is one that the upstream can answer: HTTP is asked of HTTP upstreams alone.
// Must not know: when a check is made, or what follows from it.

import { InvalidText, type Kind, kindOf } from './option.ts';

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
