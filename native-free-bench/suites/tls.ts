// The suite of TLS: a link over TLS against the plain one and against frp with TLS, and HTTPS
// visitors against nginx as a reverse proxy with the same certificate.
//
// Invariant: the same origin is behind every side, and one process with one thread for TLS is
// nginx as the exit node is. Must not know: how a certificate is made; the exit node makes it.

import { readFileSync } from 'node:fs';
import {
  type LoadOptions,
  measureDownload,
  measureEchoes,
  measureUpload,
} from '../harness/load.ts';
import { startOrigins, startSecureNginx } from '../harness/plain.ts';
import { measureRounds, type Sample, type Scenario } from '../harness/rounds.ts';
import type { Side } from '../harness/side.ts';
import type { SuiteOptions, SuiteResult } from '../harness/suite.ts';
import { versionsOf } from '../harness/suite.ts';
import { median, percent, ratio, round, spread, table } from '../harness/table.ts';
import {
  measureFullHandshakes,
  measureResumedHandshakes,
  measureSecureRequests,
} from '../harness/tls-load.ts';
import { startTunnel } from '../harness/tunnel.ts';
import { frpTls } from '../peers/frp.ts';
import { startPeer } from '../peers/peer.ts';

const [PLAIN, TLS, FRP, HTTPS, NGINX] = [
  'plain link',
  'TLS link',
  'frp TLS',
  'HTTPS',
  'nginx',
] as const;
/** What the issue and the design ask for: of our plain link, and by frp with TLS. */
const WANTED = { plain: 0.7, frp: 1.9 };

type Measure = (options: LoadOptions) => Promise<number>;

const LINK_ROWS: readonly (readonly [string, string, Measure, number])[] = [
  ['download, 1', 'MB/s', measureDownload, 1],
  ['download, 8', 'MB/s', measureDownload, 8],
  ['upload, 1', 'MB/s', measureUpload, 1],
  ['echo of 64 B, 64', '/s', measureEchoes, 64],
];
const VISITOR_ROWS = [
  ['full handshakes, 8', measureFullHandshakes, 8],
  ['resumed handshakes, 8', measureResumedHandshakes, 8],
  ['keep-alive requests, 64', measureSecureRequests, 64],
] as const;

export async function measureTls(options: SuiteOptions): Promise<SuiteResult> {
  const { children, rounds, tell, peersFolder, shards, entry } = options;
  const origins = await startOrigins(children);
  const folder = children.folder();
  const common = { origins, shards, entry };
  const secure = await startTunnel(children, { ...common, tlsFolder: folder });
  const pair = { cert: `${folder}/server.crt`, key: `${folder}/server.key` };
  const plain = await startTunnel(children, { ...common, https: pair });
  const left: string[] = [];
  const links: Side[] = [
    { ...plain, name: PLAIN },
    { ...secure, name: TLS },
  ];
  const rival = await startPeer(frpTls, children, { origins, peersFolder });
  if (typeof rival === 'string') left.push(`${FRP}: ${rival}`);
  else links.push({ ...rival, name: FRP });
  const visitors: Side[] = [{ ...plain, name: HTTPS }];
  const nginx = await startSecureNginx(children, pair, origins.http);
  if (nginx === undefined) left.push(`${NGINX}: not installed`);
  else visitors.push({ ...nginx, name: NGINX });
  const ca = readFileSync(`${folder}/ca.crt`, 'utf8');
  const bulk = await measureRounds({
    scenarios: linkScenarios(options),
    sides: links,
    rounds,
    tell,
  });
  const scenarios = visitorScenarios(options, ca);
  const shaken = await measureRounds({ scenarios, sides: visitors, rounds, tell });
  return {
    text: [linkTable(bulk), visitorTable(shaken)].join('\n'),
    samples: { links: bulk, visitors: shaken },
    versions: versionsOf([...links, ...visitors]),
    left,
  };
}

function linkScenarios({ only, ms }: SuiteOptions): Scenario[] {
  return LINK_ROWS.filter(([name]) => name.includes(only)).map(
    ([name, unit, measure, connections]) => ({
      name,
      unit,
      measure: ({ ports: { raw } }, meter) =>
        raw === undefined ? undefined : measure({ target: { port: raw }, connections, ms, meter }),
    }),
  );
}

function visitorScenarios({ only, ms }: SuiteOptions, ca: string): Scenario[] {
  return VISITOR_ROWS.filter(([name]) => name.includes(only)).map(
    ([name, measure, connections]) => ({
      name,
      unit: '/s',
      measure: ({ ports: { https } }, meter) =>
        https === undefined
          ? undefined
          : measure({ target: { port: https }, connections, ms, meter, ca }),
    }),
  );
}

function linkTable(samples: readonly Sample[]): string {
  const rows = samples.map(({ scenario, unit, sides }) => {
    const [plain, secure, frp] = [PLAIN, TLS, FRP].map((name) => sides[name]?.rates ?? []);
    return [
      `${scenario} (${unit})`,
      ...[plain, secure, frp].map((rates) => round(median(rates ?? []))),
      ratio(secure ?? [], plain ?? []),
      ratio(secure ?? [], frp ?? []),
      percent(spread(secure ?? [])),
    ];
  });
  const titles = ['link', PLAIN, TLS, FRP, 'of plain', 'by frp TLS', 'spread'];
  const wanted = `wanted of one stream down: ${WANTED.plain} of plain, ${WANTED.frp} by frp TLS\n`;
  return table([titles, ...rows]) + wanted;
}

function visitorTable(samples: readonly Sample[]): string {
  const rows = samples.map(({ scenario, sides }) => {
    const [ours, nginx] = [sides[HTTPS], sides[NGINX]];
    const cost = (costs: readonly number[] = []): string => `${round(median(costs) * 1e6)} µs`;
    return [
      scenario,
      ...[ours, nginx].map((side) => `${round(median(side?.rates ?? []))} /s`),
      ratio(ours?.rates ?? [], nginx?.rates ?? []),
      cost(ours?.costs),
      cost(nginx?.costs),
      percent(spread(ours?.rates ?? [])),
    ];
  });
  const titles = ['visitors', HTTPS, NGINX, 'by nginx', `CPU ${HTTPS}`, `CPU ${NGINX}`, 'spread'];
  return table([titles, ...rows]);
}
