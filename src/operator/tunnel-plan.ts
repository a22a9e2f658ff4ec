// From a tunnel as it is to what has to be done for it: names claimed, a client running, a status.
//
//   deleted ----------> client and own exit node removed, then the finalizer
//   cannot be served --> no client, no claim, no address: a condition and an event say why
//   else -------------> claims written, then the client applied, then what the exit node says of it
//
// Invariant: pure; a client is never started for a name that is not claimed; a tunnel has all of
// its names or none. Must not know: how anything was observed.

import { createHash } from 'node:crypto';
import type { Transport } from '../base/port-name.ts';
import type { Action, EventOrder, Plan } from './actions.ts';
import { type ClaimProblem, claimProblem, claimsOf, portsOf, saidPorts } from './claims.ts';
import { type ClientTarget, clientDeployment, clientProblem } from './client-deployment.ts';
import {
  isRolledOut,
  isUnderWay,
  notReady,
  READY,
  REFUSED,
  readinessOf,
  rollingOut,
  type Served,
} from './client-readiness.ts';
import { conditionOf, isNews, type Verdict, withConditions } from './conditions.ts';
import { covers } from './drift.ts';
import { type Holdings, heldOnceMoved } from './holdings.ts';
import {
  type DeploymentObject,
  type ExitNodeObject,
  GROUP,
  TUNNEL_API,
  type TunnelObject,
  type TunnelStatus,
} from './objects.ts';
import { MANAGED_LABELS, type OperatorSettings } from './settings.ts';

const ACCEPTED = 'Accepted';
export const TUNNEL_FINALIZER = `${GROUP}/client`;
/** On an exit node of a single tunnel: whose it is. */
export const OWN_EXIT_NODE = {
  namespace: `${GROUP}/tunnel-namespace`,
  name: `${GROUP}/tunnel`,
  uid: `${GROUP}/tunnel-uid`,
} as const;

export interface TunnelObserved {
  readonly tunnel: TunnelObject;
  readonly exitNodes: readonly ExitNodeObject[];
  readonly others: readonly TunnelObject[];
  /** The client's. */
  readonly deployment: DeploymentObject | undefined;
  /** Its generation as the API answered what was applied last; undefined: not known. */
  readonly applied?: number | undefined;
  readonly served: Served;
  /** Services of the tunnel's namespace that are of type ExternalName. */
  readonly externalNames: ReadonlySet<string>;
  /** Why the API would not take what was planned before this. */
  readonly refusal?: string | undefined;
  readonly settings: OperatorSettings;
  readonly now: string;
}

export function planTunnel(observed: TunnelObserved): Plan {
  const { tunnel } = observed;
  if (tunnel.metadata.deletionTimestamp !== undefined) return planRemoval(observed);
  const guard = hasFinalizer(tunnel) ? [] : [finalizers(tunnel, 'add')];
  const plan = planServing(observed);
  return { ...plan, actions: [...guard, ...plan.actions] };
}

function planRemoval({ tunnel, deployment, exitNodes }: TunnelObserved): Plan {
  if (!hasFinalizer(tunnel)) return { actions: [], next: 'settled' };
  const owns = ownExitNodes(tunnel, exitNodes);
  if (deployment === undefined && owns.length === 0) {
    return { actions: [finalizers(tunnel, 'remove')], next: 'settled' };
  }
  return {
    actions: [...removeClient(deployment), ...owns.flatMap(removeExitNode)],
    next: 'waiting',
  };
}

function planServing(observed: TunnelObserved): Plan {
  const { tunnel, exitNodes, settings } = observed;
  const wanted = tunnel.spec.exitNode ?? settings.exitNode;
  const named = exitNodes.find(({ metadata }) => metadata.name === wanted);
  const problem = exitNodeProblem(tunnel, wanted, named);
  if (problem !== undefined || named === undefined) return planRefusal(observed, problem);
  const isTemplate = named.spec.allocation === 'PerTunnel';
  const foreign = upstreamProblem(tunnel, observed.externalNames);
  if (foreign !== undefined) return planRefusal(observed, foreign);
  const claims = claimsOf(tunnel.spec);
  if ('reason' in claims) return planRefusal(observed, claims);
  const wrong = clientProblem(tunnel);
  if (wrong !== undefined) {
    return planRefusal(observed, { reason: 'InvalidSpec', message: wrong });
  }
  if (!isTemplate) return planClient(observed, named, claims);
  const own = ownExitNodes(tunnel, exitNodes).find((one) => isOf(one, named));
  if (own !== undefined) return planClient(observed, own, claims);
  const name = copyName(tunnel, named);
  const ready = notReady('ExitNodePending', 'an exit node of its own is being made');
  const held = heldOnceMoved(observed, name, []);
  const status = { ...held, ...placeBefore(observed, held) };
  return {
    actions: [
      ...removeStrays(observed, status),
      { do: 'apply', object: copyFor(tunnel, named) },
      ...report(observed, { ready, status }),
    ],
    next: 'waiting',
  };
}

function planClient(
  observed: TunnelObserved,
  exitNode: ExitNodeObject,
  claims: readonly string[],
): Plan {
  const { tunnel, others, deployment, settings } = observed;
  const conflict = claimProblem(claims, { tunnel, exitNode, others });
  if (conflict !== undefined) return planRefusal(observed, conflict);
  const target = targetOf(exitNode);
  const { name } = exitNode.metadata;
  const accepted: Verdict = {
    ...{ status: 'True', reason: 'Accepted' },
    message: `all names are held on exit node ${name}`,
  };
  const held = heldOnceMoved(observed, name, claims);
  if (target === undefined) {
    const ready = notReady('ExitNodePending', `exit node ${name} has no address yet`);
    const status = { ...held, ...placeBefore(observed, held) };
    const actions = [
      ...removeStrays(observed, status),
      ...report(observed, { ready, accepted, status }),
    ];
    return { actions, next: 'waiting' };
  }
  const addresses = exitNode.status?.addresses ?? [];
  const wanted = clientDeployment(tunnel, target, settings);
  const isGoing = deployment?.metadata.deletionTimestamp !== undefined;
  const isSame = deployment !== undefined && !isGoing && isAsWanted(observed, deployment, wanted);
  // One that is going is waited for: what is written to it goes with it.
  const isToApply = !isSame && !isGoing && observed.refusal === undefined;
  const isThere = isSame && isRolledOut(deployment);
  const ready = isSame ? readinessOf({ ...observed, deployment, exitNode }) : startOf(observed);
  const place = {
    ...{ addresses, endpoints: endpointsOf(tunnel, addresses) },
    clientDeployment: wanted.metadata.name,
  };
  const status = isThere
    ? { exitNode: name, claims, ...place }
    : { ...held, ...(placeBefore(observed, held) ?? place) };
  return {
    // The names are written down before anybody is asked to serve them.
    actions: [
      ...removeStrays(observed, status),
      ...report(observed, { ready, accepted, status }),
      ...(isToApply ? [{ do: 'apply', object: wanted } as const] : []),
    ],
    next: ready.status === 'True' ? 'settled' : isUnderWay(ready) ? 'waiting' : 'blocked',
  };
}

/**
 * As it was applied, or as the cluster made it of that: admission may rewrite what it is given, and
 * would again. Whoever changes the spec since then makes another generation of it.
 */
function isAsWanted(
  { applied }: TunnelObserved,
  found: DeploymentObject,
  wanted: DeploymentObject,
): boolean {
  if (covers(found, wanted)) return true;
  return applied === found.metadata.generation && covers(found.metadata, wanted.metadata);
}

/** What was refused stays so until it was taken: each try again would be news otherwise. */
function startOf({ tunnel, refusal, served, deployment }: TunnelObserved): Verdict {
  if (refusal !== undefined) return notReady(REFUSED, refusal);
  const before = conditionOf(tunnel.status?.conditions, READY);
  const isSame = before?.observedGeneration === tunnel.metadata.generation;
  if (before?.reason === REFUSED && isSame) return before;
  const isReplaced =
    deployment !== undefined && deployment.metadata.deletionTimestamp === undefined;
  if (served === 'all' && isReplaced) return rollingOut(deployment);
  return notReady('ClientStarting', 'the client is being started');
}

/**
 * Nothing of it runs, and nobody is kept from what it cannot have. An exit node of its own stays:
 * a slip that is put right is not to cost it its machine, and the address that DNS names.
 */
function planRefusal(observed: TunnelObserved, problem: ClaimProblem | undefined): Plan {
  const { reason, message } = problem ?? { reason: 'NoExitNode', message: 'there is none' };
  const verdict: Verdict = { status: 'False', reason, message };
  return {
    actions: [
      ...removeClient(observed.deployment),
      ...report(observed, { ready: verdict, accepted: verdict, status: stillHeld(observed) }),
    ],
    next: 'blocked',
  };
}

type Place = Pick<TunnelStatus, 'addresses' | 'endpoints' | 'clientDeployment'>;

/** Where visitors find it until its client has followed it to another exit node. */
function placeBefore(
  { tunnel, exitNodes }: TunnelObserved,
  { leaving = [] }: Holdings,
): Place | undefined {
  const { addresses, endpoints, clientDeployment } = tunnel.status ?? {};
  const isServing = exitNodes.some(
    ({ metadata, status }) =>
      metadata.deletionTimestamp === undefined &&
      (status?.addresses ?? []).length > 0 &&
      leaving.some(({ exitNode }) => exitNode === metadata.name),
  );
  if (!isServing || !addresses || !endpoints || !clientDeployment) return undefined;
  return { addresses, endpoints, clientDeployment };
}

/** What is held though it cannot be served, while the client has not ended. */
function stillHeld({ tunnel, deployment }: TunnelObserved): Holdings {
  const { exitNode, claims, leaving } = tunnel.status ?? {};
  const hasNone = claims === undefined && leaving === undefined;
  if (deployment === undefined || exitNode === undefined || hasNone) return {};
  return {
    exitNode,
    ...(claims === undefined ? {} : { claims }),
    ...(leaving === undefined ? {} : { leaving }),
  };
}

function exitNodeProblem(
  { metadata }: TunnelObject,
  wanted: string | undefined,
  found: ExitNodeObject | undefined,
): ClaimProblem | undefined {
  if (wanted === undefined) {
    const message = 'no exit node is named, and the operator has no --exit-node for such tunnels';
    return { reason: 'NoExitNode', message };
  }
  if (found === undefined || found.metadata.deletionTimestamp !== undefined) {
    return { reason: 'ExitNodeNotFound', message: `there is no exit node ${wanted}` };
  }
  const { allowedNamespaces: allowed } = found.spec;
  if (allowed === undefined || allowed.includes(metadata.namespace ?? '')) return undefined;
  const message = `exit node ${wanted} is not for namespace ${metadata.namespace}`;
  return { reason: 'ExitNodeNotAllowed', message };
}

/** Names of the Services that a tunnel leads to. */
export function upstreamNames({ spec }: TunnelObject): readonly string[] {
  const { tcp = [], udp = [], upstreams = [] } = spec;
  return [...tcp, ...udp, ...upstreams].map(({ service }) => service.name);
}

/** Such a Service is an alias in DNS, of another namespace or of anything that a pod can reach. */
function upstreamProblem(
  tunnel: TunnelObject,
  externalNames: ReadonlySet<string>,
): ClaimProblem | undefined {
  const name = upstreamNames(tunnel).find((one) => externalNames.has(one));
  if (name === undefined) return undefined;
  const message = `Service ${name} is of type ExternalName, which leads out of its namespace`;
  return { reason: 'ServiceNotAllowed', message };
}

function targetOf({ spec, status }: ExitNodeObject): ClientTarget | undefined {
  const { url, tokenSecret, caFingerprint, addresses = [] } = status ?? {};
  if (url === undefined || tokenSecret === undefined || addresses.length === 0) return undefined;
  return { url, tokenSecret, caFingerprint: spec.caFingerprint ?? caFingerprint };
}

function endpointsOf({ spec }: TunnelObject, addresses: readonly string[]): readonly string[] {
  const [first = ''] = addresses;
  const host = first.includes(':') ? `[${first}]` : first;
  return [
    ...(spec.tcp ?? []).map(({ publicPort }) => `tcp://${host}:${publicPort}`),
    ...(spec.udp ?? []).map(({ publicPort }) => `udp://${host}:${publicPort}`),
    ...(spec.upstreams ?? []).map(({ host: name, path = '', scheme }) =>
      scheme === 'tls' ? `tls://${name}` : `http://${name}${path}`,
    ),
  ];
}

interface Report {
  readonly ready: Verdict;
  readonly accepted?: Verdict;
  readonly status: Omit<TunnelStatus, 'conditions'>;
}

/** What a status has no more is taken away by `null`, as patches merge. */
const EMPTY = {
  ...{ exitNode: null, claims: null, leaving: null, addresses: null, endpoints: null },
  clientDeployment: null,
};

function report({ tunnel, now }: TunnelObserved, { ready, accepted, status }: Report): Action[] {
  const { metadata, status: before = {} } = tunnel;
  const { name, namespace, resourceVersion, generation } = metadata;
  const verdicts = { [READY]: ready, ...(accepted === undefined ? {} : { [ACCEPTED]: accepted }) };
  const conditions = withConditions(before.conditions, verdicts, { now, generation });
  const wanted = { ...EMPTY, ...status, observedGeneration: generation, conditions };
  const isSame = Object.entries(wanted).every(([key, value]) =>
    covers(before[key as keyof TunnelStatus] ?? null, value),
  );
  if (isSame) return [];
  const isToTell = isNews(conditionOf(before.conditions, READY), ready);
  const event = { about: tunnel, ...newsOf(ready) };
  return [
    {
      do: 'write-status',
      ref: { kind: 'Tunnel', namespace, name },
      status: wanted,
      resourceVersion,
    },
    ...(isToTell ? [{ do: 'tell', event } as const] : []),
  ];
}

/** How a verdict is told: what is under way is no reason to worry. */
export function newsOf({ status, reason, message }: Verdict): Omit<EventOrder, 'about'> {
  const isFine = status === 'True' || isUnderWay({ reason });
  return { type: isFine ? 'Normal' : 'Warning', reason, message };
}

function hasFinalizer({ metadata }: TunnelObject): boolean {
  return metadata.finalizers?.includes(TUNNEL_FINALIZER) === true;
}

function finalizers({ metadata }: TunnelObject, change: 'add' | 'remove'): Action {
  const { name, namespace, resourceVersion } = metadata;
  const others = (metadata.finalizers ?? []).filter((one) => one !== TUNNEL_FINALIZER);
  return {
    do: 'set-finalizers',
    ref: { kind: 'Tunnel', namespace, name },
    finalizers: change === 'add' ? [...others, TUNNEL_FINALIZER] : others,
    resourceVersion,
  };
}

function removeClient(deployment: DeploymentObject | undefined): readonly Action[] {
  if (deployment === undefined || deployment.metadata.deletionTimestamp !== undefined) return [];
  const { name, namespace, uid } = deployment.metadata;
  return [{ do: 'delete', ref: { kind: 'Deployment', namespace, name }, uid }];
}

function removeExitNode({ metadata }: ExitNodeObject): readonly Action[] {
  const { name, uid, deletionTimestamp } = metadata;
  if (deletionTimestamp !== undefined) return [];
  return [{ do: 'delete', ref: { kind: 'ExitNode', name }, uid }];
}

/** Exit nodes of its own where it neither is nor is served any more. */
function removeStrays(
  { tunnel, exitNodes }: TunnelObserved,
  { exitNode, leaving = [] }: Holdings,
): readonly Action[] {
  const needed = new Set([exitNode, ...leaving.map((one) => one.exitNode)]);
  return ownExitNodes(tunnel, exitNodes)
    .filter(({ metadata }) => !needed.has(metadata.name))
    .flatMap(removeExitNode);
}

/** More than one while its client follows it from one to the next. */
function ownExitNodes(
  { metadata }: TunnelObject,
  exitNodes: readonly ExitNodeObject[],
): readonly ExitNodeObject[] {
  return exitNodes.filter((one) => one.metadata.labels?.[OWN_EXIT_NODE.uid] === metadata.uid);
}

const TEMPLATE_LABEL = `${GROUP}/template`;

function isOf(own: ExitNodeObject, { metadata }: ExitNodeObject): boolean {
  return own.metadata.labels?.[TEMPLATE_LABEL] === metadata.name;
}

function copyName({ metadata }: TunnelObject, template: ExitNodeObject): string {
  const hash = createHash('sha256')
    .update(`${metadata.uid ?? ''} ${template.metadata.name}`)
    .digest('hex')
    .slice(0, 8);
  return `${template.metadata.name.slice(0, NAME_LENGTH_MAX)}-${hash}`;
}

/** With the hash, within what names of machines and labels may be. */
const NAME_LENGTH_MAX = 40;

function copyFor(tunnel: TunnelObject, template: ExitNodeObject): ExitNodeObject {
  const { namespace = '', name, uid = '' } = tunnel.metadata;
  return {
    apiVersion: TUNNEL_API,
    kind: 'ExitNode',
    metadata: {
      name: copyName(tunnel, template),
      labels: {
        ...MANAGED_LABELS,
        [TEMPLATE_LABEL]: template.metadata.name,
        [OWN_EXIT_NODE.uid]: uid,
      },
      annotations: { [OWN_EXIT_NODE.namespace]: namespace, [OWN_EXIT_NODE.name]: name },
    },
    spec: {
      ...template.spec,
      allocation: 'Shared',
      allowedNamespaces: [namespace],
      tcpPorts: portsFor('tcp', tunnel, template),
      udpPorts: portsFor('udp', tunnel, template),
    },
  };
}

/** The machine is the tunnel's own: where nobody said which low ports it opens, those it needs. */
function portsFor(
  transport: Transport,
  { spec }: TunnelObject,
  template: ExitNodeObject,
): readonly string[] {
  const ports = portsOf(template, transport);
  if (saidPorts(template.spec, transport).length > 0) return ports;
  const wanted = (spec[transport] ?? []).map(({ publicPort }) => publicPort);
  return [...ports, ...wanted.filter((port) => port < LOW_PORT_END).map(String)];
}

const LOW_PORT_END = 1024;
