// Whether a client serves: for probes of its pod, and for `status --local --ready`.
//
// Invariant: a client that has no server now is not ready; one whose upstream is ill is, as a new
// start would not cure that; one that has not looked at it yet is not, as nothing was offered, and
// the first look ends that by itself; one that drains is not. Must not know: who asks, or how.

import type { LocalServer, LocalStatus } from './local-status.ts';

type Told = Pick<LocalStatus, 'state' | 'servers'>;

/** What the health check of its upstream has found of a tunnel. */
const HELD_BACK = 'unhealthy';

/** Undefined: it is ready. Every tunnel has to be up on one server that it is connected to. */
export function whyNotReady({ state, servers }: Told): string | undefined {
  if (state !== 'running') return 'the client drains';
  const connected = servers.filter((server) => server.state === 'connected');
  if (connected.length === 0) return servers[0]?.lastError || 'is connected to no server';
  const names = new Set(connected.flatMap(({ tunnels }) => tunnels.map(({ name }) => name)));
  for (const name of names) {
    const states = connected.map((server) => stateOf(server, name));
    if (states.some((one) => one === 'up' || one === HELD_BACK)) continue;
    return `${name} is ${states[0]}`;
  }
  return undefined;
}

/** Do visitors of `tunnel` reach this client on one server at least? */
export function servesTunnel({ servers }: Pick<Told, 'servers'>, tunnel: string): boolean {
  return servers.some((server) => stateOf(server, tunnel) === 'up');
}

function stateOf({ tunnels }: LocalServer, name: string): string {
  return tunnels.find((tunnel) => tunnel.name === name)?.state ?? 'unknown';
}
