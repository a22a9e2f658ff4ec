// Says what was wrong with a server's certificate, and what to do about it.
//
// Invariant: whatever Node refuses a certificate for is told apart from a server that is away; the
// text names the server's fault and a way out. Must not know: which CA is trusted, or why.

import { systemClock } from './clock.ts';
import { showTime } from './clock-gap.ts';

interface TlsFailure extends Error {
  readonly code?: string;
  readonly reason?: string;
  readonly cert?: { readonly valid_to?: string; readonly subjectaltname?: string };
}

const UNTRUSTED =
  'its certificate is not signed by a CA that is trusted here: give --auto-tls-fingerprint as ' +
  'the server prints it, --auto-tls to trust its CA on first use, or --tls-ca FILE';

/** By Node's codes, which are OpenSSL's (documentation of tls, X509 certificate error codes). */
const TEXTS: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'its certificate has expired: renew it, or set the clock of this machine',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet: check the clocks of both machines',
  CERT_REVOKED: 'its certificate was revoked: give the server a new one',
  CERT_SIGNATURE_FAILURE: 'its certificate was not signed by the CA that it names',
  CERT_UNTRUSTED: UNTRUSTED,
  CERT_REJECTED: UNTRUSTED,
  DEPTH_ZERO_SELF_SIGNED_CERT: UNTRUSTED,
  SELF_SIGNED_CERT_IN_CHAIN: UNTRUSTED,
  UNABLE_TO_GET_ISSUER_CERT: UNTRUSTED,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNTRUSTED,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNTRUSTED,
  INVALID_CA: UNTRUSTED,
  INVALID_PURPOSE: 'its certificate is not for servers',
  CERT_CHAIN_TOO_LONG: 'the chain of its certificate is too long',
  PATH_LENGTH_EXCEEDED: 'the chain of its certificate is longer than its CA allows',
};

/** Undefined when it was not the certificate that was refused. */
export function describeTlsRefusal(cause: Error): string | undefined {
  const { code = '', cert } = cause as TlsFailure;
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return describeWrongName(cert?.subjectaltname ?? '');
  }
  const text = TEXTS[code];
  // What this machine takes for now is half of the reason.
  return text !== undefined && /clock/.test(text) ? `${text}, ${clockText()}` : text;
}

function clockText(): string {
  return `which says ${showTime(systemClock.wallMs())} here`;
}

export function describeWrongName(subjectAltName: string): string {
  const names = subjectAltName.replaceAll(/(?:DNS|IP Address):/g, '') || 'no name at all';
  return (
    `its certificate is for ${names}, and not for the name that was dialled: start the server ` +
    'with --auto-tls-san and that name, or dial a name that is in the certificate'
  );
}
