// The new side of a take-over: waits until the clients of a predecessor have come.
//
// Invariant: the wait is bounded, and ends at once when the predecessor is gone: then its visitors
// are waiting. Must not know: how it is talked to, sockets, or what clients are.

import { type Clock, sleep } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import type { Moving } from './hand-over.ts';
import type { Inheritance } from './inheritance.ts';
import type { OpenTunnels, PublicPorts } from './public-ports.ts';

/** For clients to come over: some seconds for a slow way; a client that hangs is left behind. */
const CLIENTS_MS_MAX = 10_000;
const LOOK_MS = 20;

/** The process that is taken over from. */
export interface Predecessor {
  readonly inheritance: Inheritance;
  /** Tells it that this process could start; resolves when clients were told to come. */
  prepared(): Promise<Moving>;
  /** Tells it that visitors are served here. */
  ready(): void;
  /** Does it serve visitors of the tunnel, as far as it said? */
  serves(tunnel: string): boolean;
  readonly isGone: boolean;
  /** Undefined once it has ended. */
  readonly pid: number | undefined;
}

interface Arrived {
  isServed(tunnel: string): boolean;
  hasClient(id: string): boolean;
}

export interface SucceedOptions {
  readonly ports: Pick<PublicPorts, 'advance'>;
  readonly registry: OpenTunnels & Arrived;
  readonly openAdmin: () => Promise<void>;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Takes clients over, and then visitors. */
export async function succeed(predecessor: Predecessor, options: SucceedOptions): Promise<void> {
  const { ports, registry, openAdmin, log } = options;
  const moving = await predecessor.prepared();
  await ports.advance('control', registry);
  const missing = await awaitClients(predecessor, moving, options);
  if (missing > 0) log.warn({ clients: missing }, 'clients did not come in time');
  await ports.advance('all', registry);
  await openAdmin();
  predecessor.inheritance.closeRest();
}

/** Resolves to how many clients did not come in time. */
async function awaitClients(
  predecessor: Predecessor,
  { tunnels, clients }: Moving,
  { registry, clock }: SucceedOptions,
): Promise<number> {
  const deadlineMs = clock.nowMs() + CLIENTS_MS_MAX;
  for (;;) {
    const missing = clients.filter((id) => !registry.hasClient(id)).length;
    const isComplete = missing === 0 && tunnels.every((one) => registry.isServed(one));
    if (isComplete || predecessor.isGone || clock.nowMs() >= deadlineMs) return missing;
    await sleep(LOOK_MS);
  }
}
