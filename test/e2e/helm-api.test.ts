// What the charts render, before a real API server: each object of each example is applied as a dry
// run with strict fields, and each pod is admitted where the level `restricted` is enforced.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { parse } from 'yaml';
import { chartNames, examplesOf, Helm, NAMESPACE } from '../support/charts.ts';
import { eventually } from '../support/deadline.ts';
import { APPLY, dryRun, makeRestricted } from '../support/dry-run.ts';
import { requireGoTool } from '../support/go-tools.ts';
import { type Kube, startKube } from '../support/kube.ts';
import { skipOrFail } from '../support/programs.ts';

/** Kinds that are not Kubernetes' own, by test/fixtures/go-tools.sh. */
const DEFINITIONS = path.resolve(import.meta.dirname, '../../.cache/go-tools/definitions');
const FILES = [
  'gateway.networking.k8s.io_httproutes.yaml',
  'monitoring.coreos.com_servicemonitors.yaml',
  'monitoring.coreos.com_podmonitors.yaml',
].map((file) => path.join(DEFINITIONS, file));
const SERVED: Readonly<Record<string, readonly string[]>> = {
  '/apis/gateway.networking.k8s.io/v1': ['HTTPRoute'],
  '/apis/monitoring.coreos.com/v1': ['ServiceMonitor', 'PodMonitor'],
};
test('an API server accepts what the charts render', async (t) => {
  const program = requireGoTool(t, 'helm');
  if (program === undefined) return;
  if (!FILES.every((file) => existsSync(file))) {
    skipOrFail(t, 'no definitions: run test/fixtures/go-tools.sh');
    return;
  }
  const kube = await startKube(t);
  if (kube === undefined) return;
  await prepare(kube);
  const helm = new Helm(t, program);
  for (const chart of chartNames()) {
    for (const example of examplesOf(chart)) {
      await t.test(`${chart}: ${example}`, (t) => checkExample(t, { kube, helm, chart, example }));
    }
  }
  await t.test('and refuses what is wrong', async () => {
    const [deployment] = await helm.template('sluiceway-server', ['--set', 'token.value=x']);
    assert.ok(deployment !== undefined);
    const wrong = { ...deployment, spek: {} };
    await assert.rejects(dryRun(kube, wrong, NAMESPACE), /spek/u);
  });
});

async function prepare(kube: Kube): Promise<void> {
  await makeRestricted(kube, NAMESPACE);
  for (const file of FILES) {
    const body = parse(readFileSync(file, 'utf8'));
    const { name } = body.metadata;
    const target = `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${name}`;
    await kube.send(`${target}?fieldManager=test`, { method: 'PATCH', type: APPLY, body });
  }
  await eventually(60_000, 'the definitions are served', async () => {
    for (const [group, wanted] of Object.entries(SERVED)) {
      const { resources } = await kube.send<{ resources: readonly { kind: string }[] }>(group);
      const kinds = new Set(resources.map(({ kind }) => kind));
      for (const kind of wanted) assert.ok(kinds.has(kind), `${group} has no ${kind} yet`);
    }
  });
}

async function checkExample(
  t: TestContext,
  given: {
    readonly kube: Kube;
    readonly helm: Helm;
    readonly chart: string;
    readonly example: string;
  },
): Promise<void> {
  const { kube, helm, chart, example } = given;
  const manifests = await helm.template(chart, ['--values', example]);
  for (const manifest of manifests) await dryRun(kube, manifest, NAMESPACE);
  const workloads = manifests.filter(({ spec }) => spec?.template !== undefined);
  t.diagnostic(`${manifests.length} objects, ${workloads.length} pods`);
  assert.equal(workloads.length, 1);
}
