// What a request wants to be true of a file before it is sent (RFC 9110, 13).
//
// Invariant: tags are compared as the field says, weakly for If-None-Match and strongly for
// If-Match and If-Range; a date that is none is as if it were not there; a tag wins over a date.
// Must not know: files.

import type { IncomingHttpHeaders } from 'node:http';
import { wallMsOf } from '../base/clock.ts';

/** How a file is known. */
export interface Validators {
  /** Strong, with its quotes. */
  readonly tag: string;
  readonly modifiedMs: number;
}

export type Verdict = 'send' | 'not-modified' | 'failed';

const SECOND_MS = 1000;
const WEAK = /^W\//;

export function judge(headers: IncomingHttpHeaders, validators: Validators): Verdict {
  const { 'if-match': match, 'if-none-match': noneMatch } = headers;
  if (match !== undefined) {
    if (!isAmong(match, validators.tag, 'strong')) return 'failed';
  } else if (isAfter(validators, headers['if-unmodified-since'])) return 'failed';
  if (noneMatch !== undefined) {
    return isAmong(noneMatch, validators.tag, 'weak') ? 'not-modified' : 'send';
  }
  const since = headers['if-modified-since'];
  const isSame = isDate(since) && !isAfter(validators, since);
  return isSame ? 'not-modified' : 'send';
}

/** Are ranges of the file those of what the visitor has a part of? */
export function isCurrent(headers: IncomingHttpHeaders, validators: Validators): boolean {
  const text = headers['if-range'];
  if (typeof text !== 'string') return true;
  if (text.includes('"')) return text.trim() === validators.tag;
  return wallMsOf(text) === wholeSeconds(validators.modifiedMs);
}

function isAmong(list: string, tag: string, comparison: 'strong' | 'weak'): boolean {
  if (list.trim() === '*') return true;
  // A tag may hold a comma, though ours never does: half of another one is equal to none of ours.
  const tags = list.split(',').map((one) => one.trim());
  return tags.some((one) => (comparison === 'weak' ? one.replace(WEAK, '') : one) === tag);
}

function isDate(text: string | undefined): text is string {
  return text !== undefined && !Number.isNaN(wallMsOf(text));
}

function isAfter({ modifiedMs }: Validators, text: string | undefined): boolean {
  return isDate(text) && wholeSeconds(modifiedMs) > wallMsOf(text);
}

/** What the date of a header can say. */
function wholeSeconds(ms: number): number {
  return Math.floor(ms / SECOND_MS) * SECOND_MS;
}
