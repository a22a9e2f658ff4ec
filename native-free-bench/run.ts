// `npm run bench`: the tunnel beside no tunnel and two plain relays, in one interleaved run.
//
// Prints a table and keeps the raw figures in results/. Absolute rates drift between machines and
// hours; the ratios inside one run hold. Ceiling: two relay hops in the kernel move about half of
// what a direct connection does. `--smoke` runs every scenario for a moment, as the tests do.

import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import {
  type LoadOptions,
  measureByAutocannon,
  measureConnects,
  measureDownload,
  measureEchoes,
  measureRequests,
  measureUpload,
  warmUpMs,
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
  scenario('HTTP by autocannon, 64 connections', '/s', 'http', 64, (options) =>
    measureByAutocannon(options, HOST),
  ),
  scenario('HTTP, new connection each, 64', '/s', 'http', 64, (options) =>
    measureConnects(options, HOST),
  ),
];

const SIDES = ['direct', 'relays', 'tunnel'] as const;
const TITLES = [
  'scenario',
  'tunnel',
  'none',
  'two relays',
  'of none',
  'of relays',
  'spread',
  'CPU',
];

interface Sample {
  readonly scenario: string;
  readonly unit: string;
  readonly direct: number[];
  readonly relays: number[];
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
    alone: { type: 'boolean', default: false },
  },
});

const rounds = values.smoke ? 1 : Number(values.rounds);
const ms = values.smoke ? 250 : Number(values.ms);
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
    relays: [] as number[],
    tunnel: [] as number[],
    cpuSeconds: [] as number[],
  }));
  for (let round = 0; round < rounds; round += 1) {
    for (const [index, { kind, connections, measure, name }] of chosen.entries()) {
      const sample = samples[index];
      if (sample === undefined) continue;
      process.stderr.write(`\r\x1b[Kround ${round + 1} of ${rounds}: ${name}`);
      const ports = { direct: running.origin, relays: running.relays, tunnel: running.tunnel };
      // A/B/C, then C/B/A, so that drift within a round meets all alike.
      for (const side of round % 2 === 0 ? SIDES : SIDES.toReversed()) {
        if (side !== 'tunnel' && values.alone) continue;
        const before = running.cpuSeconds();
        const rate = await measure({ target: { port: ports[side][kind] }, connections, ms });
        if (side === 'tunnel') sample.cpuSeconds.push(running.cpuSeconds() - before);
        sample[side].push(rate);
      }
    }
  }
  process.stderr.write('\r\x1b[K');
  return samples;
}

function report(samples: readonly Sample[], running: Bench): void {
  const rows = samples.map((sample) => {
    const { scenario: name, unit, direct, relays, tunnel } = sample;
    return [
      name,
      `${format(median(tunnel))} ${unit}`,
      `${format(median(direct))} ${unit}`,
      `${format(median(relays))} ${unit}`,
      ratio(tunnel, direct),
      ratio(tunnel, relays),
      `±${(spread(tunnel) * 100).toFixed(0)} %`,
      cost(sample),
    ];
  });
  printTable([TITLES, ...rows]);
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

/** CPU time of exit node and client together: seconds a GB, or microseconds a round trip. */
function cost({ unit, tunnel, cpuSeconds }: Sample): string {
  const costs = tunnel.map((rate, index) => {
    const counted = (rate * (ms + warmUpMs(ms))) / 1000;
    return (cpuSeconds[index] ?? 0) / counted;
  });
  const each = median(costs);
  return unit === 'MB/s' ? `${(each * 1000).toFixed(2)} s/GB` : `${(each * 1e6).toFixed(0)} µs`;
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

function ratio(part: readonly number[], whole: readonly number[]): string {
  return whole.length === 0 ? '-' : (median(part) / median(whole)).toFixed(2);
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
