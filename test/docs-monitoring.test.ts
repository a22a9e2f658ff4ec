// Goal: the dashboard and the alert rules of the docs work with this program's metrics. Method:
// every name that they use is on the page, promtool reads every expression, and rules fire on
// series made for it.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { SampleBook } from '../src/bridge/sample-book.ts';
import { ClientMetrics, type ClientReading } from '../src/client/metrics.ts';
import { Metrics } from '../src/control/metrics.ts';
import { requirePrograms, scratchFolder } from './support/programs.ts';

const FOLDER = path.resolve(import.meta.dirname, '../docs/operating');
const ALERTS = path.join(FOLDER, 'alerts.yaml');

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly gridPos: {
    readonly x: number;
    readonly y: number;
    readonly w: number;
    readonly h: number;
  };
  readonly targets?: readonly { readonly expr: string }[];
}

const { panels } = JSON.parse(
  readFileSync(path.join(FOLDER, 'grafana-dashboard.json'), 'utf8'),
) as { readonly panels: readonly Panel[] };

/** Every expression of the dashboard, with Grafana's variables filled in. */
const expressions = panels
  .flatMap(({ targets = [] }) => targets.map(({ expr }) => expr))
  .map((expr) => expr.replaceAll(/\$__\w+/gu, '5m').replaceAll(/"\$\w+"/gu, '".*"'));

function promtool(program: string, args: readonly string[]): void {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  assert.equal(status, 0, `${stdout}${stderr}`);
}

function readNothing(): ClientReading {
  const about = { clientID: 'a', pid: 1, version: '1', since: '', state: 'running' } as const;
  return {
    status: { ...about, servers: [], forwards: [] },
    totals: new SampleBook().totals(),
    ...{ failures: new Map(), health: new Map(), shardRestarts: 0, logDropped: 0 },
  };
}

async function metricNames(): Promise<ReadonlySet<string>> {
  const counts = {
    ...{
      tunnelClients: new Map(),
      clients: 0,
      links: 0,
      memory: { level: 0, limitBytes: 1e9 },
      shardRestarts: 0,
      logDropped: 0,
      version: '1',
      certificates: [],
      tokenLimited: [],
    },
    ...{ connects: new Map(), authFailures: new Map(), controlRequests: new Map() },
    ...{ acmeOrders: new Map(), reloads: new Map() },
  };
  const { text: exitNode } = await new Metrics(new SampleBook(), () => counts).render();
  const { text: client } = await new ClientMetrics(readNothing).render();
  const page = `${exitNode}\n${client}`;
  return new Set([...page.matchAll(/^# TYPE (\S+)/gmu)].map(([, name]) => name ?? ''));
}

test('every metric that the dashboard and the rules use is on the page', async () => {
  const known = await metricNames();
  const text = `${expressions.join('\n')}\n${readFileSync(ALERTS, 'utf8')}`;
  const used = text.match(/\b(?:sluiceway|http|tcp)_(?:\w+_)?\w+(?=[{[ )]|$)/gmu) ?? [];
  assert.ok(used.length > 40, String(used.length));
  for (const name of used) {
    assert.ok(known.has(name.replace(/_(?:bucket|sum|count)$/u, '')), `no metric ${name}`);
  }
});

test('the panels of the dashboard lie beside each other, and each has a name of its own', () => {
  assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
  assert.equal(new Set(panels.map(({ title }) => title)).size, panels.length);
  for (const [at, { gridPos: one, title }] of panels.entries()) {
    assert.ok(one.x >= 0 && one.x + one.w <= 24 && one.y >= 0, title);
    for (const { gridPos: other, title: name } of panels.slice(at + 1)) {
      const isApart =
        one.x + one.w <= other.x ||
        other.x + other.w <= one.x ||
        one.y + one.h <= other.y ||
        other.y + other.h <= one.y;
      assert.ok(isApart, `${title} lies on ${name}`);
    }
  }
});

test('promtool reads every expression of the dashboard, and the rules', (t) => {
  const programs = requirePrograms(t, ['promtool']);
  if (programs === undefined) return;
  const rules = expressions.map((expr, at) => ({ record: `dashboard:${at}`, expr }));
  const file = path.join(scratchFolder(t), 'dashboard.yaml');
  // JSON is YAML.
  writeFileSync(file, JSON.stringify({ groups: [{ name: 'dashboard', rules }] }));
  promtool(programs.promtool, ['check', 'rules', file]);
  promtool(programs.promtool, ['check', 'rules', ALERTS]);
});

/** What each rule is tried with: a series that fires it, and one that does not. */
const CASES: Readonly<
  Record<
    string,
    {
      readonly series: string;
      readonly bad: string;
      readonly good: string;
      /** Another one, of always the same value. */
      readonly beside?: readonly [series: string, values: string];
    }
  >
> = {
  SluicewayDown: { series: 'up{job="sluiceway"}', bad: '0x60', good: '1x60' },
  SluicewayNoClient: { series: 'sluiceway_clients', bad: '0x60', good: '1x60' },
  SluicewayTunnelUnserved: {
    series: 'http_dataplane_requests_total{host="a.test",code="503"}',
    ...{ bad: '0+9x60', good: '5x60' },
    beside: ['sluiceway_tunnel_clients{tunnel="a.test"}', '0x60'],
  },
  SluicewayClientFlapping: {
    series: 'sluiceway_client_connects_total{client="a"}',
    ...{ bad: '1+1x60', good: '1x60' },
  },
  SluicewayErrors: {
    series: 'http_dataplane_requests_total{host="a.test",code="502"}',
    ...{ bad: '0+60x60', good: '7x60' },
  },
  SluicewayCertificateEnds: {
    series: 'sluiceway_certificate_not_after_seconds{name="a.test"}',
    ...{ bad: '600000x120', good: '9000000x120' },
  },
  SluicewayShardRestarts: { series: 'sluiceway_shard_restarts_total', bad: '0+1x60', good: '2x60' },
  SluicewayShardBusy: {
    series: 'sluiceway_shard_loop_delay_seconds{shard="0",quantile="0.99"}',
    ...{ bad: '0.9x60', good: '0.02x60' },
  },
  SluicewayReloadFailed: {
    series: 'sluiceway_config_reloads_total{result="failed"}',
    ...{ bad: '0+1x60', good: '1x60' },
  },
  SluicewayGuessing: {
    series: 'sluiceway_auth_failures_total{reason="wrong"}',
    ...{ bad: '0+60x60', good: '0+1x60' },
  },
  SluicewayMemory: { series: 'sluiceway_memory_pressure', bad: '2x60', good: '1x60' },
  SluicewayClientDisconnected: {
    series: 'sluiceway_client_connected{server="wss://a.test:8123/connect"}',
    ...{ bad: '0x60', good: '1x60' },
  },
  SluicewayUpstreamUnhealthy: {
    series: 'sluiceway_client_upstream_healthy{tunnel="a.test"}',
    ...{ bad: '0x60', good: '1x60' },
  },
  SluicewayLogDropped: { series: 'sluiceway_log_dropped_total', bad: '0+5x60', good: '5x60' },
};

test('every rule fires when it should, and is silent when it should be', (t) => {
  const names = [...readFileSync(ALERTS, 'utf8').matchAll(/- alert: (\w+)/gu)].map(
    ([, name]) => name,
  );
  assert.deepEqual(Object.keys(CASES).toSorted(), names.toSorted());
  const programs = requirePrograms(t, ['promtool']);
  if (programs === undefined) return;
  const file = path.join(scratchFolder(t), 'cases.yaml');
  // Certificates have an hour of patience; the others are tried within it.
  const trial = (name: string, series: string, values: string): object => ({
    interval: '1m',
    input_series: [[series, values] as const, CASES[name]?.beside].flatMap((one) =>
      one === undefined ? [] : [{ series: withInstance(one[0]), values: one[1] }],
    ),
    promql_expr_test: [
      {
        expr: `count(ALERTS{alertname="${name}",alertstate="firing"}) or vector(0)`,
        eval_time: name === 'SluicewayCertificateEnds' ? '90m' : '45m',
        exp_samples: [{ labels: '{}', value: values === CASES[name]?.bad ? 1 : 0 }],
      },
    ],
  });
  const tests = Object.entries(CASES).flatMap(([name, { series, bad, good }]) => [
    trial(name, series, bad),
    trial(name, series, good),
  ]);
  const text = { rule_files: [ALERTS], evaluation_interval: '1m', tests };
  writeFileSync(file, JSON.stringify(text));
  promtool(programs.promtool, ['test', 'rules', file]);
});

function withInstance(series: string): string {
  const instance = 'instance="node:8123"';
  return series.includes('{') ? series.replace('{', `{${instance},`) : `${series}{${instance}}`;
}
