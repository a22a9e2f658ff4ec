// Whether a request is for one of the paths of a login.
//
// Invariant: a path counts as it is written, as what is written otherwise leads to no login either.
// Must not know: what is answered there.

import { LOGIN_PREFIX } from '../base/login-way.ts';
import { octets } from '../http/octets.ts';
import type { RequestParser } from '../http/request-head.ts';

const PREFIX = octets(LOGIN_PREFIX);

export interface LoginTarget {
  readonly path: string;
  /** From the question mark on. */
  readonly query: string;
}

/** The target of a request for one of these paths; undefined for another. */
export function loginTarget(head: RequestParser): LoginTarget | undefined {
  const { bytes, base, targetStart, targetEnd, targetPrefix } = head;
  const start = base + targetStart;
  if (targetPrefix !== '' || targetEnd - targetStart < PREFIX.length) return undefined;
  for (let index = 0; index < PREFIX.length; index += 1) {
    if (bytes[start + index] !== PREFIX[index]) return undefined;
  }
  const target = bytes.toString('latin1', start, base + targetEnd);
  const question = target.indexOf('?');
  if (question === -1) return { path: target, query: '' };
  return { path: target.slice(0, question), query: target.slice(question) };
}
