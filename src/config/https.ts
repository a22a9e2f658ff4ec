// Values of the options for HTTPS: names that certificates are for, pairs of files, the issuer.
//
// Invariant: a name is a host of lower-case ASCII with at least two labels, or `*.` before one,
// exactly as a visitor's server name is compared; an issuer is an https URL. Must not know: how
// options depend on each other (https-check.ts), or how certificates are had.

import { isIP } from 'node:net';
import { readHostName } from '../base/target.ts';
import { InvalidText, type Kind, kindOf } from './option.ts';

export interface CertificateFiles {
  readonly name: string;
  readonly cert: string;
  readonly key: string;
}

const NAME_RIGHT = 'write a host name such as www.example.com';
const CERT_RIGHT = 'write NAME=CERT,KEY, such as example.com=/etc/tls/cert.pem,/etc/tls/key.pem';
const LABELS = /^(?!-)[a-z0-9-]+(?<!-)(\.(?!-)[a-z0-9-]+(?<!-))+$/;

/** Let's Encrypt's directories (letsencrypt.org/docs). */
const ISSUERS: Readonly<Record<string, string>> = {
  prod: 'https://acme-v02.api.letsencrypt.org/directory',
  staging: 'https://acme-staging-v02.api.letsencrypt.org/directory',
};

/** A name that a public authority issues for. */
export const certificateName: Kind<string> = kindOf('certificate name', 'HOST', readName, String);

export const certificateFiles: Kind<CertificateFiles> = kindOf(
  'certificate',
  'NAME=CERT,KEY',
  (text) => {
    const match = /^([^=]+)=([^,]+),([^,]+)$/.exec(text);
    if (match === null) return new InvalidText(`is not a certificate; ${CERT_RIGHT}`);
    const [, nameText = '', cert = '', key = ''] = match;
    const name = readName(nameText);
    if (name instanceof InvalidText) return new InvalidText(`has no valid name; ${CERT_RIGHT}`);
    return { name, cert: cert.trim(), key: key.trim() };
  },
  ({ name, cert, key }) => `${name}=${cert},${key}`,
);

export const issuer: Kind<string> = kindOf(
  'issuer',
  'prod|staging|URL',
  (text) => {
    const known = ISSUERS[text];
    if (known !== undefined) return known;
    if (URL.canParse(text) && new URL(text).protocol === 'https:') return new URL(text).href;
    return new InvalidText('is no issuer; write prod, staging, or the https URL of a directory');
  },
  (url) => Object.keys(ISSUERS).find((word) => ISSUERS[word] === url) ?? url,
);

/** Is `name` `pattern`, or below it when that is a wildcard? One label, as for certificates. */
export function coversName(pattern: string, name: string): boolean {
  if (!pattern.startsWith('*.')) return pattern === name;
  const dot = name.indexOf('.');
  return dot > 0 && name.slice(dot) === pattern.slice(1) && !name.startsWith('*');
}

function readName(text: string): string | InvalidText {
  const isWildcard = text.startsWith('*.');
  const bare = isWildcard ? text.slice(2) : text;
  const name = isIP(bare) === 0 ? readHostName(bare) : undefined;
  if (name === undefined || !LABELS.test(name)) {
    return new InvalidText(`is not a name to have a certificate for; ${NAME_RIGHT}`);
  }
  return isWildcard ? `*.${name}` : name;
}
