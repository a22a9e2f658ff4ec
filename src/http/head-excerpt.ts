// The two texts of a request head that a log shows: its path and its User-Agent.
//
// Invariant: bounded, whatever was sent, and the query is not part of it; octets beyond ASCII are
// read as Latin-1, as nothing says what they are. Must not know: what is done with the texts.

import { LOWER, matches, octets } from './octets.ts';
import type { RequestParser } from './request-head.ts';

/** One more than what a log keeps of a name, so that it can see that there was more. */
const EXCERPT_BYTES_MAX = 257;

const USER_AGENT = octets('user-agent');

export function excerptOf(head: RequestParser): { path: string; userAgent: string } {
  return { path: readPath(head), userAgent: readUserAgent(head) };
}

function readPath(head: RequestParser): string {
  const start = head.base + head.targetStart;
  const end = Math.min(head.base + head.targetEnd, start + EXCERPT_BYTES_MAX);
  const target = head.bytes.toString('latin1', start, end);
  const question = target.indexOf('?');
  return head.targetPrefix + (question === -1 ? target : target.slice(0, question));
}

function readUserAgent(head: RequestParser): string {
  const { bytes, base, fields } = head;
  for (let index = 0; index < fields.count; index += 1) {
    const nameStart = fields.nameStart(index);
    if (fields.nameEnd(index) - nameStart !== USER_AGENT.length) continue;
    if (!matches(bytes, base + nameStart, USER_AGENT, LOWER)) continue;
    const start = base + fields.valueStart(index);
    const end = Math.min(base + fields.valueEnd(index), start + EXCERPT_BYTES_MAX);
    return bytes.toString('latin1', start, end);
  }
  return '';
}
