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
  const areAuthorities = attempt(file, 'holds a certificate that is broken', problems, () =>
    pemBlocks(readText(file, readFile))
      .filter(({ label }) => label === 'CERTIFICATE')
      .every(({ text }) => new X509Certificate(text).ca),
  );
  if (areAuthorities !== false) return;
  problems.add(`${file.label}: the file holds a certificate that is not of an authority`);
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
