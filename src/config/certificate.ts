// Checks the certificate files that options name, before a socket opens.
//
// Invariant: a pair that passes can be loaded by the control port: both parse as PEM and belong
// together. Key material is read, checked and forgotten; no message repeats it. Must not know:
// who serves with the pair, or whether the certificate is still valid.

import { createPrivateKey, X509Certificate } from 'node:crypto';
import { pemBlocks } from '../base/pem.ts';
import { FileElsewhere } from './elsewhere.ts';
import type { Problems } from './problems.ts';

export interface CertificateFile {
  /** Option and origin, as a problem names them. */
  readonly label: string;
  readonly path: string;
}

type ReadFile = (path: string) => string;

export function checkCertificate(
  file: CertificateFile,
  readFile: ReadFile,
  problems: Problems,
): X509Certificate | undefined {
  return attempt(file, 'holds no certificate in PEM format', problems, () => {
    return new X509Certificate(readText(file, readFile));
  });
}

/** Each certificate of the file is one that others can be signed by. */
export function checkAuthorities(
  file: CertificateFile,
  readFile: ReadFile,
  problems: Problems,
): void {
  if (checkCertificate(file, readFile, problems) === undefined) return;
  const wrong = attempt(file, 'holds a certificate that is broken', problems, () =>
    authoritiesProblem(readText(file, readFile)),
  );
  if (wrong !== undefined) problems.add(`${file.label}: the file ${wrong}`);
}

/**
 * Why a server would trust nobody by these certificates of authorities, or not only by them.
 * Throws for one that is broken.
 */
export function authoritiesProblem(text: string): string | undefined {
  const found = certificatesIn(text);
  // Node would trust the whole world's in their place.
  if (found.length === 0) return 'holds no certificate in PEM format';
  if (!found.every(({ ca }) => ca)) return 'holds a certificate that is not of an authority';
  // A server of Node's verifies up to a root, and an intermediate alone would let nobody in.
  if (found.some(isRoot)) return undefined;
  const names = found.map(nameOf).join('; ');
  return `holds no root, a CA that signed itself, up to which a client is verified, but ${names}`;
}

/** Names of those that no root beside them leads to: a server lets nobody in by them. Throws for
 * one that is broken. */
export function orphansIn(text: string): string[] {
  const found = certificatesIn(text);
  const known = found.filter(isRoot);
  let orphans = found.filter((one) => !isRoot(one));
  // It grows as it is walked: what one of them issued, then what that has issued.
  for (const issuer of known) {
    known.push(...orphans.filter((one) => isIssuedBy(one, issuer)));
    orphans = orphans.filter((one) => !known.includes(one));
  }
  return orphans.map(nameOf);
}

export function checkCertificatePair(
  cert: CertificateFile,
  key: CertificateFile,
  readFile: ReadFile,
  problems: Problems,
): void {
  const certificate = checkCertificate(cert, readFile, problems);
  const privateKey = attempt(key, 'holds no unencrypted private key in PEM format', problems, () =>
    createPrivateKey(readText(key, readFile)),
  );
  if (certificate === undefined || privateKey === undefined) return;
  if (certificate.checkPrivateKey(privateKey)) return;
  const option = cert.label.replace(/ \(.*$/, '');
  problems.add(`${key.label}: the key does not belong to the certificate of ${option}`);
}

function certificatesIn(text: string): X509Certificate[] {
  const blocks = pemBlocks(text).filter(({ label }) => label === 'CERTIFICATE');
  return blocks.map((block) => new X509Certificate(block.text));
}

function isRoot(one: X509Certificate): boolean {
  return one.checkIssued(one);
}

/** Names alone may be those of another CA's. */
function isIssuedBy(one: X509Certificate, issuer: X509Certificate): boolean {
  return one.checkIssued(issuer) && one.verify(issuer.publicKey);
}

function nameOf({ subject }: X509Certificate): string {
  return subject.replaceAll('\n', ', ');
}

class UnreadableFile extends Error {}

function readText(file: CertificateFile, readFile: ReadFile): string {
  try {
    return readFile(file.path);
  } catch (cause) {
    if (cause instanceof FileElsewhere) throw cause;
    throw new UnreadableFile(cause instanceof Error ? cause.message : 'cannot be read', { cause });
  }
}

function attempt<T>(
  file: CertificateFile,
  wrong: string,
  problems: Problems,
  read: () => T,
): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof FileElsewhere) return undefined;
    const reason = error instanceof UnreadableFile ? error.message : `the file ${wrong}`;
    problems.add(`${file.label}: ${reason}`);
    return undefined;
  }
}
