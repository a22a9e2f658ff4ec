// Objects as a cluster would hold them, for tests of plans.

import type { Action, Plan } from '../../src/operator/actions.ts';
import type {
  Condition,
  ExitNodeObject,
  ObjectMeta,
  ServiceObject,
  TunnelObject,
} from '../../src/operator/objects.ts';
import type { OperatorSettings } from '../../src/operator/settings.ts';

export const NOW = '2026-05-01T10:00:00Z';
export const EARLIER = '2026-05-01T09:00:00Z';
export const SETTINGS: OperatorSettings = {
  namespace: 'sluiceway',
  loadBalancerClass: 'sluiceway.dev/tunnel',
  services: 'class',
  exitNode: 'shared',
  clientImage: 'sluiceway:1',
  clientImagePullSecrets: [],
};

export function service(
  over: {
    readonly spec?: ServiceObject['spec'];
    readonly meta?: Partial<ObjectMeta>;
    readonly status?: ServiceObject['status'];
  } = {},
): ServiceObject {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web', namespace: 'shop', uid: 's-1', resourceVersion: '7', ...over.meta },
    spec: {
      type: 'LoadBalancer',
      loadBalancerClass: 'sluiceway.dev/tunnel',
      ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
      ...over.spec,
    },
    ...(over.status === undefined ? {} : { status: over.status }),
  };
}

export function tunnel(
  over: {
    readonly spec?: TunnelObject['spec'];
    readonly meta?: Partial<ObjectMeta>;
    readonly status?: TunnelObject['status'];
  } = {},
): TunnelObject {
  return {
    apiVersion: 'sluiceway.dev/v1alpha1',
    kind: 'Tunnel',
    metadata: {
      ...{ name: 'web', namespace: 'shop', uid: 't-1', resourceVersion: '9', generation: 1 },
      ...{ creationTimestamp: EARLIER, finalizers: ['sluiceway.dev/client'] },
      ...over.meta,
    },
    spec: over.spec ?? { tcp: [{ publicPort: 80, service: { name: 'web', port: 80 } }] },
    ...(over.status === undefined ? {} : { status: over.status }),
  };
}

/** Of a Service named `web`, as it owns its tunnel. */
export const OWNED = {
  labels: { 'app.kubernetes.io/managed-by': 'sluiceway-operator' },
  ownerReferences: [
    { apiVersion: 'v1', kind: 'Service', name: 'web', uid: 's-1', controller: true },
  ],
};

/** With ports of every kind, one of which nobody serves. */
export const annotated = (annotations: Readonly<Record<string, string>>): ServiceObject =>
  service({
    meta: {
      annotations: Object.fromEntries(
        Object.entries(annotations).map(([key, value]) => [`sluiceway.dev/${key}`, value]),
      ),
    },
    spec: {
      ports: [
        { name: 'http', port: 80, protocol: 'TCP' },
        { name: 'ssh', port: 22, protocol: 'TCP' },
        { name: 'dns', port: 53, protocol: 'UDP' },
        { name: 'dns-tcp', port: 53, protocol: 'TCP' },
        { name: 'sctp', port: 9, protocol: 'SCTP' },
      ],
    },
  });

export function exitNode(
  over: {
    readonly spec?: ExitNodeObject['spec'];
    readonly meta?: Partial<ObjectMeta>;
    readonly status?: ExitNodeObject['status'];
  } = {},
): ExitNodeObject {
  const url = 'wss://203.0.113.7:8123';
  return {
    apiVersion: 'sluiceway.dev/v1alpha1',
    kind: 'ExitNode',
    metadata: { name: 'shared', uid: 'e-1', resourceVersion: '3', generation: 1, ...over.meta },
    spec: over.spec ?? { url, tokenSecret: { name: 'token' } },
    status: over.status ?? {
      ...{ url, addresses: ['203.0.113.7'], caFingerprint: 'sha256:ab' },
      tokenSecret: { name: 'token', key: 'token' },
    },
  };
}

export function condition(type: string, reason: string, status: Condition['status']): Condition {
  return { type, reason, status, message: reason, lastTransitionTime: EARLIER };
}

/** A plan in words, for tables: `apply Tunnel shop/web`, `tell PortTaken`. */
export function summary(plan: Plan): string[] {
  return [...plan.actions.map(wordsOf), plan.next];
}

function wordsOf(action: Action): string {
  switch (action.do) {
    case 'apply':
    case 'create': {
      const { kind, metadata } = action.object;
      return `${action.do} ${kind} ${nameOf(metadata)}`;
    }
    case 'delete':
      return `delete ${action.ref.kind} ${nameOf(action.ref)}`;
    case 'drop-fields':
      return `drop ${action.fields.join()} of ${action.ref.kind} ${nameOf(action.ref)}`;
    case 'set-finalizers':
      return `finalizers ${action.finalizers.join(',')}`;
    case 'write-status':
      return `status ${reasonOf(action.status)}`;
    case 'tell':
      return `tell ${action.event.type} ${action.event.reason}`;
    default:
      return action.do;
  }
}

function nameOf({ namespace, name }: { namespace?: string | undefined; name: string }): string {
  return namespace === undefined ? name : `${namespace}/${name}`;
}

function reasonOf(status: object): string {
  const { conditions = [] } = status as { readonly conditions?: readonly Condition[] };
  return conditions.find(({ type }) => type?.endsWith('Ready'))?.reason ?? '';
}

/** What a plan writes into the status. */
export function statusOf(plan: Plan): Readonly<Record<string, unknown>> {
  const found = plan.actions.find((action) => action.do === 'write-status');
  return (found?.do === 'write-status' ? found.status : {}) as Readonly<Record<string, unknown>>;
}
