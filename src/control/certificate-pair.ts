// A certificate chain with its key, read and checked.
//
// Invariant: what comes out can be served: the chain parses, its first certificate belongs to the
// key, and TLS takes both. Must not know: where the texts come from, or who is served.

import { createPrivateKey, X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import type { CertificatePair } from '../bridge/exit-messages.ts';

export interface CheckedPair extends CertificatePair {
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly fingerprint: string;
}

/** Throws an Error that says what is wrong. No message repeats a part of the key. */
export function checkPair({ name, cert, key }: CertificatePair): CheckedPair {
  const certificate = attempt('no certificate in PEM format', () => new X509Certificate(cert));
  const privateKey = attempt('no private key in PEM format', () => createPrivateKey(key));
  if (!certificate.checkPrivateKey(privateKey)) throw new Error('key and certificate do not match');
  attempt('TLS cannot use it', () => createSecureContext({ cert, key }));
  return {
    name,
    cert,
    key,
    notBeforeMs: certificate.validFromDate.getTime(),
    notAfterMs: certificate.validToDate.getTime(),
    fingerprint: certificate.fingerprint256,
  };
}

/** Is the certificate for `name`, a host or a wildcard? */
export function isForName(cert: string, name: string): boolean {
  // A host of one label below stands for all that a wildcard covers.
  const host = name.startsWith('*.') ? `any${name.slice(1)}` : name;
  return new X509Certificate(cert).checkHost(host) !== undefined;
}

function attempt<T>(wrong: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw new Error(wrong, { cause });
  }
}
