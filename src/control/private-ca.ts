// Makes the private CA of the control port, and leaves that it signs.
//
// Invariant: ECDSA on P-256 with random serials of 128 bits; the CA can sign leaves and nothing
// below them, a leaf is for servers alone and never outlives its CA. Must not know: where
// certificates are kept, or when a new one is due. The only file that knows @peculiar/x509.

import { randomBytes, webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  cryptoProvider,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';

/** A private key with its certificate, PEM. */
export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

const DAY_MS = 86_400_000;
const CA_LIFETIME_MS = 10 * 365 * DAY_MS;
/** Guess: long enough that a server without a disk for its store is not renewed all the time. */
const LEAF_LIFETIME_MS = 90 * DAY_MS;
/** For clients whose clock is behind. Guess. */
const BACKDATE_MS = DAY_MS;
const SERIAL_BYTES = 16;
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

cryptoProvider.set(webcrypto as never);

export async function makeAuthority(nowMs: number): Promise<KeyPair> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const serialNumber = makeSerial();
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber,
    // Its own name for each CA, so that nothing takes one for another.
    name: `CN=sluiceway CA ${serialNumber.slice(0, 8)}`,
    ...validity(nowMs, nowMs + CA_LIFETIME_MS),
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return pairOf(certificate, keys.privateKey);
}

/** A leaf for `names`, host names and IP addresses, signed by `authority`. */
export async function issueLeaf(
  authority: KeyPair,
  names: readonly string[],
  nowMs: number,
): Promise<KeyPair> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const ca = new X509Certificate(authority.cert);
  const caPublicKey = await ca.publicKey.export(ALGORITHM, ['verify']);
  const signingKey = await importKey(authority.key);
  const notAfterMs = Math.min(nowMs + LEAF_LIFETIME_MS, ca.notAfter.getTime());
  const extensions: Extension[] = [
    new BasicConstraintsExtension(false, undefined, true),
    new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
    new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
    new SubjectAlternativeNameExtension(
      names.map((name) => ({ type: isIP(name) === 0 ? 'dns' : 'ip', value: name })),
    ),
    await SubjectKeyIdentifierExtension.create(keys.publicKey),
    await AuthorityKeyIdentifierExtension.create(caPublicKey),
  ];
  const certificate = await X509CertificateGenerator.create({
    serialNumber: makeSerial(),
    subject: 'CN=sluiceway control port',
    issuer: ca.subjectName,
    ...validity(nowMs, notAfterMs),
    publicKey: keys.publicKey,
    signingKey,
    signingAlgorithm: ALGORITHM,
    extensions,
  });
  return pairOf(certificate, keys.privateKey);
}

/** Positive and of full length, as RFC 5280 wants: the first bit is 0, the second 1. */
function makeSerial(): string {
  const bytes = randomBytes(SERIAL_BYTES);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes.toString('hex');
}

function validity(nowMs: number, notAfterMs: number): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(nowMs - BACKDATE_MS), notAfter: new Date(notAfterMs) };
}

async function pairOf(
  certificate: X509Certificate,
  privateKey: webcrypto.CryptoKey,
): Promise<KeyPair> {
  const pkcs8 = await webcrypto.subtle.exportKey('pkcs8', privateKey);
  return {
    cert: `${certificate.toString('pem')}\n`,
    key: `${PemConverter.encode(pkcs8, 'PRIVATE KEY')}\n`,
  };
}

function importKey(pem: string): Promise<webcrypto.CryptoKey> {
  const pkcs8 = PemConverter.decodeFirst(pem);
  return webcrypto.subtle.importKey('pkcs8', pkcs8, ALGORITHM, false, ['sign']);
}
