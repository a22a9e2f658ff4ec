// From a Service as it is to what has to be done for it: a tunnel, and its address in the status.
//
// Invariant: pure; one Service has one tunnel, of its own name, and the operator touches no tunnel
// that is not this Service's; a Service that cannot be read keeps the tunnel that it had, unless
// that would let in visitors whom the Service keeps out. Must not know: exit nodes.

import { isIP } from 'node:net';
import { isWithinNetwork, type Network, readNetworkAround } from '../base/network.ts';
import { type Action, NOTHING, type Plan } from './actions.ts';
import { type BalancerReading, protocolOf, readBalancer } from './balancer-reading.ts';
import { READY } from './client-readiness.ts';
import { conditionOf, isNews, type Verdict, withConditions } from './conditions.ts';
import { covers } from './drift.ts';
import {
  GROUP,
  type OwnerReference,
  type ServiceObject,
  type ServicePort,
  TUNNEL_API,
  type TunnelObject,
  type TunnelSpecFields,
} from './objects.ts';
import { MANAGED_LABELS, type OperatorSettings } from './settings.ts';
import { newsOf } from './tunnel-plan.ts';

/** Among the conditions of a Service, which are shared with others. */
export const SERVICE_CONDITION = `${GROUP}/Ready`;
const NO_CONDITION = { $patch: 'delete', type: SERVICE_CONDITION };
/** Of a port that the annotations leave out, in the form that Kubernetes asks of such words. */
const NOT_PUBLIC = `${GROUP}/NotPublic`;
/** Where a tunnel has no list. */
const EVERYONE = ['0.0.0.0/0', '::/0'];

export interface BalancerObserved {
  /** Undefined: gone, or no LoadBalancer any more. */
  readonly service: ServiceObject | undefined;
  /** Of the Service's name. */
  readonly tunnel: TunnelObject | undefined;
  /** Why the API would not take its tunnel. */
  readonly refusal?: string | undefined;
  readonly settings: OperatorSettings;
  readonly now: string;
}

export function planBalancer(observed: BalancerObserved): Plan {
  const { service, tunnel, refusal, settings, now } = observed;
  const owner = tunnel === undefined ? undefined : serviceOwner(tunnel);
  const isOwn = owner !== undefined && owner.uid === service?.metadata.uid;
  if (service === undefined || service.metadata.deletionTimestamp !== undefined) {
    const removal = owner === undefined ? [] : remove(tunnel);
    const isLeft = service === undefined && tunnel !== undefined && removal.length > 0;
    return { actions: [...(isLeft ? [takeBack(tunnel)] : []), ...removal], next: 'settled' };
  }
  const reading = readBalancer(service, settings);
  if (reading.is === 'foreign') {
    const actions = [
      ...forget(service, isOwn ? tunnel : undefined),
      ...(isOwn ? remove(tunnel) : []),
    ];
    return actions.length === 0 ? NOTHING : { actions, next: 'settled' };
  }
  if (reading.is !== 'ours') return planUnread(observed, { service, reading, isOwn });
  if (tunnel !== undefined && !isOwn) return planOccupied({ service, tunnel, settings, now });
  if (tunnel?.metadata.deletionTimestamp !== undefined) return { actions: [], next: 'waiting' };
  if (refusal !== undefined) {
    const verdict = { status: 'False', reason: 'Refused', message: refusal } as const;
    const isToClose = tunnel !== undefined && letsInMore(tunnel, reading.spec.allowIps ?? []);
    const closing = isToClose ? remove(tunnel) : [];
    const ingress = isToClose ? [] : undefined;
    return { actions: [...closing, ...write(service, { verdict, ingress, now })], next: 'blocked' };
  }
  const wanted = tunnelOf(service, reading.spec);
  const isSame = tunnel !== undefined && isAsWanted(tunnel, wanted);
  const verdict = verdictOf(tunnel, isSame);
  const ingress = isSame ? ingressOf(service, tunnel) : undefined;
  return {
    actions: [
      // What the Service asks for first: without it the rest may be no tunnel.
      ...(isSame ? [] : [{ do: 'apply', object: wanted } as const, ...dropForeign(tunnel, wanted)]),
      ...write(service, { verdict, ingress, now }),
    ],
    next: 'settled',
  };
}

interface Unread {
  readonly service: ServiceObject;
  readonly reading: Exclude<BalancerReading, { readonly is: 'ours' | 'foreign' }>;
  readonly isOwn: boolean;
}

/** What it had stays, but for visitors whom its list keeps out. */
function planUnread(observed: BalancerObserved, { service, reading, isOwn }: Unread): Plan {
  const { tunnel, refusal, now } = observed;
  const { is, reason, message } = reading;
  const verdict = { status: 'False', reason, message } as const;
  const allowIps = is === 'wrong' ? reading.allowIps : undefined;
  const open = isOwn && tunnel !== undefined && letsInMore(tunnel, allowIps) ? tunnel : undefined;
  // One that the API may not take for fewer is there for nobody.
  const guarded = refusal === undefined ? allowIps : undefined;
  const guarding =
    open === undefined || guarded === undefined ? remove(open) : narrow(service, open, guarded);
  // Where nobody knows whose the Service is, what its status says may be another's.
  const isClosed = open === undefined ? tunnel === undefined && is === 'unguarded' : !guarded;
  const ingress = isClosed ? [] : undefined;
  return { actions: [...guarding, ...write(service, { verdict, ingress, now })], next: 'blocked' };
}

/** The same for fewer. */
function narrow(
  service: ServiceObject,
  { metadata, spec }: TunnelObject,
  allowIps: readonly string[],
): readonly Action[] {
  if (metadata.deletionTimestamp !== undefined) return [];
  const { client: _theirs, ...kept } = spec;
  return [{ do: 'apply', object: tunnelOf(service, { ...kept, allowIps }) }];
}

/** Than a Service's list does: everyone when it is empty, nobody when it cannot be kept. */
function letsInMore({ spec }: TunnelObject, allowIps: readonly string[] | undefined): boolean {
  if (allowIps === undefined) return true;
  if (allowIps.length === 0) return false;
  const allowed = allowIps.map(readNetworkAround);
  return (spec.allowIps ?? EVERYONE).some((text) => {
    const network = readNetworkAround(text);
    return !allowed.some((whole) => isPartOf(network, whole));
  });
}

/** What cannot be read is part of nothing. */
function isPartOf(network: Network | string, whole: Network | string): boolean {
  return (
    typeof network !== 'string' && typeof whole !== 'string' && isWithinNetwork(network, whole)
  );
}

/** The name is another's: of a Service that is no more, or of somebody who made it by hand. */
function planOccupied({
  service,
  tunnel,
  now,
}: BalancerObserved & { service: ServiceObject; tunnel: TunnelObject }): Plan {
  if (serviceOwner(tunnel) !== undefined) return { actions: remove(tunnel), next: 'waiting' };
  const message = `a Tunnel with the name ${tunnel.metadata.name} is there, and not this Service's`;
  const verdict = { status: 'False', reason: 'NameTaken', message } as const;
  return { actions: write(service, { verdict, now }), next: 'blocked' };
}

export function serviceOwner({ metadata }: TunnelObject): OwnerReference | undefined {
  return metadata.ownerReferences?.find(
    ({ kind, apiVersion }) => kind === 'Service' && apiVersion === 'v1',
  );
}

function tunnelOf({ metadata }: ServiceObject, spec: TunnelSpecFields): TunnelObject {
  const { name, namespace, uid = '' } = metadata;
  return {
    apiVersion: TUNNEL_API,
    kind: 'Tunnel',
    metadata: {
      ...{ name, ...(namespace === undefined ? {} : { namespace }), labels: MANAGED_LABELS },
      ownerReferences: [{ apiVersion: 'v1', kind: 'Service', name, uid, controller: true }],
    },
    spec,
  };
}

/** Also without fields that it has no more: the whole of the spec is ours. */
function isAsWanted(found: TunnelObject, wanted: TunnelObject): boolean {
  const { client: _theirs, ...spec } = found.spec;
  return covers(wanted.spec, spec) && covers(found, wanted);
}

/** Of a tunnel that somebody wrote to: what the Service does not ask for would stay for ever. */
function dropForeign(found: TunnelObject | undefined, wanted: TunnelObject): readonly Action[] {
  const { client: _theirs, ...spec } = found?.spec ?? {};
  const fields = Object.keys(spec).filter((name) => !(name in wanted.spec));
  if (found === undefined || fields.length === 0) return [];
  const { name, namespace, resourceVersion } = found.metadata;
  return [{ do: 'drop-fields', ref: { kind: 'Tunnel', namespace, name }, fields, resourceVersion }];
}

function verdictOf(tunnel: TunnelObject | undefined, isSame: boolean): Verdict {
  const ready = conditionOf(tunnel?.status?.conditions, READY);
  const isCurrent = isSame && ready?.observedGeneration === tunnel?.metadata.generation;
  if (ready !== undefined && isCurrent) return ready;
  const message = `tunnel ${tunnel?.metadata.name ?? ''} is being set up`.replace('  ', ' ');
  return { status: 'Unknown', reason: 'Pending', message };
}

function remove(tunnel: TunnelObject | undefined): readonly Action[] {
  if (tunnel === undefined || tunnel.metadata.deletionTimestamp !== undefined) return [];
  const { name, namespace, uid } = tunnel.metadata;
  return [{ do: 'delete', ref: { kind: 'Tunnel', namespace, name }, uid }];
}

interface Outcome {
  readonly verdict: Verdict;
  /** Undefined: as it is. */
  readonly ingress?: readonly object[] | undefined;
  readonly now: string;
}

function write(service: ServiceObject, { verdict, ingress, now }: Outcome): readonly Action[] {
  const { metadata, status = {} } = service;
  const before = conditionOf(status.conditions, SERVICE_CONDITION);
  const [condition] = withConditions(
    before === undefined ? [] : [before],
    { [SERVICE_CONDITION]: verdict },
    { now, generation: metadata.generation },
  );
  const wanted = {
    ...(ingress === undefined ? {} : { loadBalancer: { ingress } }),
    conditions: [condition],
  };
  const isSame =
    covers(before, condition) &&
    (ingress === undefined || covers(status.loadBalancer?.ingress ?? [], ingress));
  if (isSame) return [];
  const isToTell = isNews(before, verdict) && verdict.status !== 'Unknown';
  return [
    statusAction(service, wanted),
    ...(isToTell ? [{ do: 'tell', event: { about: service, ...newsOf(verdict) } } as const] : []),
  ];
}

/** Takes back what was said of a Service that is not ours any more, and not what others say. */
function forget(service: ServiceObject, tunnel: TunnelObject | undefined): readonly Action[] {
  const { conditions, loadBalancer } = service.status ?? {};
  if (conditionOf(conditions, SERVICE_CONDITION) === undefined) return [];
  const own = (tunnel?.status?.addresses ?? []).map(ingressPoint);
  const isOwn = own.length > 0 && covers(loadBalancer?.ingress, own);
  return [
    statusAction(service, {
      ...(isOwn ? { loadBalancer: { ingress: null } } : {}),
      conditions: [NO_CONDITION],
    }),
  ];
}

/** A Service that is no LoadBalancer any more is not seen, and may still say that it is ready. */
function takeBack({ metadata }: TunnelObject): Action {
  const { name, namespace } = metadata;
  const status = { conditions: [NO_CONDITION] };
  return { do: 'take-back-status', ref: { kind: 'Service', namespace, name }, status };
}

function statusAction({ metadata }: ServiceObject, status: object): Action {
  const { name, namespace, resourceVersion } = metadata;
  return { do: 'write-status', ref: { kind: 'Service', namespace, name }, status, resourceVersion };
}

/** Each address, and which ports of the Service are to be had there: all of them are named. */
function ingressOf({ spec }: ServiceObject, tunnel: TunnelObject): readonly object[] {
  const ports = (spec?.ports ?? []).map((one) => ({
    ...{ port: one.port, protocol: protocolOf(one) },
    // Said even when there is none, so that one that is there no more is noticed.
    error: isPublic(one, tunnel.spec) ? undefined : NOT_PUBLIC,
  }));
  return (tunnel.status?.addresses ?? []).map((address) => ({ ...ingressPoint(address), ports }));
}

function isPublic(one: ServicePort, { tcp = [], udp = [], upstreams = [] }: TunnelSpecFields) {
  const leading = { TCP: [...tcp, ...upstreams], UDP: udp }[protocolOf(one)] ?? [];
  return leading.some(({ service }) => service.port === one.port);
}

/** Traffic for it leaves the cluster: no node may keep it for itself. */
function ingressPoint(address: string) {
  return isIP(address) !== 0 ? { ip: address, ipMode: 'Proxy' } : { hostname: address };
}
