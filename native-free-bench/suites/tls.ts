// The suite of TLS: a link over TLS against the plain one and against frp with TLS, and HTTPS
// visitors, over a plain link and over a TLS one, against nginx as a reverse proxy with the same
// certificate.
//
// Invariant: the same origin is behind every side, and one process with one thread for TLS is
// nginx as the exit node is. Must not know: how a certificate is made; the exit node makes it.

import { readFileSync } from 'node:fs';
import { measureDownload, measureEchoes, measureUpload } from '../harness/load.ts';
import { startOrigins, startSecureNginx } from '../harness/plain.ts';
import {
  failuresIn,
  type LoadRow,
  loadScenarios,
  measureRounds,
  type Sample,
  type Scenario,
} from '../harness/rounds.ts';
import type { Origins, Side } from '../harness/side.ts';
import { type Sampled, type SuiteOptions, type SuiteResult, versionsOf } from '../harness/suite.ts';
import { costText, median, percent, ratio, round, spread, table } from '../harness/table.ts';
import {
  measureFullHandshakes,
  measureResumedHandshakes,
  measureSecureDownload,
  measureSecureRequests,
} from '../harness/tls-load.ts';
import { startTunnel } from '../harness/tunnel.ts';
import { frpTls } from '../peers/frp.ts';
import { startPeer } from '../peers/peer.ts';

export const [PLAIN, TLS, FRP] = ['plain link', 'TLS link', 'frp TLS'] as const;
const [HTTPS, BOTH, NGINX] = ['HTTPS', 'HTTPS + TLS link', 'nginx'] as const;
/** What the issue and the design ask for: of our plain link, and by frp with TLS. */
export const WANTED = { plain: 0.7, frp: 1.9 };

const LINK_ROWS: readonly LoadRow[] = [
  ['download, 1', 'MB/s', measureDownload, 1],
  ['download, 8', 'MB/s', measureDownload, 8],
  ['upload, 1', 'MB/s', measureUpload, 1],
  ['echo of 64 B, 64', '/s', measureEchoes, 64],
];
const VISITOR_ROWS = [
  ['full handshakes, 8', '/s', measureFullHandshakes, 8],
  ['resumed handshakes, 8', '/s', measureResumedHandshakes, 8],
  ['keep-alive requests, 64', '/s', measureSecureRequests, 64],
  ['HTTPS download, 1', 'MB/s', measureSecureDownload, 1],
  ['HTTPS download, 8', 'MB/s', measureSecureDownload, 8],
] as const;

export async function measureTls(options: SuiteOptions): Promise<SuiteResult> {
  const { rounds, tell } = options;
  const site = await startLinks(options);
  const bulk = await measureRounds({
    scenarios: loadScenarios(LINK_ROWS, options),
    sides: site.links,
    rounds,
    tell,
  });
  const { visitors, ca, left } = await startVisitors(options, site);
  const scenarios = visitorScenarios(options, ca);
  const shaken = await measureRounds({ scenarios, sides: visitors, rounds, tell });
  return {
    text: [linkTable(bulk), visitorTable(shaken)].join('\n'),
    samples: { links: bulk, visitors: shaken },
    versions: versionsOf([...site.links, ...visitors]),
    left: [...site.left, ...left, ...failuresIn([...bulk, ...shaken])],
  };
}

/** Plain links, TLS links and frp's, by the names of the constants. */
export async function sampleLinks(options: SuiteOptions): Promise<Sampled<Sample>> {
  const { rounds, tell } = options;
  const { links: sides, left } = await startLinks(options);
  const scenarios = loadScenarios(LINK_ROWS, options);
  const samples = await measureRounds({ scenarios, sides, rounds, tell });
  return { samples, sides, left: [...left, ...failuresIn(samples)] };
}

interface Site {
  readonly origins: Origins;
  /** The private CA that the exit node made, and a pair of its own. */
  readonly folder: string;
  readonly pair: { readonly cert: string; readonly key: string };
  readonly plain: Side;
  readonly links: readonly Side[];
  readonly left: readonly string[];
}

async function startLinks(options: SuiteOptions): Promise<Site> {
  const { children, peersFolder, shards, entry } = options;
  const origins = await startOrigins(children);
  const folder = children.folder();
  const common = { origins, shards, entry };
  const secure = await startTunnel(children, { ...common, tlsFolder: folder });
  const pair = { cert: `${folder}/server.crt`, key: `${folder}/server.key` };
  const plain = await startTunnel(children, { ...common, https: pair });
  const links: Side[] = [
    { ...plain, name: PLAIN },
    { ...secure, name: TLS },
  ];
  const left: string[] = [];
  const rival = await startPeer(frpTls, children, { origins, peersFolder });
  if (typeof rival === 'string') left.push(`${FRP}: ${rival}`);
  else links.push({ ...rival, name: FRP });
  return { origins, folder, pair, plain, links, left };
}

/** HTTPS over a plain link and over a TLS one, and nginx in their place. */
async function startVisitors(
  options: SuiteOptions,
  { origins, folder, pair, plain }: Site,
): Promise<{ visitors: Side[]; ca: string; left: string[] }> {
  const { children, shards, entry } = options;
  const tlsFolder = children.folder();
  const both = await startTunnel(children, { origins, shards, entry, tlsFolder, https: pair });
  const visitors: Side[] = [
    { ...plain, name: HTTPS },
    { ...both, name: BOTH },
  ];
  const nginx = await startSecureNginx(children, pair, origins.http);
  if (nginx !== undefined) visitors.push({ ...nginx, name: NGINX });
  const left = nginx === undefined ? [`${NGINX}: not installed`] : [];
  return { visitors, ca: readFileSync(`${folder}/ca.crt`, 'utf8'), left };
}

function visitorScenarios({ only, ms }: SuiteOptions, ca: string): Scenario[] {
  return VISITOR_ROWS.filter(([name]) => name.includes(only)).map(
    ([name, unit, measure, connections]) => ({
      name,
      unit,
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
  const names = [HTTPS, BOTH, NGINX];
  const rates = samples.map(({ scenario, unit, sides }) => [
    `${scenario} (${unit})`,
    ...names.map((name) => round(median(sides[name]?.rates ?? []))),
    ratio(sides[BOTH]?.rates ?? [], sides[HTTPS]?.rates ?? []),
    ratio(sides[HTTPS]?.rates ?? [], sides[NGINX]?.rates ?? []),
    percent(spread(sides[HTTPS]?.rates ?? [])),
  ]);
  const costs = samples.map(({ scenario, unit, sides }) => [
    scenario,
    ...names.map((name) => costText(unit, sides[name]?.costs ?? [])),
  ]);
  return [
    table([['visitors', ...names, 'both by HTTPS', 'HTTPS by nginx', 'spread'], ...rates]),
    table([['CPU', ...names], ...costs]),
  ].join('\n');
}
