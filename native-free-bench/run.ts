// `npm run bench`: the tunnel beside no tunnel, on loopback, in one interleaved run.
//
// Prints a table and keeps the raw figures in results/. Absolute rates drift between machines and
// hours; the ratios inside one run hold. Ceiling: two relay hops in the kernel move about half of
// what a direct connection does. `--smoke` runs every scenario for a moment, as the tests do.

import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import {
  type LoadOptions,
  measureConnects,
  measureDownload,
  measureEchoes,
  measureRequests,
  measureUpload,
} from './harness/load.ts';
import { type Bench, HOST, startBench } from './harness/tunnel.ts';

interface Scenario {
  readonly name: string;
  readonly unit: string;
  readonly kind: 'raw' | 'http';
  readonly connections: number;
  readonly measure: (options: LoadOptions) => Promise<number>;
}

const SCENARIOS: readonly Scenario[] = [
  scenario('download, 1 stream', 'MB/s', 'raw', 1, measureDownload),
  scenario('download, 8 streams', 'MB/s', 'raw', 8, measureDownload),
  scenario('upload, 1 stream', 'MB/s', 'raw', 1, measureUpload),
  scenario('upload, 8 streams', 'MB/s', 'raw', 8, measureUpload),
  scenario('echo of 64 B, 64 connections', '/s', 'raw', 64, measureEchoes),
  scenario('HTTP keep-alive, 64 connections', '/s', 'http', 64, (options) =>
    measureRequests(options, HOST),
  ),
  scenario('HTTP, new connection each, 64', '/s', 'http', 64, (options) =>
    measureConnects(options, HOST),
  ),
];

interface Sample {
  readonly scenario: string;
  readonly unit: string;
  readonly direct: number[];
  readonly tunnel: number[];
  readonly cpuSeconds: number[];
}

const { values } = parseArgs({
  options: {
    smoke: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '3' },
    ms: { type: 'string', default: '3000' },
    shards: { type: 'string', default: '1' },
    only: { type: 'string', default: '' },
    direct: { type: 'boolean', default: true },
  },
  allowNegative: true,
});

const rounds = values.smoke ? 1 : Number(values.rounds);
const ms = values.smoke ? 300 : Number(values.ms);
const bench = await startBench({ shards: Number(values.shards) });
try {
  const samples = await measureAll(bench);
  report(samples, bench);
} finally {
  bench.stop();
}
process.exit(0);

async function measureAll(running: Bench): Promise<Sample[]> {
  const chosen = SCENARIOS.filter(({ name }) => name.includes(values.only));
  const samples = chosen.map(({ name, unit }) => ({
    scenario: name,
    unit,
    direct: [] as number[],
    tunnel: [] as number[],
    cpuSeconds: [] as number[],
  }));
  for (let round = 0; round < rounds; round += 1) {
    for (const [index, { kind, connections, measure, name }] of chosen.entries()) {
      const sample = samples[index];
      if (sample === undefined) continue;
      process.stderr.write(`\r\x1b[Kround ${round + 1} of ${rounds}: ${name}`);
      // A/B, then B/A, so that drift within a round meets both alike.
      const sides = round % 2 === 0 ? ['direct', 'tunnel'] : ['tunnel', 'direct'];
      for (const side of sides) {
        if (side === 'direct' && !values.direct) continue;
        const port = side === 'direct' ? running.origin[kind] : running.tunnel[kind];
        const before = running.cpuSeconds();
        const rate = await measure({ target: { port }, connections, ms });
        if (side === 'tunnel') sample.cpuSeconds.push(running.cpuSeconds() - before);
        sample[side === 'direct' ? 'direct' : 'tunnel'].push(rate);
      }
    }
  }
  process.stderr.write('\r\x1b[K');
  return samples;
}

function report(samples: readonly Sample[], running: Bench): void {
  const rows = samples.map(({ scenario: name, unit, direct, tunnel }) => {
    const ratio = median(tunnel) / median(direct);
    return [
      name,
      `${format(median(tunnel))} ${unit}`,
      direct.length === 0 ? '-' : `${format(median(direct))} ${unit}`,
      direct.length === 0 ? '-' : ratio.toFixed(2),
      `±${(spread(tunnel) * 100).toFixed(0)} %`,
    ];
  });
  printTable([['scenario', 'tunnel', 'no tunnel', 'ratio', 'spread'], ...rows]);
  const { server, client } = running.residentBytes();
  const mb = (bytes: number): string => `${Math.round(bytes / 1e6)} MB`;
  process.stdout.write(
    `\nresident after the load: exit node ${mb(server)}, client ${mb(client)}\n`,
  );
  if (values.smoke) return;
  const folder = new URL('./results/', import.meta.url);
  mkdirSync(folder, { recursive: true });
  const environment = {
    node: process.version,
    cpu: cpus()[0]?.model,
    cores: cpus().length,
    memory: totalmem(),
    date: new Date().toISOString(),
    args: process.argv.slice(2),
  };
  const file = new URL(`run-${environment.date.replace(/[:.]/g, '-')}.json`, folder);
  writeFileSync(file, `${JSON.stringify({ environment, samples }, undefined, 2)}\n`);
  process.stdout.write(
    `raw figures: native-free-bench/results/${file.pathname.split('/').pop()}\n`,
  );
}

function printTable(rows: readonly (readonly string[])[]): void {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((cells) => cells[column]?.length ?? 0)),
  );
  for (const cells of rows) {
    const line = cells.map((cell, column) =>
      column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
    );
    process.stdout.write(`${line.join('  ')}\n`);
  }
}

function scenario(
  name: string,
  unit: string,
  kind: 'raw' | 'http',
  ...[connections, measure]: [number, Scenario['measure']]
): Scenario {
  return { name, unit, kind, connections, measure };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((left, right) => left - right);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

function spread(values: readonly number[]): number {
  return values.length === 0 ? 0 : (Math.max(...values) - Math.min(...values)) / 2 / median(values);
}

function format(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}
