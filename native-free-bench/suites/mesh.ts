// The suite of the mesh: a client with one link on an exit node with four shards, visitors whose
// shard has the link against visitors of the other three.
//
// Invariant: both kinds are visitors of the same processes, on the same port and the same link;
// what tells them apart is whether opening one moved bytes between shards, as the exit node itself
// counts them. Nobody else may be there meanwhile. Must not know: how a shard is chosen.

import type { Socket } from 'node:net';
import { dialOne, measureDownload, measureEchoes, measureUpload, WANT } from '../harness/load.ts';
import { startOrigins } from '../harness/plain.ts';
import { type LoadRow, loadScenarios, measureRounds, type Sample } from '../harness/rounds.ts';
import type { Side } from '../harness/side.ts';
import { type Sampled, type SuiteOptions, type SuiteResult, versionsOf } from '../harness/suite.ts';
import { costText, median, percent, ratio, round, spread, table } from '../harness/table.ts';
import { scrape, startTunnel, type Tunnel } from '../harness/tunnel.ts';

export const [DIRECT, MESH] = ['direct', 'mesh'] as const;
/** Of the direct path (issue: the fastest tunnel). */
export const WANTED = 0.6;
const SHARDS = 4;
/** Visitors opened in search of one of a kind; one in four has the link in its shard. */
const TRIES_EACH_MAX = 64;

const ROWS: readonly LoadRow[] = [
  ['download, 1', 'MB/s', measureDownload, 1],
  ['download, 8', 'MB/s', measureDownload, 8],
  ['upload, 1', 'MB/s', measureUpload, 1],
  ['echo of 64 B, 64', '/s', measureEchoes, 64],
];

export async function measureMesh(options: SuiteOptions): Promise<SuiteResult> {
  const { samples, sides, left } = await sampleMesh(options);
  return { text: report(samples), samples, versions: versionsOf(sides), left };
}

export async function sampleMesh(options: SuiteOptions): Promise<Sampled<Sample>> {
  const { children, rounds, tell, entry } = options;
  const origins = await startOrigins(children);
  const clientArgs = ['--links=1'];
  const tunnel = await startTunnel(children, { origins, shards: SHARDS, entry, clientArgs });
  const sides: Side[] = [DIRECT, MESH].map((name) => ({
    ...tunnel,
    name,
    dial: (connections) => dialKind(tunnel, name === MESH, connections),
  }));
  const scenarios = loadScenarios(ROWS, options);
  return { samples: await measureRounds({ scenarios, sides, rounds, tell }), sides, left: [] };
}

/** Visitors that wait, of one kind; those of the other are closed again. */
async function dialKind(tunnel: Tunnel, isMesh: boolean, count: number): Promise<Socket[]> {
  const found: Socket[] = [];
  const others: Socket[] = [];
  let before = await meshBytes(tunnel);
  while (found.length < count) {
    if (others.length > count * TRIES_EACH_MAX) throw new Error('no visitor of the kind wanted');
    const socket = await dialOne({ port: tunnel.ports.raw ?? 0 });
    socket.write(WANT.PATIENCE);
    await new Promise((resolve, reject) => {
      socket.once('data', resolve);
      socket.once('close', () => reject(new Error('a visitor was closed')));
    });
    const after = await meshBytes(tunnel);
    (after > before === isMesh ? found : others).push(socket);
    before = after;
  }
  for (const socket of others) {
    socket.on('error', () => undefined);
    socket.resetAndDestroy();
  }
  return found;
}

function meshBytes(tunnel: Tunnel): Promise<number> {
  return scrape(tunnel, 'sluiceway_mesh_bytes_total');
}

function report(samples: readonly Sample[]): string {
  const rows = samples.map(({ scenario, unit, sides }) => {
    const [direct, mesh] = [sides[DIRECT], sides[MESH]];
    return [
      `${scenario} (${unit})`,
      ...[direct, mesh].map((side) => round(median(side?.rates ?? []))),
      ratio(mesh?.rates ?? [], direct?.rates ?? []),
      percent(spread(mesh?.rates ?? [])),
      ...[direct, mesh].map((side) => costText(unit, side?.costs ?? [])),
    ];
  });
  const titles = ['', DIRECT, MESH, 'of direct', 'spread', `CPU ${DIRECT}`, `CPU ${MESH}`];
  return `${table([titles, ...rows])}wanted: ${WANTED} of the direct path\n`;
}
