// What a client says of itself to its own user: servers, links, tunnels, and how much went through.
//
// Invariant: holds nothing that a log would not: labels, addresses, numbers. Must not know: who
// asks, or how it is sent.

import { isoTimeOf } from '../base/clock.ts';
import type { LinkSample, UpstreamFailure } from '../bridge/shard-sample.ts';

export interface LocalLink {
  readonly link: string;
  /** `moved`: it serves until its successor does, with the server that takes over. */
  readonly state: 'dialling' | 'up' | 'moved' | 'leaving';
  /** Of the server; -1 before it has said. */
  readonly serverShard: number;
  /** 0 before the first answer to a ping. */
  readonly rttMs: number;
  readonly streams: number;
  /** From visitors. */
  readonly bytesIn: number;
  readonly bytesOut: number;
}

export interface LocalServer {
  readonly url: string;
  readonly state: 'connected' | 'connecting' | 'given up';
  /** Of the last failure; empty when there was none since it was connected. */
  readonly lastError: string;
  readonly links: readonly LocalLink[];
  readonly tunnels: readonly LocalTunnel[];
}

export interface LocalTunnel {
  readonly name: string;
  readonly label: string;
  /** `up`, `waiting`, or the code of its refusal. */
  readonly state: string;
  /** Why and when its upstream could not be connected to, last; absent: it never was so. */
  readonly upstreamError?: UpstreamError;
}

export interface UpstreamError {
  /** `ECONNREFUSED` and the like: a code, and no text of anybody's. */
  readonly code: string;
  readonly time: string;
}

/** A port of the client's own. */
export interface LocalForwardView {
  /** `127.0.0.1:4222`. */
  readonly listen: string;
  /** `nats.default.svc:4222`, or `socks5`. */
  readonly target: string;
}

export interface LocalStatus {
  readonly clientID: string;
  readonly pid: number;
  readonly version: string;
  readonly since: string;
  readonly state: 'running' | 'draining' | 'stopped';
  readonly servers: readonly LocalServer[];
  readonly forwards: readonly LocalForwardView[];
}

export interface LinkView {
  readonly link: string;
  readonly state: LocalLink['state'];
  readonly serverShard: number;
}

/** Links by which visitors come. */
export function servingLinks({ links }: Pick<LocalServer, 'links'>): LocalServer['links'] {
  return links.filter(({ state }) => state === 'up' || state === 'moved');
}

/** Joins what control knows of a link with what its shard has counted. */
export function describeLink(view: LinkView, sample: LinkSample | undefined): LocalLink {
  const roundTripMs = sample?.roundTripMs ?? 0;
  return {
    ...view,
    rttMs: Math.round(roundTripMs * 100) / 100,
    streams: sample?.streams ?? 0,
    // What comes from the server is what visitors sent.
    bytesIn: sample?.bytesIn ?? 0,
    bytesOut: sample?.bytesOut ?? 0,
  };
}

export function describeFailure(
  failure: UpstreamFailure | undefined,
): Pick<LocalTunnel, 'upstreamError'> {
  if (failure === undefined) return {};
  return { upstreamError: { code: failure.code, time: isoTimeOf(failure.wallMs) } };
}
