// The options for HTTPS and their values: names that certificates are for, pairs of files, the
// issuer.
//
// Invariant: a name is a host of lower-case ASCII with at least two labels, or `*.` before one,
// exactly as a visitor's server name is compared; an issuer is an https URL. Must not know: how
// options depend on each other (https-check.ts), or how certificates are had.

import { isIP } from 'node:net';
import { readHostName } from '../base/target.ts';
import { addressOrOff, isSafeUrl } from './address.ts';
import { InvalidText, type Kind, kindOf, LINES, many, one, optional } from './option.ts';
import { boolean, choice, integer, path, text } from './quantity.ts';

export interface CertificateFiles {
  readonly name: string;
  readonly cert: string;
  readonly key: string;
}

const YEARS_2_SECONDS = 63_072_000;
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

const ISSUER_RIGHT = 'write prod, staging, or the https URL of a directory, without a login';

export const issuer: Kind<string> = kindOf(
  'issuer',
  'prod|staging|URL',
  (text) => {
    const known = ISSUERS[text];
    if (known !== undefined) return known;
    const href = URL.canParse(text) ? new URL(text).href : '';
    if (href.startsWith('https:') && isSafeUrl(href)) return href;
    return new InvalidText(`is no issuer; ${ISSUER_RIGHT}`);
  },
  (url) => Object.keys(ISSUERS).find((word) => ISSUERS[word] === url) ?? url,
);

export const HTTPS_OPTIONS = {
  'https-addr': one(addressOrOff, {
    default: 'off',
    defaultText: 'off, 0.0.0.0:443 with certificates',
    help: 'HTTPS tunnels, by the name that the visitor asks for',
  }),
  'https-cert': many(certificateFiles, {
    help: 'certificate and key files of a host or wildcard; read again when they change',
    separators: LINES,
  }),
  'https-redirect': one(boolean, { default: 'false', help: 'send plain HTTP requests to HTTPS' }),
  hsts: one(integer({ min: 1, max: YEARS_2_SECONDS, autoWord: 'off' }), {
    default: 'off',
    help: 'Strict-Transport-Security on responses over HTTPS, with this max-age in seconds',
  }),
  'letsencrypt-domain': many(certificateName, {
    help: 'get a certificate for this host; *.example.com needs --letsencrypt-dns-hook',
  }),
  'letsencrypt-on-demand': many(certificateName, {
    help: 'get one for hosts that clients serve and that this covers, such as *.example.com',
  }),
  'letsencrypt-issuer': one(issuer, {
    default: 'prod',
    help: "Let's Encrypt's prod or staging, or the URL of another ACME directory",
  }),
  'letsencrypt-email': optional(
    text('EMAIL', /^[^\s@,]+@[^\s@,]+$/, 'is not an e-mail address; write name@example.com'),
    { help: 'where the issuer may write to' },
  ),
  'letsencrypt-ca-file': optional(path, { help: 'trust this CA for the issuer itself, PEM' }),
  'letsencrypt-challenge': one(choice(['auto', 'http-01', 'tls-alpn-01', 'dns-01'], 'CHALLENGE'), {
    default: 'auto',
    help: 'auto: dns-01 for wildcards, http-01 with --http-addr, else tls-alpn-01',
  }),
  'letsencrypt-dns-hook': optional(text('CMD', /\S/, 'is empty; write a command'), {
    help: 'command for dns-01, run with ACTION=present or cleanup, DOMAIN, NAME and VALUE',
  }),
  'letsencrypt-dir': optional(path, { help: 'folder of the account and the certificates' }),
};

/** Is `name` `pattern`, or below it when that is a wildcard? One label, as for certificates. */
export function coversName(pattern: string, name: string): boolean {
  if (!pattern.startsWith('*.')) return pattern === name;
  const dot = name.indexOf('.');
  return dot > 0 && name.slice(dot) === pattern.slice(1) && !name.startsWith('*');
}

/** May an issuer put it in a certificate? Names of tunnels may have underscores, those may not. */
export function isCertificateHost(host: string): boolean {
  return LABELS.test(host);
}

function readName(text: string): string | InvalidText {
  const isWildcard = text.startsWith('*.');
  const bare = isWildcard ? text.slice(2) : text;
  const name = isIP(bare) === 0 ? readHostName(bare) : undefined;
  if (name === undefined || !isCertificateHost(name)) {
    return new InvalidText(`is not a name to have a certificate for; ${NAME_RIGHT}`);
  }
  return isWildcard ? `*.${name}` : name;
}
