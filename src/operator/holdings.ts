// What a tunnel holds, and where: names on its exit node, and those that its client may still serve
// on another one, which it is about to leave.
//
// Invariant: pure; what a client was started for is held until no pod of it is left, wherever the
// tunnel has been pointed at since. Must not know: who else wants a name.

import type {
  DeploymentObject,
  ExitNodeObject,
  Holding,
  TunnelObject,
  TunnelStatus,
} from './objects.ts';

export type Holdings = Pick<TunnelStatus, 'exitNode' | 'claims' | 'leaving'>;

export function holdingsOf({ status = {} }: TunnelObject): readonly Holding[] {
  const { exitNode, claims, leaving } = status;
  const here = exitNode === undefined ? [] : [{ exitNode, claims: claims ?? [] }];
  return [...here, ...(leaving ?? [])];
}

export function heldOn(tunnel: TunnelObject, exitNode: string): readonly string[] {
  return holdingsOf(tunnel)
    .filter((one) => one.exitNode === exitNode)
    .flatMap(({ claims }) => claims);
}

export function isHolding(tunnel: TunnelObject, exitNode: string): boolean {
  return holdingsOf(tunnel).some((one) => one.exitNode === exitNode);
}

/** Names that the first one holds and the second does not. */
export function isFreed(before: TunnelObject | undefined, after: TunnelObject | undefined) {
  return (before === undefined ? [] : holdingsOf(before)).some(({ exitNode, claims }) => {
    const kept = new Set(after === undefined ? [] : heldOn(after, exitNode));
    return claims.some((name) => !kept.has(name));
  });
}

interface Observed {
  readonly tunnel: TunnelObject;
  /** The client's. */
  readonly deployment: DeploymentObject | undefined;
  readonly exitNodes: readonly ExitNodeObject[];
}

/**
 * These names on this exit node, with all that a client of before may still serve: two upstreams of
 * one name would take turns. On other exit nodes as far as they are there, so on no more than that.
 */
export function heldOnceMoved(
  { tunnel, deployment, exitNodes }: Observed,
  exitNode: string,
  names: readonly string[],
): Holdings {
  const before = deployment === undefined ? [] : holdingsOf(tunnel);
  const there = new Set(exitNodes.map(({ metadata }) => metadata.name));
  const here = before.filter((one) => one.exitNode === exitNode).flatMap(({ claims }) => claims);
  const claims = [...new Set([...names, ...here])];
  const leaving = before.filter(
    (one) => one.exitNode !== exitNode && one.claims.length > 0 && there.has(one.exitNode),
  );
  return {
    exitNode,
    ...(claims.length === 0 ? {} : { claims }),
    ...(leaving.length === 0 ? {} : { leaving }),
  };
}
