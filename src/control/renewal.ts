// When a certificate is renewed, and how an issuer names it for that question (ARI, RFC 9773).
//
// Invariant: pure. Without the issuer's advice a third of the life is left, give or take; with it,
// a moment of its window; in no case is less than a tenth left. Must not know: who asks, or how.

import { X509Certificate } from 'node:crypto';
import { wallMsOf } from '../base/clock.ts';

export interface RenewalWindow {
  readonly startMs: number;
  readonly endMs: number;
}

export interface RenewalInput {
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly window: RenewalWindow | undefined;
  /** In [0, 1), drawn once a certificate, so that the answer does not move. */
  readonly draw: number;
}

/** Let's Encrypt's advice for 90 days: 30 of them left. */
const LEFT = 1 / 3;
/** Of the life, so that the certificates of one day are not renewed in one minute. Guess. */
const JITTER = 1 / 50;
/** Whatever the issuer says. Guess. */
const LEFT_MIN = 1 / 10;

export function renewAtMs({ notBeforeMs, notAfterMs, window, draw }: RenewalInput): number {
  const lifeMs = notAfterMs - notBeforeMs;
  const latestMs = notAfterMs - lifeMs * LEFT_MIN;
  if (window === undefined) return notAfterMs - lifeMs * LEFT - lifeMs * JITTER * draw;
  const { startMs, endMs } = window;
  return Math.min(startMs + (endMs - startMs) * draw, latestMs);
}

/** What an issuer answers; undefined when it is no window. */
export function readWindow(answer: unknown): RenewalWindow | undefined {
  const { suggestedWindow } = (answer ?? {}) as { suggestedWindow?: unknown };
  const { start, end } = (suggestedWindow ?? {}) as { start?: unknown; end?: unknown };
  const startMs = wallMsOf(String(start));
  const endMs = wallMsOf(String(end));
  return endMs > startMs ? { startMs, endMs } : undefined;
}

/** The authority key identifier extension, 2.5.29.35, as DER. */
const AUTHORITY_KEY_OID = Buffer.from([0x06, 0x03, 0x55, 0x1d, 0x23]);
const OCTETS = 0x04;
const SEQUENCE = 0x30;
const KEY_ID = 0x80;
/** DER lengths above take more than one octet; an identifier has 20. */
const SHORT_MAX = 0x7f;

/** RFC 9773 4.1; undefined when the certificate has no authority key identifier. */
export function ariIdOf(cert: string): string | undefined {
  const certificate = new X509Certificate(cert);
  const keyId = authorityKeyId(certificate.raw);
  if (keyId === undefined) return undefined;
  const serial = Buffer.from(certificate.serialNumber, 'hex');
  // DER numbers have a sign: a leading one is kept apart by a zero.
  const isNegative = (serial[0] ?? 0) >= 0x80;
  const number = isNegative ? Buffer.concat([Buffer.alloc(1), serial]) : serial;
  return `${keyId.toString('base64url')}.${number.toString('base64url')}`;
}

function authorityKeyId(der: Buffer): Buffer | undefined {
  const oid = der.indexOf(AUTHORITY_KEY_OID);
  if (oid < 0) return undefined;
  const octets = contentOf(der, oid + AUTHORITY_KEY_OID.length, OCTETS);
  const sequence = octets && contentOf(octets, 0, SEQUENCE);
  return sequence && contentOf(sequence, 0, KEY_ID);
}

function contentOf(der: Buffer, at: number, tag: number): Buffer | undefined {
  const length = der[at + 1];
  if (der[at] !== tag || length === undefined || length > SHORT_MAX) return undefined;
  const end = at + 2 + length;
  return end <= der.length ? der.subarray(at + 2, end) : undefined;
}
