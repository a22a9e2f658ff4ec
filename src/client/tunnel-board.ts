// What the client has told its user of each tunnel: up, or refused and why.
//
// Invariant: one line a tunnel and server when it first comes up; a refusal is told once until its
// reason changes; what a server said before its links were lost is no news when it says so again,
// and is not how it is until then. Must not know: links, or where lines are printed.

import { ERRORS, type ErrorCode } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { showTarget } from '../base/target.ts';
import type { TunnelAnswer } from '../bridge/exit-messages.ts';
import type { TunnelSpec } from '../config/tunnel.ts';
import type { OnClientEvent } from './events.ts';

/** A refused tunnel that may be accepted later is offered again after so long. Guess. */
const SOON_MS = 15_000;
/** For what somebody has to change a file of the server first. Guess. */
const LATER_MS = 60_000;

/**
 * Refusals of no use to try at once, but not for good: links live for months, and so does what
 * they were told. The others end with a restart of the server, which brings a new link.
 */
const PASSING: ReadonlyMap<string, number> = new Map<ErrorCode, number>([
  // For want of a descriptor, or of an address that is not there yet.
  ['SLW_LISTEN_FAILED', SOON_MS],
  // Tokens and login providers are read again live.
  ['SLW_TUNNEL_NOT_ALLOWED', LATER_MS],
  ['SLW_TUNNEL_OPTION', LATER_MS],
]);

export interface TunnelBoardOptions {
  readonly tunnels: readonly TunnelSpec[];
  readonly log: Logger;
  readonly onEvent: OnClientEvent;
}

export class TunnelBoard {
  readonly #options: TunnelBoardOptions;
  /** `up`, or the code of the last refusal, by server and tunnel. */
  readonly #told = new Map<string, string>();
  /** The same, without what servers said before their links were lost. */
  readonly #states = new Map<string, string>();

  constructor(options: TunnelBoardOptions) {
    this.#options = options;
  }

  /** After how long tunnels are to be offered again; undefined: nothing was refused for now. */
  report(url: string, results: readonly TunnelAnswer[]): number | undefined {
    let againMs = Number.POSITIVE_INFINITY;
    for (const { name, code, reason, scheme } of results) {
      const spec = this.#options.tunnels.find((tunnel) => tunnel.name === name);
      if (spec === undefined) continue;
      const key = `${url} ${name}`;
      const news = code === '' ? 'up' : code;
      againMs = Math.min(againMs, offerAgainMs(code));
      this.#states.set(key, news);
      if (this.#told.get(key) === news) continue;
      const wasUp = this.#told.get(key) === 'up';
      this.#told.set(key, news);
      if (code !== '') {
        this.#options.log.error({ tunnel: name, url, code, reason }, 'tunnel refused');
        this.#options.onEvent({ event: 'tunnel-refused', tunnel: name, server: url, code, reason });
      } else if (!wasUp) {
        this.#options.log.info({ tunnel: name, url }, 'tunnel up');
        const [shown, upstream] = describe(spec, url, scheme === 'https' ? 'https' : 'http');
        const about = { tunnel: name, url: shown, upstream, server: url };
        this.#options.onEvent({ event: 'tunnel-up', ...about });
      }
    }
    return Number.isFinite(againMs) ? againMs : undefined;
  }

  /** Its upstream is not well: it comes up anew when it is. True: it was up. */
  withdraw(name: string): boolean {
    const keys = [...this.#told.keys()].filter((key) => key.endsWith(` ${name}`));
    for (const key of keys) this.#states.delete(key);
    return keys.filter((key) => this.#told.get(key) === 'up' && this.#told.delete(key)).length > 0;
  }

  /** Its links are all new: what was registered on those before them has gone with them. */
  beginAnew(url: string): void {
    for (const { name } of this.#options.tunnels) this.#states.delete(`${url} ${name}`);
  }

  /** `up`, the code of its refusal, or `waiting`, as its links say. */
  stateOf(url: string, name: string): string {
    return this.#states.get(`${url} ${name}`) ?? 'waiting';
  }
}

/** Infinite for what is accepted, and for what is refused for good. */
function offerAgainMs(code: string): number {
  return isRetryable(code) ? SOON_MS : (PASSING.get(code) ?? Number.POSITIVE_INFINITY);
}

/** Codes come from the server, whose table may be another. */
export function isRetryable(code: string): boolean {
  return Object.hasOwn(ERRORS, code) && ERRORS[code as ErrorCode].retryable;
}

/** `https://example.com` and `http://127.0.0.1:3000`, `tcp://host:2222` and `127.0.0.1:22`,
 * `udp://host:5353` and `127.0.0.1:53`, `tls://example.com` and `127.0.0.1:443`. */
function describe(
  { name, kind, upstream }: TunnelSpec,
  url: string,
  visitorScheme: 'http' | 'https',
): [url: string, to: string] {
  const { path, folder } = upstream;
  if (folder !== undefined) return [`${visitorScheme}://${name}`, `fileserver:${folder}`];
  const address = path === undefined ? showTarget(upstream) : `unix:${path}`;
  if (kind === 'tcp' || kind === 'udp') {
    const port = name.slice(kind.length + 1);
    return [`${kind}://${new URL(url).hostname}:${port}`, address];
  }
  if (kind === 'tls') return [name.replace(':', '://'), address];
  const scheme = upstream.tls ? 'https' : 'http';
  return [`${visitorScheme}://${name}`, `${path === undefined ? `${scheme}://` : ''}${address}`];
}
