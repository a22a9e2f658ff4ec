// What a client tells whoever runs it: one object an event, and the line that people see of some.
//
// Invariant: plain data, each with its name under `event`, so that it can be printed as JSON and
// matched by programs; added to, never changed. Must not know: who listens.

import type { ErrorCode } from '../base/errors.ts';

export type ClientEvent =
  /** Links are being dialled. */
  | { readonly event: 'started'; readonly client: string; readonly servers: readonly string[] }
  /** A server has a link again, or the first. */
  | { readonly event: 'connected'; readonly server: string }
  /** The last link to a server is lost, or a dial failed; it is dialled again. */
  | {
      readonly event: 'disconnected';
      readonly server: string;
      readonly code: ErrorCode;
      readonly reason: string;
      readonly attempts: number;
    }
  /** Visitors of a tunnel are served. */
  | {
      readonly event: 'tunnel-up';
      readonly tunnel: string;
      /** `http://example.com`, `tcp://tunnel.example.com:2222`, `tls://example.com`. */
      readonly url: string;
      readonly upstream: string;
      readonly server: string;
    }
  /** The server does not let this client serve it. */
  | {
      readonly event: 'tunnel-refused';
      readonly tunnel: string;
      readonly server: string;
      readonly code: string;
      readonly reason: string;
    }
  /** Its upstream is not well. */
  | { readonly event: 'tunnel-withdrawn'; readonly tunnel: string }
  /** A local port leads to the server's side. */
  | { readonly event: 'forward-up'; readonly listen: string; readonly target: string }
  /** Nothing more will come. */
  | { readonly event: 'ended'; readonly exitCode: number; readonly reason: string };

export type OnClientEvent = (event: ClientEvent) => void;

/** What people are told on stdout; undefined for what the log tells. */
export function lineOf(event: ClientEvent): string | undefined {
  if (event.event === 'tunnel-up') return `${event.url} -> ${event.upstream}`;
  if (event.event !== 'forward-up') return undefined;
  const { listen, target } = event;
  return target === 'socks5' ? `socks5://${listen}` : `tcp://${listen} -> ${target}`;
}
