// The links of one shard of the exit node: from the upgrade of a client's socket to its end.
//
// Invariant: a key is used once; what the links of a port were told last is told to those that
// were being greeted then, too; a link that has ended is nobody's route. Must not know: what links
// carry, or how sockets are upgraded.

import type { ErrorCode } from '../base/errors.ts';
import type { ExitShardMethods, LinkPort } from '../bridge/exit-messages.ts';
import type { Upgraded } from '../link/ws-handshake.ts';
import { WsLink } from '../link/ws-link.ts';
import type { OpenRequest } from '../mux/session-options.ts';
import type { Stream, StreamSink } from '../mux/stream.ts';
import type { LinkPeer } from './control-port.ts';
import { ExitLink, type ExitLinkOptions } from './exit-link.ts';

const LINK_PORTS: readonly LinkPort[] = ['control', 'visitors'];

/** What every link gets alike. */
type Shared = Pick<
  ExitLinkOptions,
  'shard' | 'settings' | 'bridge' | 'clock' | 'log' | 'forwards' | 'budgets'
>;

export interface ExitLinksOptions extends Shared {
  /** It takes no new streams: it leaves, or has ended. */
  readonly onLeaving: (key: string) => void;
  readonly onEnd: (code: ErrorCode) => void;
  /** A leaving link has no stream left. */
  readonly onIdle: () => void;
  /** Where ids begin on the first link, for tests of their end. */
  readonly firstId?: number;
}

export class ExitLinks {
  readonly #options: ExitLinksOptions;
  readonly #byKey = new Map<string, ExitLink>();
  #addedCount = 0;
  /** What links were told last, by the port by which they came. */
  readonly #leaving = new Map<LinkPort, ErrorCode>();

  constructor(options: ExitLinksOptions) {
    this.#options = options;
  }

  /** As they are now: one may be ended while it is walked. */
  list(): readonly ExitLink[] {
    return [...this.#byKey.values()];
  }

  isDoubted(key: string): boolean {
    return this.#byKey.get(key)?.session.isDoubted === true;
  }

  canOpen(key: string): boolean {
    return this.#byKey.get(key)?.session.canOpen === true;
  }

  /** A stream on the link that the request names, counted there; or why there is none. */
  open(request: OpenRequest, sink: StreamSink): Stream | ErrorCode {
    const exitLink = this.#byKey.get(request.link);
    if (exitLink === undefined) return 'SLW_STREAM_NO_LINK';
    const stream = exitLink.session.open(request, sink);
    if (typeof stream !== 'string') stream.addMeter(exitLink.meter);
    return stream;
  }

  get haveStreams(): boolean {
    for (const { session } of this.#byKey.values()) if (session.streamsCount > 0) return true;
    return false;
  }

  add({ socket, head }: Upgraded, peer: LinkPeer): void {
    const { onLeaving, onIdle, onEnd, firstId, ...shared } = this.#options;
    this.#addedCount += 1;
    const key = `${shared.shard}-${this.#addedCount}`;
    const exitLink: ExitLink = new ExitLink({
      ...shared,
      ...peer,
      key,
      firstId: this.#addedCount === 1 ? firstId : undefined,
      link: new WsLink({ socket, head, mask: 'none' }),
      onActive: () => {
        const code = this.#leaving.get(exitLink.port);
        if (code !== undefined) exitLink.leave(code);
      },
      onLeaving: () => onLeaving(key),
      onIdle,
      onEnd: (code) => {
        this.#byKey.delete(key);
        onLeaving(key);
        onEnd(code);
      },
    });
    this.#byKey.set(key, exitLink);
  }

  tick(nowMs: number): void {
    for (const exitLink of this.#byKey.values()) exitLink.tick(nowMs);
  }

  /** Tells all of these ports, and those to come, that they take no new streams. */
  leave(code: ErrorCode, ports = LINK_PORTS): void {
    for (const port of ports) this.#leaving.set(port, code);
    for (const exitLink of this.list()) if (ports.includes(exitLink.port)) exitLink.leave(code);
  }

  /** Links that come are here to stay again: after a take-over that failed. Gives those whose
   * clients were told to dial another. */
  stay(): readonly ExitLink[] {
    const told = this.list().filter(({ port }) => this.#leaving.has(port));
    this.#leaving.clear();
    return told;
  }

  grant(grants: ExitShardMethods['grants']['takes']): void {
    for (const { link, grant } of grants) this.#byKey.get(link)?.grant(grant);
  }

  doubt(keys: readonly string[]): void {
    for (const key of keys) this.#byKey.get(key)?.session.doubt();
  }

  close(keys: readonly string[], code: ErrorCode): void {
    for (const key of keys) this.#byKey.get(key)?.session.close(code);
  }

  closeAll(code: ErrorCode): void {
    for (const { session } of this.list()) session.close(code);
  }
}
