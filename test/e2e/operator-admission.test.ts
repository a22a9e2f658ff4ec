// Goal: a cluster whose admission rewrites clients has them as it wants, and they are let be.
// Method: a real API server with a webhook that gives each Deployment more than it asks for; what
// is written to it is counted.

import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import { Cluster } from '../../src/operator/cluster.ts';
import type { DeploymentObject, ExitNodeObject, KubeObject } from '../../src/operator/objects.ts';
import { Reconciler } from '../../src/operator/reconciler.ts';
import { exitNode, SETTINGS, tunnel } from '../operator/objects.ts';
import { undoAfter } from '../support/cleanup.ts';
import { eventually } from '../support/deadline.ts';
import { type List, startKube } from '../support/kube.ts';
import { leafOf, newAuthority } from '../support/private-pki.ts';
import { SILENT_LOG } from '../support/silent-log.ts';

const CONVERGE_MS = 60_000;
const CLIENTS = '/apis/apps/v1/namespaces/sluiceway/deployments';

interface Review {
  readonly uid: string;
  readonly operation: string;
}

async function reviewIn(request: IncomingMessage): Promise<Review> {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece as Buffer);
  return (JSON.parse(Buffer.concat(pieces).toString()) as { readonly request: Review }).request;
}

/** Gives clients more than they ask for, whenever they are written, as GKE Autopilot does. */
async function startAdmission(
  t: TestContext,
): Promise<{ url: string; ca: string; writes: string[] }> {
  const writes: string[] = [];
  const authority = await newAuthority();
  const server = createServer(await leafOf(authority), (request, response) => {
    void reviewIn(request).then(({ uid, operation }) => {
      writes.push(operation);
      const path = '/spec/template/spec/containers/0/resources/requests/cpu';
      const patch = Buffer.from(JSON.stringify([{ op: 'replace', path, value: '250m' }]));
      const answer = { uid, allowed: true, patchType: 'JSONPatch' };
      response.setHeader('content-type', 'application/json').end(
        JSON.stringify({
          ...{ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview' },
          response: { ...answer, patch: patch.toString('base64') },
        }),
      );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  undoAfter(t, () => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { url: `https://127.0.0.1:${port}/`, ca: authority.cert, writes };
}

test('a client that admission rewrites is applied once', { timeout: 240_000 }, async (t) => {
  const kube = await startKube(t);
  if (kube === undefined) return;
  const { url, ca, writes } = await startAdmission(t);
  const rules = [
    {
      ...{ apiGroups: ['apps'], apiVersions: ['v1'], resources: ['deployments'] },
      operations: ['CREATE', 'UPDATE'],
    },
  ];
  const hook: KubeObject & Readonly<Record<string, unknown>> = {
    ...{ apiVersion: 'admissionregistration.k8s.io/v1', kind: 'MutatingWebhookConfiguration' },
    metadata: { name: 'more' },
    webhooks: [
      {
        ...{ name: 'more.example.com', rules, sideEffects: 'None' },
        ...{ admissionReviewVersions: ['v1'], failurePolicy: 'Fail' },
        clientConfig: { url, caBundle: Buffer.from(ca).toString('base64') },
      },
    ],
  };
  const secret: KubeObject & Readonly<Record<string, unknown>> = {
    ...{ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'given', namespace: 'sluiceway' } },
    data: { token: 'eA==' },
  };
  const target = { url: 'wss://127.0.0.1:1', tokenSecret: { name: 'given' } };
  const given: ExitNodeObject = { ...exitNode({ spec: target }), metadata: { name: 'given' } };
  const spec = { exitNode: 'given', ...tunnel().spec };
  const metadata = { name: 'one', namespace: 'default' };
  const { status: _none, ...written } = given;
  for (const object of [hook, secret, written, { ...tunnel({ spec }), metadata }]) {
    await kube.apply(object);
  }
  let looks = 0;
  const reconciler = new Reconciler({
    ...{ cluster: Cluster.open(kube.operatorConfig), settings: SETTINGS, log: SILENT_LOG },
    ...{ clock: systemClock, random: Math.random, identity: 'one', leads: () => true },
    ...{ namespaces: ['default'], resyncMs: 500, openProvider: async () => undefined },
    onReconciled: (queue) => {
      if (queue === 'tunnel' && writes.length > 0) looks += 1;
    },
    onBroken: () => assert.fail('a watch broke'),
  });
  reconciler.start();
  reconciler.lead();
  await eventually(CONVERGE_MS, 'the tunnel was looked at again and again', async () => {
    assert.ok(looks >= 5, `${looks} looks`);
  });
  assert.deepEqual(writes, ['CREATE']);
  const ours = async (): Promise<DeploymentObject> => {
    const { items } = await kube.send<List<DeploymentObject>>(CLIENTS);
    const found = items.find(({ metadata }) => metadata.name.startsWith('default-one-'));
    assert.ok(found);
    return found;
  };
  const before = await ours();
  assert.match(JSON.stringify(before.spec), /"cpu":"250m"/u);
  await kube.patch(`${CLIENTS}/${before.metadata.name}`, { spec: { replicas: 3 } });
  await eventually(CONVERGE_MS, 'what somebody else wrote is put right', async () => {
    assert.equal((await ours()).spec.replicas, 1);
  });
  await reconciler.stop();
});
