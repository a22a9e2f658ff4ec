// Whom a TLS client trusts that was given a CA file: what stands in it, and nobody else.
//
// Invariant: every certificate of the file is an end of a chain, also an intermediate without its
// root, and a server's own; by default Node wants a root. Without a file Node's own rule holds, as
// an intermediate of NODE_EXTRA_CA_CERTS is no more than a link. Servers cannot ask for this:
// `tls.Server` drops the option (Node 26). Must not know: which option named the file.

export interface Trusted {
  readonly ca?: string;
  readonly allowPartialTrustChain?: boolean;
}

/** Options of `tls.connect` and of requests; `ca` is PEM. */
export function trustIn(ca: string | undefined): Trusted {
  return ca === undefined ? {} : { ca, allowPartialTrustChain: true };
}
