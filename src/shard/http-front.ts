// What the exit node itself answers before it looks for a tunnel: ACME challenges, and the way to
// HTTPS.
//
// Invariant: a challenge goes before everything else; with a redirect no request of a known tunnel
// passes over plain HTTP, and what a challenge path asks for is never redirected. An answer ends
// its connection. Must not know: sockets, or how requests are carried.

import type { ErrorCode } from '../base/errors.ts';
import type { HttpsSettings } from '../bridge/shard-task.ts';
import type { VisitorOrigin } from '../http/forwarding.ts';
import type { RequestParser } from '../http/request-head.ts';
import { visitorScheme } from '../http/trusted-forwarding.ts';
import { type AcmeChallenges, isChallengePath } from './acme-challenges.ts';

const HTTPS_PORT = 443;

export interface FrontAnswer {
  readonly status: number;
  readonly bytes: Buffer;
  /** Of `bytes`. */
  readonly bodyBytes: number;
}

export interface FrontOptions {
  readonly challenges: AcmeChallenges;
  /** Public port of HTTPS that plain requests are sent to; 0 sends none. */
  readonly redirectPort: number;
}

export class HttpFront {
  readonly #challenges: AcmeChallenges;
  readonly #redirectPort: number;

  constructor({ challenges, redirectPort }: FrontOptions) {
    this.#challenges = challenges;
    this.#redirectPort = redirectPort;
  }

  /** An answer to a challenge, whatever host it names. */
  answerChallenge(head: RequestParser, origin: VisitorOrigin): FrontAnswer | undefined {
    return origin.scheme === 'http' ? challengeAnswer(this.#challenges, head) : undefined;
  }

  /** The way to HTTPS, for a request that has a tunnel; or why it cannot be shown. */
  redirect(head: RequestParser, origin: VisitorOrigin): FrontAnswer | ErrorCode | undefined {
    if (this.#redirectPort === 0) return undefined;
    // A trusted proxy may have ended TLS: sent to HTTPS, its visitors would come back for ever.
    if (visitorScheme(head, origin) === 'https') return undefined;
    const target = targetOf(head);
    if (isChallengePath(target)) return undefined;
    // Of HTTP/1.0, for the tunnel of every name: nobody knows which name has a certificate.
    if (head.host === '') return 'SLW_HTTP_NO_TUNNEL';
    const port = this.#redirectPort === HTTPS_PORT ? '' : `:${this.#redirectPort}`;
    // The parser let through one canonical host, and a target without blanks or controls.
    const path = target.startsWith('/') ? target : '/';
    const fields = `Location: https://${head.host}${port}${path}\r\n`;
    // 308 keeps the method and the body, 301 does not (RFC 9110 15.4.9).
    return answer('308 Permanent Redirect', fields, '');
  }
}

/** What an HTTP ingress is told of HTTPS; nothing at all where there is none. */
export function frontOptions(
  settings: HttpsSettings | undefined,
  challenges: AcmeChallenges,
): { readonly front?: HttpFront; readonly secureFields?: Buffer } {
  if (settings === undefined) return {};
  const { redirectPort, hstsMaxAgeSeconds } = settings;
  const front = new HttpFront({ challenges, redirectPort });
  if (hstsMaxAgeSeconds === 0) return { front };
  const field = `Strict-Transport-Security: max-age=${hstsMaxAgeSeconds}\r\n`;
  return { front, secureFields: Buffer.from(field, 'latin1') };
}

/** Undefined: the request is for no challenge that is up. */
export function challengeAnswer(
  challenges: AcmeChallenges,
  head: RequestParser,
): FrontAnswer | undefined {
  if (!challenges.hasTexts) return undefined;
  const text = challenges.textFor(targetOf(head));
  if (text === undefined) return undefined;
  const fields = `Content-Type: text/plain\r\nCache-Control: no-store\r\n`;
  return answer('200 OK', fields, head.method === 'HEAD' ? '' : text);
}

/** Path and query in origin form. */
export function targetOf(head: RequestParser): string {
  const { bytes, base, targetStart, targetEnd, targetPrefix } = head;
  return targetPrefix + bytes.toString('latin1', base + targetStart, base + targetEnd);
}

export function answer(title: string, fields: string, body: string): FrontAnswer {
  const head =
    `HTTP/1.1 ${title}\r\n${fields}Content-Length: ${body.length}\r\n` +
    'Connection: close\r\n\r\n';
  const bytes = Buffer.from(head + body, 'latin1');
  return { status: Number.parseInt(title, 10), bytes, bodyBytes: body.length };
}
