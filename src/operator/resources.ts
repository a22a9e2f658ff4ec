// Where each kind of object lives in the API: its group, its plural, and its path.
//
// Invariant: one row a kind, and no kind without one; names are escaped, so that none of them can
// lead to another object. Must not know: what is asked of the API.

import { TUNNEL_API } from './objects.ts';

export interface Resource {
  readonly kind: string;
  readonly apiVersion: string;
  readonly plural: string;
  readonly scope: 'namespace' | 'cluster';
}

function row(
  kind: string,
  apiVersion: string,
  plural: string,
  scope: Resource['scope'] = 'namespace',
): Resource {
  return { kind, apiVersion, plural, scope };
}

export const RESOURCES = {
  Service: row('Service', 'v1', 'services'),
  Secret: row('Secret', 'v1', 'secrets'),
  Event: row('Event', 'v1', 'events'),
  Deployment: row('Deployment', 'apps/v1', 'deployments'),
  Lease: row('Lease', 'coordination.k8s.io/v1', 'leases'),
  Tunnel: row('Tunnel', TUNNEL_API, 'tunnels'),
  ExitNode: row('ExitNode', TUNNEL_API, 'exitnodes', 'cluster'),
} as const;

export type Kind = keyof typeof RESOURCES;

export interface ObjectRef {
  readonly kind: Kind;
  /** Left out for what belongs to the whole cluster. */
  readonly namespace?: string | undefined;
  readonly name: string;
}

/** Of all objects of a kind: in one namespace, or in all. */
export function listPath(kind: Kind, namespace?: string): string {
  const { apiVersion, plural } = RESOURCES[kind];
  const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  return namespace === undefined
    ? `${root}/${plural}`
    : `${root}/namespaces/${encodeURIComponent(namespace)}/${plural}`;
}

export function objectPath({ kind, namespace, name }: ObjectRef): string {
  return `${listPath(kind, namespace)}/${encodeURIComponent(name)}`;
}
