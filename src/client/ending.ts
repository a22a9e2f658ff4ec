// How a client ends, and of which failures: exit codes of the contract, and what to do about it.
//
// Invariant: a failure that trying again cannot cure has an exit code and one line that says what
// to check, and ends the client; a server is given up only when it has no link left, so that no
// stream is cut for it, and the client ends when all its servers are. Must not know: which links
// there are, shards, what is printed where.

import { ERRORS, type ErrorCode } from '../base/errors.ts';

export interface Ending {
  readonly exitCode: number;
  /** Of the failure, if it was one of a link. */
  readonly code?: ErrorCode;
  readonly message?: string;
}

/** Why a link to a server failed. */
export interface LinkFailure {
  readonly code: ErrorCode;
  readonly detail: string;
  /** In a row, this one among them; links that are lost together are one. */
  readonly attempts: number;
  /** To the same server: being dialled, up, or leaving with the streams that they have. */
  readonly linksLeft: number;
}

/** How often the user wants it to be tried. */
export interface Persistence {
  readonly once: boolean;
  /** 0: for ever. */
  readonly maxRetry: number;
}

export const EXIT_FAILURE = 1;
const EXIT_AUTH_REFUSED = 3;

/** Failures that trying again does not cure. */
const FINAL: Partial<Record<ErrorCode, { exitCode: number; advice: string }>> = {
  SLW_AUTH_REFUSED: {
    exitCode: EXIT_AUTH_REFUSED,
    advice:
      'check --token, --token-file or --token-env against the one of the server, ' +
      'or --tls-client-cert against its --client-ca',
  },
  SLW_LINK_REPLACED: {
    exitCode: EXIT_FAILURE,
    advice: 'give each client an --id of its own, or leave it out',
  },
  SLW_LINK_REVOKED: { exitCode: EXIT_AUTH_REFUSED, advice: 'ask for a new token' },
  SLW_WIRE_VERSION: { exitCode: EXIT_FAILURE, advice: 'update the older of client and server' },
};

/** In words: the detail that is known, else what the code means. */
export function reasonOf({ code, detail }: Pick<LinkFailure, 'code' | 'detail'>): string {
  return detail === '' ? ERRORS[code].text : detail;
}

/** Undefined: trying again may cure it. */
export function finalEnding(
  url: string,
  { code, detail }: Pick<LinkFailure, 'code' | 'detail'>,
): Ending | undefined {
  const final = FINAL[code];
  if (final === undefined) return undefined;
  const why = detail === '' ? ERRORS[code].text : `${ERRORS[code].text}, ${detail}`;
  return { exitCode: final.exitCode, code, message: `${url}: ${why}: ${final.advice}` };
}

/** Of a server that is given up, when it is the last; undefined: it is tried again. */
export function givingUp(
  url: string,
  failure: LinkFailure,
  { once, maxRetry }: Persistence,
): Ending | undefined {
  if (failure.linksLeft > 0) return undefined;
  const why = reasonOf(failure);
  const { code } = failure;
  const isRefused = code === 'SLW_TLS_REFUSED';
  const exitCode = isRefused ? EXIT_AUTH_REFUSED : EXIT_FAILURE;
  if (once) return { exitCode, code, message: `${url}: ${why} (--once)` };
  if (maxRetry === 0 || failure.attempts <= maxRetry) return undefined;
  return { exitCode, code, message: `${url}: gave up after ${maxRetry} retries: ${why}` };
}
