// What is said of a client that was applied: by its exit node, and by its Deployment.
//
//   names served, by the newest pods alone --> Served
//   pods that nobody lets start -------------> Refused
//   names served, by older pods too ---------> RollingOut, and ClientStuck when that takes too long
//   pods for longer than a start takes ------> NotServed, or ExitNodeUnreachable
//   else ------------------------------------> ClientStarting, and ClientStuck in the end
//
// Invariant: pure; `Served` is said of what is asked for now, as an older pod serves the same names
// to whom it was told to; a pod is only ready once its names are served, so that one that is not
// tells nothing of whose fault that is. Must not know: claims, or how a client is made.

import { wallMsOf } from '../base/clock.ts';
import { conditionOf, type Verdict } from './conditions.ts';
import type { DeploymentObject, ExitNodeObject } from './objects.ts';

export const READY = 'Ready';
export const REFUSED = 'Refused';
/** For an image to be pulled, the client to connect, and two probes. Guess. */
const START_WITHIN_MS = 30_000;
const UNDER_WAY: ReadonlySet<string> = new Set(['ClientStarting', 'ExitNodePending', 'RollingOut']);

/** What the exit node says of all names of a tunnel. */
export type Served = 'all' | 'unknown' | { readonly missing: readonly string[] };

export interface ClientObserved {
  readonly served: Served;
  readonly exitNode: ExitNodeObject;
  readonly deployment: DeploymentObject;
  readonly now: string;
}

export function readinessOf(observed: ClientObserved): Verdict {
  const { served, exitNode, deployment } = observed;
  const { name } = deployment.metadata;
  const node = `exit node ${exitNode.metadata.name}`;
  if (served === 'all' && isNewestAlone(deployment)) {
    return { status: 'True', reason: 'Served', message: `${node} serves all names` };
  }
  const refusal = conditionIn(deployment, 'ReplicaFailure', 'True');
  if (refusal !== undefined) {
    return notReady(REFUSED, `no pod of Deployment ${name} may start: ${refusal}`);
  }
  const delay = conditionIn(deployment, 'Progressing', 'False');
  const stuck = notReady('ClientStuck', `Deployment ${name}: ${delay}; its pods say why`);
  if (served === 'all') return delay === undefined ? rollingOut(deployment) : stuck;
  const isThere = isStarted(observed);
  if (served === 'unknown' && (isThere || isAway(exitNode))) {
    return notReady('ExitNodeUnreachable', `${node} cannot be asked`);
  }
  if (served !== 'unknown' && isThere) {
    const missing = served.missing.join(', ');
    const message = `${node} does not serve ${missing}; pods and log of Deployment ${name} say why`;
    return notReady('NotServed', message);
  }
  if (delay !== undefined) return stuck;
  return notReady('ClientStarting', `no pod of Deployment ${name} is available`);
}

/** All is served, and not yet only as it was asked for last. */
export function rollingOut(deployment: DeploymentObject): Verdict {
  const { updatedReplicas = 0 } = (isCurrent(deployment) ? deployment.status : undefined) ?? {};
  const count = `${updatedReplicas} of ${wantedReplicas(deployment)}`;
  const message =
    `${count} pods of Deployment ${deployment.metadata.name} are as was asked for last, ` +
    'and those before them serve as well';
  return { status: 'Unknown', reason: 'RollingOut', message };
}

export function notReady(reason: string, message: string): Verdict {
  return { status: 'False', reason, message };
}

/** It will be looked at again in a moment, and is no reason to worry. */
export function isUnderWay({ reason }: Pick<Verdict, 'reason'>): boolean {
  return UNDER_WAY.has(reason);
}

/** All pods are there, and no one of an older kind is left. */
export function isRolledOut(deployment: DeploymentObject): boolean {
  const { updatedReplicas = 0 } = deployment.status ?? {};
  return isNewestAlone(deployment) && updatedReplicas >= wantedReplicas(deployment);
}

/** Fewer than are wanted, perhaps. */
function isNewestAlone(deployment: DeploymentObject): boolean {
  const { updatedReplicas = 0, replicas = 0 } = deployment.status ?? {};
  return isCurrent(deployment) && updatedReplicas > 0 && replicas <= updatedReplicas;
}

function isCurrent({ metadata, status = {} }: DeploymentObject): boolean {
  return (status.observedGeneration ?? 0) >= (metadata.generation ?? 0);
}

function wantedReplicas({ spec }: DeploymentObject): number {
  return typeof spec.replicas === 'number' ? spec.replicas : 1;
}

/** There are pods, and have been for so long that they should serve. */
function isStarted({ deployment, now }: ClientObserved): boolean {
  const { replicas = 0, availableReplicas = 0, conditions = [] } = deployment.status ?? {};
  if (!isCurrent(deployment) || replicas === 0) return false;
  if (availableReplicas > 0 && isRolledOut(deployment)) return true;
  const times = conditions
    .flatMap(({ lastUpdateTime, lastTransitionTime }) => [lastUpdateTime, lastTransitionTime])
    .filter((time) => time !== undefined);
  return times.length > 0 && wallMsOf(now) - Math.max(...times.map(wallMsOf)) >= START_WITHIN_MS;
}

function isAway({ status }: ExitNodeObject): boolean {
  return conditionOf(status?.conditions, READY)?.status === 'False';
}

/** What a condition of the Deployment, as it is by now, says when it has this status. */
function conditionIn(
  deployment: DeploymentObject,
  type: string,
  status: 'True' | 'False',
): string | undefined {
  if (!isCurrent(deployment)) return undefined;
  const found = deployment.status?.conditions?.find((one) => one.type === type);
  return found?.status === status ? (found.message ?? found.reason ?? type) : undefined;
}
