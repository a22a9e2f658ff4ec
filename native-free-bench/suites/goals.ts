// The suite of goals: what the design promises of speed, each measured beside the peer that it
// names, in one run, with what was wanted and whether it held.
//
// Invariant: a goal whose peer is not there is neither held nor missed, and says so. Figures are
// medians of the rounds, ratios too: what is compared ran right after one another. Must not know:
// how anything is measured; the other suites do that.

import { availableParallelism } from 'node:os';
import { SHARDS_MAX } from '../../src/config/tuning.ts';
import { Children } from '../harness/children.ts';
import { describeEnvironment } from '../harness/environment.ts';
import type { Sample } from '../harness/rounds.ts';
import { NothingChosen, type SuiteOptions, type SuiteResult } from '../harness/suite.ts';
import { median, percent, ratiosOf, round, spread, table } from '../harness/table.ts';
import { sampleDistance } from './distance.ts';
import { sampleLatency } from './latency.ts';
import { bytesPerVisitor, sampleMemory } from './memory.ts';
import { DIRECT, MESH, WANTED as MESH_WANTED, sampleMesh } from './mesh.ts';
import { ONE_SHARD, sampleRates } from './rates.ts';
import { sampleReconnect } from './reconnect.ts';
import { SLOW, sampleSlow } from './slow.ts';
import { FRP as FRP_TLS, PLAIN, sampleLinks, TLS } from './tls.ts';

const [HAPROXY, RATHOLE, FRP, CHISEL] = ['haproxy x2', 'rathole', 'frp', 'chisel'] as const;
const IDLE_VISITORS = 1_000;
const FAR_MS = 100;
/** What the exit node may grow by while they do not read: their first windows, and some room. */
const SLOW_GROWTH_BYTES = SLOW * 256 * 1024 + 32 * 1024 * 1024;

export interface Goal {
  readonly what: string;
  readonly value: number;
  readonly unit: string;
  readonly wanted: number;
  readonly isAtLeast: boolean;
  /** Half of the range of the rounds' figures, by the value; of what each round has a figure of. */
  readonly spread?: number;
  /** The same, measured in the same run with one shard at each end; of rates. */
  readonly oneShard?: number;
}

interface Found {
  readonly goals: readonly Goal[];
  readonly samples: unknown;
  readonly left: readonly string[];
  readonly versions?: Readonly<Record<string, string>>;
}

type Section = (options: SuiteOptions) => Promise<Found>;

const SECTIONS: Readonly<Record<string, Section>> = {
  rates,
  tls,
  memory,
  latency,
  slow,
  distance,
  reconnect,
  mesh,
};

/** `--only` takes sections whose name contains it. */
export async function measureGoals(options: SuiteOptions): Promise<SuiteResult> {
  const goals: Goal[] = [];
  const samples: Record<string, unknown> = {};
  const left = new Set<string>();
  let versions: Readonly<Record<string, string>> = {};
  for (const [name, section] of Object.entries(SECTIONS)) {
    if (!name.includes(options.only)) continue;
    const children = new Children();
    try {
      const tell = (text: string): void => options.tell(`${name}: ${text}`);
      const found = await section({ ...options, only: '', children, tell });
      goals.push(...found.goals);
      samples[name] = found.samples;
      for (const line of found.left) left.add(line);
      versions = { ...versions, ...found.versions };
    } finally {
      children.stop();
    }
  }
  if (goals.length === 0) throw new NothingChosen(`--only: ${Object.keys(SECTIONS).join(', ')}`);
  return {
    text: options.isMarkdown ? markdown(goals, options.isAwake) : report(goals),
    samples: { goals: goals.map((goal) => ({ ...goal, verdict: verdictOf(goal) })), ...samples },
    versions,
    left: [...left],
    hasMissed: goals.some((goal) => verdictOf(goal) === 'MISSED'),
  };
}

/** With a shard a core at each end, since every peer has as many threads, and with one. */
async function rates(options: SuiteOptions): Promise<Found> {
  const peerNames = [HAPROXY, RATHOLE, FRP, CHISEL];
  const names = [
    ...['download, 1', 'upload, 1', 'download, 8', 'echo of 64 B, 64', 'HTTP keep-alive, 64'],
    ...['HTTP by host, 64', 'HTTP, new connection each, 64'],
  ];
  const wanted = { ...options, hasPeers: true, isAlone: true, peerNames };
  const shardsEach = Math.min(SHARDS_MAX, Math.max(options.shards, availableParallelism()));
  const setup = { shardsEach };
  const { samples, sides, left } = await sampleRates(wanted, names, setup);
  const both = (goal: Goal, figures: (side: string) => readonly number[]): Goal => {
    const isShown = sides.some(({ name }) => name === ONE_SHARD);
    return isShown ? { ...goal, oneShard: median(figures(ONE_SHARD)) } : goal;
  };
  const by = (scenario: string, peer: string, least: number): Goal => {
    const figures = (side: string): number[] => byRound(samples, scenario, side, peer);
    return both(atLeast(`${scenario}, by ${peer}`, figures('tunnel'), least, 'x'), figures);
  };
  const cost = (scenario: string, scale: number, most: number, unit: string): Goal => {
    const figures = (side: string): number[] => costsOf(samples, scenario, side, scale);
    return both(atMost(`CPU, ${scenario}`, figures('tunnel'), most, unit), figures);
  };
  return {
    goals: [
      by('download, 1', FRP, 2.2),
      by('download, 1', HAPROXY, 1.1),
      by('upload, 1', FRP, 1.8),
      by('download, 8', FRP, 2),
      by('download, 8', RATHOLE, 1.5),
      by('echo of 64 B, 64', RATHOLE, 1.15),
      by('echo of 64 B, 64', FRP, 2),
      by('echo of 64 B, 64', CHISEL, 2),
      by('HTTP keep-alive, 64', RATHOLE, 1.15),
      by('HTTP keep-alive, 64', FRP, 1.6),
      by('HTTP keep-alive, 64', CHISEL, 3),
      by('HTTP by host, 64', FRP, 6),
      by('HTTP, new connection each, 64', RATHOLE, 1),
      by('HTTP, new connection each, 64', FRP, 2),
      cost('download, 8', 1e3, 1, 's/GB'),
      cost('HTTP keep-alive, 64', 1e6, 24, 'µs'),
      cost('HTTP by host, 64', 1e6, 34, 'µs'),
    ],
    samples,
    left,
    versions: Object.fromEntries(sides.map(({ name, version }) => [name, version])),
  };
}

async function tls(options: SuiteOptions): Promise<Found> {
  const { samples, left } = await sampleLinks({ ...options, only: 'download' });
  const by = (side: string): number[] => byRound(samples, 'download, 1', TLS, side);
  const costs = costsOf(samples, 'download, 8', TLS, 1e3);
  return {
    goals: [
      atLeast('TLS link, download, 1, by frp TLS', by(FRP_TLS), 1.9, 'x'),
      atLeast('TLS link, download, 1, of the plain link', by(PLAIN), 0.7, 'x'),
      atMost('CPU, TLS link, download, 8', costs, 1.6, 's/GB'),
    ],
    samples,
    left,
  };
}

async function memory(options: SuiteOptions): Promise<Found> {
  const connections = options.isSmoke ? options.connections : [IDLE_VISITORS];
  const { samples, left } = await sampleMemory({ ...options, connections, hasPeers: false });
  const [ours] = samples;
  const each = ours === undefined ? [] : bytesPerVisitor(ours, connections[0] ?? IDLE_VISITORS);
  const rest = ours?.rest ?? [];
  const mb = (bytes: readonly number[]): number[] => scaled(bytes, 1e-6);
  return {
    goals: [
      atMost('idle, each visitor, both ends', scaled(each, 1 / 1024), 30, 'KiB'),
      atMost('resident at rest, exit node', mb(rest.map(({ server }) => server)), 85, 'MB'),
      atMost('resident at rest, client', mb(rest.map(({ client }) => client)), 65, 'MB'),
    ],
    samples,
    left,
  };
}

async function latency(options: SuiteOptions): Promise<Found> {
  const asked = { ...options, only: 'lone echo', hasPeers: true, peerNames: [RATHOLE] };
  const { samples, left } = await sampleLatency(asked);
  const p50 = (side: string): number[] => (samples[0]?.sides[side] ?? []).map(({ p50Us }) => p50Us);
  const values = ratiosOf(p50('tunnel'), p50(RATHOLE));
  return { goals: [atMost('lone echo, p50, by rathole', values, 1.1, 'x')], samples, left };
}

async function slow(options: SuiteOptions): Promise<Found> {
  const { samples, left } = await sampleSlow({ ...options, hasPeers: false });
  const [ours] = samples;
  const by = (part: readonly number[] = [], whole: readonly number[] = []): number[] =>
    ratiosOf(part, whole);
  const growth = scaled(ours?.serverGrowthBytes ?? [], 1e-6);
  return {
    goals: [
      atLeast(`8 beside ${SLOW} slow, rate`, by(ours?.beside, ours?.alone), 0.8, 'x'),
      atMost(`8 beside ${SLOW} slow, p99`, by(ours?.besideP99Us, ours?.aloneP99Us), 2, 'x'),
      atMost(`${SLOW} slow, exit node grows`, growth, SLOW_GROWTH_BYTES / 1e6, 'MB'),
    ],
    samples,
    left,
  };
}

async function distance(options: SuiteOptions): Promise<Found> {
  const { samples, left } = await sampleDistance({ ...options, hasPeers: false }, [FAR_MS]);
  const goals = samples.map(({ scenario }) =>
    atLeast(`one stream, ${scenario}`, ratesOf(samples, scenario, 'tunnel'), 60, 'MB/s'),
  );
  return { goals, samples, left };
}

async function reconnect(options: SuiteOptions): Promise<Found> {
  const { samples, left } = await sampleReconnect(options);
  const goals = samples.flatMap((sample) => {
    const lastMs = sample.backMs.map((times) => times.at(-1) ?? Number.NaN);
    // Where all lose their links nobody else has visitors: those of the clients that are back.
    const whose = sample.others.length > 0 ? 'visitors' : 'first visitors';
    const refused = [...sample.othersRefused, ...sample.firstRefused];
    return [
      atMost(`${sample.scenario}: ${sample.clients} clients back`, scaled(lastMs, 1e-3), 15, 's'),
      // All of them: not one may be refused, in any round.
      atMost(`${sample.scenario}: ${whose} refused`, mostOf(refused), 0, ''),
    ];
  });
  return { goals, samples, left };
}

async function mesh(options: SuiteOptions): Promise<Found> {
  const { samples, left } = await sampleMesh(options);
  const goals = samples.map(({ scenario }) => {
    const values = byRound(samples, scenario, MESH, DIRECT);
    return atLeast(`mesh, ${scenario}, of direct`, values, MESH_WANTED, 'x');
  });
  return { goals, samples, left };
}

function byRound(
  samples: readonly Sample[],
  scenario: string,
  side: string,
  whole: string,
): number[] {
  return ratiosOf(ratesOf(samples, scenario, side), ratesOf(samples, scenario, whole));
}

function ratesOf(samples: readonly Sample[], scenario: string, side: string): readonly number[] {
  return seriesOf(samples, scenario, side)?.rates ?? [];
}

function costsOf(
  samples: readonly Sample[],
  scenario: string,
  side: string,
  scale: number,
): number[] {
  return scaled(seriesOf(samples, scenario, side)?.costs ?? [], scale);
}

function seriesOf(samples: readonly Sample[], scenario: string, side: string) {
  return samples.find((sample) => sample.scenario === scenario)?.sides[side];
}

function scaled(values: readonly number[], scale: number): number[] {
  return values.map((value) => value * scale);
}

/** None of nothing: nobody asked. */
function mostOf(values: readonly number[]): number[] {
  return values.length === 0 ? [] : [Math.max(...values)];
}

function atLeast(what: string, values: readonly number[], wanted: number, unit: string): Goal {
  return { what, ...figureOf(values), unit, wanted, isAtLeast: true };
}

function atMost(what: string, values: readonly number[], wanted: number, unit: string): Goal {
  return { what, ...figureOf(values), unit, wanted, isAtLeast: false };
}

function figureOf(values: readonly number[]): Pick<Goal, 'value' | 'spread'> {
  const value = median(values);
  return values.length > 1 ? { value, spread: spread(values) } : { value };
}

export type Verdict = 'held' | 'held with one shard' | 'MISSED' | 'not measured';

export function verdictOf({ value, oneShard = Number.NaN, wanted, isAtLeast }: Goal): Verdict {
  // Not a number: never.
  const holds = (one: number): boolean => (isAtLeast ? one >= wanted : one <= wanted);
  if (!Number.isFinite(value)) return 'not measured';
  if (holds(value)) return 'held';
  return holds(oneShard) ? 'held with one shard' : 'MISSED';
}

function cellsOf(goal: Goal): string[] {
  const sign = goal.isAtLeast ? '≥' : '≤';
  const figure = (value: number): string => `${round(value, digitsOf(value))} ${goal.unit}`.trim();
  return [
    goal.what,
    figure(goal.value),
    goal.spread === undefined ? '' : percent(goal.spread),
    goal.oneShard === undefined ? '' : figure(goal.oneShard),
    `${sign} ${figure(goal.wanted)}`,
    verdictOf(goal),
  ];
}

function sumOf(goals: readonly Goal[]): string {
  const count = (verdict: Verdict): number =>
    goals.filter((goal) => verdictOf(goal) === verdict).length;
  return [
    `${count('held')} held, ${count('held with one shard')} with one shard alone`,
    `${count('MISSED')} missed, ${count('not measured')} not measured\n`,
  ].join(', ');
}

const HEAD = ['goal', 'value', 'spread', ONE_SHARD, 'wanted', ''];

function report(goals: readonly Goal[]): string {
  return table([HEAD, ...goals.map(cellsOf)]) + sumOf(goals);
}

/** The same for a document, with when and where it was measured. */
function markdown(goals: readonly Goal[], isAwake: boolean): string {
  const { date, cpu, cores, node, kernel, commit = 'no commit' } = describeEnvironment();
  const machine = `${cores} × ${cpu}${isAwake ? ', kept awake' : ''}`;
  const where = `${date.slice(0, 10)}, ${machine}, Linux ${kernel}, Node ${node}, ${commit}`;
  const lines = goals.map((goal) => `| ${cellsOf(goal).join(' | ')} |`);
  const head = [`| ${HEAD.join(' | ')} |`, '|---|---|---|---|---|---|'];
  return `${[`${where}: ${sumOf(goals)}`, ...head, ...lines].join('\n')}\n`;
}

function digitsOf(value: number): number {
  return value < 10 ? 2 : 1;
}
