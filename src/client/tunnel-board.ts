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

  /** True when a refused tunnel may be accepted later. */
  report(url: string, results: readonly TunnelAnswer[]): boolean {
    let isWorthRetrying = false;
    for (const { name, code, reason, scheme } of results) {
      const spec = this.#options.tunnels.find((tunnel) => tunnel.name === name);
      if (spec === undefined) continue;
      const key = `${url} ${name}`;
      const news = code === '' ? 'up' : code;
      if (isRetryable(code)) isWorthRetrying = true;
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
    return isWorthRetrying;
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
