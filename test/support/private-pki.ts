// Certificates and servers of a test: CAs, leaves with any life and name, and control ports that
// serve a CA as the exit node does.
//
// Invariant: every server listens on loopback at a free port and is closed after the test. Must
// not know: what a client makes of them.

import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { issueLeaf, type KeyPair, makeAuthority } from '../../src/control/private-ca.ts';
import { undoAfter } from './cleanup.ts';

export const DAY_MS = 86_400_000;
const LOCAL_NAMES = 'subjectAltName=DNS:localhost,IP:127.0.0.1';

export interface LeafOptions {
  readonly names?: readonly string[];
  /** When it was made; now when left out. */
  readonly madeMs?: number;
}

export function leafOf(authority: KeyPair, options: LeafOptions = {}): Promise<KeyPair> {
  const { names = ['127.0.0.1', 'localhost'], madeMs = Date.now() } = options;
  return issueLeaf(authority, names, madeMs);
}

export function newAuthority(): Promise<KeyPair> {
  return makeAuthority(Date.now());
}

/** A port that serves `ca` at the place of the contract, with `leaf`. Gives its number. */
export async function serveCa(
  t: TestContext,
  leaf: KeyPair,
  ca: string,
  status = 200,
): Promise<number> {
  const server = createServer({ ...leaf }, (request, response) => {
    response.writeHead(request.url === '/.well-known/ca.crt' ? status : 404).end(ca);
  });
  // A client that refuses the certificate hangs up in the handshake.
  server.on('tlsClientError', () => undefined);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  undoAfter(t, () => {
    server.close();
    server.closeAllConnections();
  });
  return (server.address() as AddressInfo).port;
}

/** PEM of a leaf for this machine and of what is above and beside it. */
export interface Chain {
  readonly leaf: { readonly cert: string; readonly key: string };
  /** The intermediate that signed the leaf. */
  readonly issuing: string;
  /** Another intermediate of the same root. */
  readonly sibling: string;
}

export function makeChain(folder: string): Chain {
  const root = new ClientCa(folder, 'root');
  const [issuing, sibling] = [
    new ClientCa(folder, 'issuing', root),
    new ClientCa(folder, 'sibling', root),
  ];
  const { cert, key } = issuing.issue('leaf', '/CN=leaf', LOCAL_NAMES);
  const read = (file: string): string => readFileSync(file, 'utf8');
  const leaf = { cert: read(cert), key: read(key) };
  return { leaf, issuing: read(issuing.ca), sibling: read(sibling.ca) };
}

export interface ClientPair {
  readonly cert: string;
  readonly key: string;
}

/** Makes client certificates with openssl, as an operator would. */
export class ClientCa {
  readonly folder: string;
  readonly ca: string;
  readonly #name: string;

  /** A root, or an intermediate of `signer`, which has its files in the same folder. */
  constructor(folder: string, name = 'ca', signer?: ClientCa) {
    this.folder = folder;
    this.#name = name;
    this.ca = path.join(folder, `${name}.crt`);
    if (signer !== undefined) {
      signer.issue(name, `/CN=${name}`, 'basicConstraints=critical,CA:true');
      return;
    }
    this.#openssl(
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
      ...['-days', '10', '-subj', `/CN=${name}`, '-keyout', `${name}.key`, '-out', `${name}.crt`],
    );
  }

  /** Paths of a pair whose subject is `subject`. */
  issue(file: string, subject: string, extensions = 'extendedKeyUsage=clientAuth'): ClientPair {
    this.#openssl(
      ...['req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
      ...['-subj', subject, '-keyout', `${file}.key`, '-out', `${file}.csr`],
    );
    writeFileSync(path.join(this.folder, `${file}.ext`), `${extensions}\n`);
    this.#openssl(
      ...['x509', '-req', '-in', `${file}.csr`, '-days', '5', '-out', `${file}.crt`],
      ...['-CA', `${this.#name}.crt`, '-CAkey', `${this.#name}.key`, '-extfile', `${file}.ext`],
    );
    return {
      cert: path.join(this.folder, `${file}.crt`),
      key: path.join(this.folder, `${file}.key`),
    };
  }

  #openssl(...args: string[]): void {
    execFileSync('openssl', args, { cwd: this.folder, stdio: ['ignore', 'ignore', 'pipe'] });
  }
}
