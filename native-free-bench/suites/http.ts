// The suite of HTTP by host: 64 kept-alive connections through an HTTP tunnel, nginx behind it,
// against the same load through a TCP tunnel of ours to the same nginx, and through frp by host.
//
// Invariant: exit node and client are the same processes for both of ours; only the port differs.
// Without nginx the harness's own origin stands in, and the result says so.

import {
  type LoadOptions,
  measureByAutocannon,
  measureConnects,
  measureRequests,
} from '../harness/load.ts';
import { startNginx, startOrigins } from '../harness/plain.ts';
import { failuresIn, measureRounds, type Sample, type Scenario } from '../harness/rounds.ts';
import { HOST, type Side } from '../harness/side.ts';
import { type SuiteOptions, type SuiteResult, startSides, versionsOf } from '../harness/suite.ts';
import { median, percent, ratio, round, spread, table } from '../harness/table.ts';
import { frp } from '../peers/frp.ts';
import { startPeer } from '../peers/peer.ts';

const CONNECTIONS = 64;
const [TCP, BY_HOST, DIRECT] = ['TCP tunnel', 'HTTP tunnel', 'nginx'] as const;
/** What the design asks for: by host against TCP, and against frp by host. */
const WANTED = { tcp: 0.85, frp: 6 };

export async function measureHttp(options: SuiteOptions): Promise<SuiteResult> {
  const { children, rounds, tell, peersFolder } = options;
  const own = await startOrigins(children);
  const nginx = await startNginx(children);
  const left = nginx === undefined ? ['nginx: not installed; the own origin stands in'] : [];
  const origins = { raw: own.raw, http: nginx?.port ?? own.http };
  const { tunnel } = await startSides({ ...options, hasPeers: false }, { origins });
  const rival = await startPeer(frp, children, { origins, peersFolder });
  if (typeof rival === 'string') left.push(`frp: ${rival}`);
  const sides: Side[] = [
    { ...tunnel, name: BY_HOST, ports: portsOf(tunnel, 'byHost') },
    { ...tunnel, name: TCP, ports: portsOf(tunnel, 'http') },
    ...(typeof rival === 'string'
      ? []
      : [
          { ...rival, name: 'frp by host', ports: portsOf(rival, 'byHost') },
          { ...rival, name: 'frp TCP', ports: portsOf(rival, 'http') },
        ]),
    {
      name: DIRECT,
      version: nginx?.version ?? '',
      ports: { http: origins.http },
      pids: { server: [], client: [] },
    },
  ];
  const scenarios = scenariosFor(options);
  const samples = await measureRounds({ scenarios, sides, rounds, tell });
  return {
    text: report(samples, sides),
    samples,
    versions: versionsOf(sides),
    left: [...left, ...failuresIn(samples)],
  };
}

function portsOf({ ports }: Side, kind: 'byHost' | 'http'): Side['ports'] {
  const port = ports[kind];
  return port === undefined ? {} : { http: port };
}

function scenariosFor({ only, ms }: SuiteOptions): Scenario[] {
  const scenario = (
    name: string,
    measure: (options: LoadOptions, host: string) => Promise<number>,
  ): Scenario => ({
    name,
    unit: '/s',
    measure: ({ ports: { http } }, meter) =>
      http === undefined
        ? undefined
        : measure({ target: { port: http }, connections: CONNECTIONS, ms, meter }, HOST),
  });
  return [
    scenario('keep-alive', measureRequests),
    scenario('keep-alive, autocannon', measureByAutocannon),
    scenario('new connection each', measureConnects),
  ].filter(({ name }) => name.includes(only));
}

function report(samples: readonly Sample[], sides: readonly Side[]): string {
  const names = sides.map(({ name }) => name);
  const rates = samples.map(({ scenario, sides: of }) => [
    scenario,
    ...names.map((name) => `${round(median(of[name]?.rates ?? []))} /s`),
    percent(spread(of[BY_HOST]?.rates ?? [])),
  ]);
  const ratios = samples.map(({ scenario, sides: of }) => [
    scenario,
    ratio(of[BY_HOST]?.rates ?? [], of[TCP]?.rates ?? []),
    ratio(of[BY_HOST]?.rates ?? [], of['frp by host']?.rates ?? []),
  ]);
  const costs = samples.map(({ scenario, sides: of }) => [
    scenario,
    ...names.map((name) => round(median(of[name]?.costs ?? []) * 1e6)),
  ]);
  return [
    table([[`${CONNECTIONS} connections`, ...names, 'spread'], ...rates]),
    table([['HTTP tunnel by', 'TCP tunnel', 'frp by host'], ...ratios]),
    `keep-alive wanted: ${WANTED.tcp} of the TCP tunnel, ${WANTED.frp} times frp by host\n`,
    table([['CPU µs a request', ...names], ...costs]),
  ].join('\n');
}
