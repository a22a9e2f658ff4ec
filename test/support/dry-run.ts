// What an API server says of objects that are not kept: applied as a dry run, every field known,
// and pods as the level `restricted` of Pod Security admits them.
//
// Invariant: nothing stays but the namespace. Must not know: who wrote the objects.

import assert from 'node:assert/strict';
import type { Manifest, PodSpec } from './charts.ts';
import type { Kube } from './kube.ts';

const DRY = 'dryRun=All&fieldValidation=Strict&fieldManager=test';
export const APPLY = 'application/apply-patch+yaml';

interface Discovered {
  readonly resources: readonly {
    readonly name: string;
    readonly kind: string;
    readonly namespaced: boolean;
  }[];
}

/** A namespace that admits no other pods. */
export async function makeRestricted(kube: Kube, name: string): Promise<void> {
  const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
  await kube.send(`/api/v1/namespaces/${name}?fieldManager=test`, {
    ...{ method: 'PATCH', type: APPLY },
    body: { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } },
  });
}

/** Rejects with the server's words. A pod template in it is admitted as a pod. */
export async function dryRun(kube: Kube, manifest: Manifest, namespace: string): Promise<void> {
  const { apiVersion, kind, metadata, spec } = manifest;
  const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const { resources } = await kube.send<Discovered>(root);
  const found = resources.find((one) => one.kind === kind && !one.name.includes('/'));
  assert.ok(found !== undefined, `${apiVersion} has no ${kind}`);
  const within = found.namespaced ? `/namespaces/${namespace}` : '';
  const target = `${root}${within}/${found.name}/${metadata.name}?${DRY}&force=true`;
  await kube.send(target, { method: 'PATCH', type: APPLY, body: manifest });
  if (spec?.template === undefined) return;
  // A StatefulSet's controller would add the claims.
  const claims = (spec.volumeClaimTemplates ?? []).map((claim) => claim.metadata.name);
  await admit(kube, spec.template, { namespace, claims });
}

async function admit(
  kube: Kube,
  template: { readonly metadata: object; readonly spec: PodSpec },
  site: { readonly namespace: string; readonly claims: readonly string[] },
): Promise<void> {
  const { metadata, spec } = template;
  const volumes = [...(spec.volumes ?? []), ...site.claims.map((name) => ({ name, emptyDir: {} }))];
  await kube.send(`/api/v1/namespaces/${site.namespace}/pods?${DRY}`, {
    method: 'POST',
    body: {
      ...{ apiVersion: 'v1', kind: 'Pod' },
      metadata: { ...metadata, name: 'admitted' },
      spec: { ...spec, volumes },
    },
  });
}
