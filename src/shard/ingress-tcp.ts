// TCP visitors: a connection on a tunnel's port becomes a stream to a client.
//
// Invariant: a visitor whom nobody can serve is closed at once, without a byte of ours; beyond the
// limit of connections likewise. Must not know: which ports there are; the listeners call it.

import type { Socket } from 'node:net';
import type { Clock } from '../base/clock.ts';
import type { Router } from './router.ts';
import { cutSocket, type RelayLimits, SocketRelay } from './socket-relay.ts';

export interface TcpIngressOptions {
  readonly router: Router;
  readonly limits: RelayLimits & { readonly visitorConnectionsMax: number };
  readonly clock: Clock;
}

export class TcpIngress {
  readonly #options: TcpIngressOptions;
  readonly #relays = new Set<SocketRelay>();

  constructor(options: TcpIngressOptions) {
    this.#options = options;
  }

  get connectionsCount(): number {
    return this.#relays.size;
  }

  accept(tunnel: string, socket: Socket): void {
    const { router, limits, clock } = this.#options;
    const { remoteAddress: address, remotePort: port } = socket;
    const isOver = this.#relays.size >= limits.visitorConnectionsMax;
    // Without an address the visitor is gone already.
    if (isOver || address === undefined || port === undefined) {
      socket.on('error', ignoreCut);
      cutSocket(socket);
      return;
    }
    const nowMs = clock.nowMs();
    const relay = new SocketRelay({ socket, limits, state: 'open', nowMs, relays: this.#relays });
    const stream = router.openStream(tunnel, { address, port }, relay);
    if (typeof stream === 'string') relay.abort(stream);
    else relay.join(stream);
  }

  sweep(nowMs: number): void {
    for (const relay of this.#relays) relay.sweep(nowMs);
  }
}

function ignoreCut(): void {
  // The socket is being cut; what it has to say changes nothing.
}
