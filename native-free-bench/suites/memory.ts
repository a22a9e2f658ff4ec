// The suite of memory: resident bytes of both ends at rest, for each idle visitor, and under load.
//
// Invariant: each sample is of processes started for it, at rest before anything was sent; an idle
// visitor's connection has echoed once, so it exists at both ends and at the origin.

import type { Socket } from 'node:net';
import { Children } from '../harness/children.ts';
import { measureEchoes, open, pause, WANT } from '../harness/load.ts';
import { startOrigins } from '../harness/plain.ts';
import { residentBytes } from '../harness/process-cost.ts';
import type { Side } from '../harness/side.ts';
import { type SuiteOptions, type SuiteResult, startSides, versionsOf } from '../harness/suite.ts';
import { median, round, table } from '../harness/table.ts';

/** Time for a started process, or one with new connections, to come to rest; a guess. */
const SETTLE_MS = 1_500;
const LOAD_CONNECTIONS = 64;
/** Connections opened at once, well below any backlog. */
const BATCH = 50;

interface Bytes {
  readonly server: number;
  readonly client: number;
}

interface MemorySample {
  readonly side: string;
  readonly rest: Bytes[];
  readonly idle: Bytes[];
  readonly load: Bytes[];
}

export async function measureMemory(options: SuiteOptions): Promise<SuiteResult> {
  const { rounds, tell, connections } = options;
  const samples = new Map<string, MemorySample>();
  let versions: Record<string, string> = {};
  let left: readonly string[] = [];
  for (let index = 0; index < rounds; index += 1) {
    const children = new Children();
    try {
      const origins = await startOrigins(children);
      const sides = await startSides({ ...options, children }, { origins });
      const all = [sides.tunnel, ...sides.peers];
      versions = versionsOf(all);
      left = sides.left;
      for (const side of index % 2 === 0 ? all : all.toReversed()) {
        tell(`round ${index + 1} of ${rounds}: memory of ${side.name}`);
        const { name } = side;
        const sample = samples.get(name) ?? { side: name, rest: [], idle: [], load: [] };
        samples.set(name, sample);
        await measureOne(side, sample, options);
      }
    } finally {
      children.stop();
    }
  }
  const list = [...samples.values()];
  return { text: report(list, connections), samples: { connections, sides: list }, versions, left };
}

async function measureOne(side: Side, sample: MemorySample, options: SuiteOptions): Promise<void> {
  const { connections, ms, isSmoke } = options;
  const settle = (): Promise<void> => pause(isSmoke ? 1 : SETTLE_MS);
  const port = side.ports.raw ?? 0;
  await settle();
  sample.rest.push(bytesOf(side));
  const sockets: Socket[] = [];
  for (let count = 0; count < connections; count += BATCH) {
    const batch = Math.min(BATCH, connections - count);
    const opened = await open({ target: { port }, connections: batch }, `${WANT.ECHO}.`);
    await Promise.all(opened.map(untilEcho));
    sockets.push(...opened);
  }
  await settle();
  sample.idle.push(bytesOf(side));
  for (const socket of sockets) socket.destroy();
  await measureEchoes({ target: { port }, connections: LOAD_CONNECTIONS, ms });
  sample.load.push(bytesOf(side));
}

function untilEcho(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('data', () => resolve());
    socket.once('close', () => reject(new Error('an idle connection was closed')));
  });
}

function bytesOf({ pids }: Side): Bytes {
  return { server: residentBytes(pids.server), client: residentBytes(pids.client) };
}

function report(samples: readonly MemorySample[], connections: number): string {
  const mb = (of: readonly Bytes[]): string => {
    const server = median(of.map((bytes) => bytes.server));
    const client = median(of.map((bytes) => bytes.client));
    return `${round(server / 1e6)} / ${round(client / 1e6)} MB`;
  };
  const each = ({ rest, idle }: MemorySample): string => {
    const grown = idle.map((bytes, index) => {
      const before = rest[index] ?? { server: 0, client: 0 };
      return bytes.server + bytes.client - before.server - before.client;
    });
    return `${round(median(grown) / connections / 1024, 1)} KiB`;
  };
  return table([
    ['server / client', 'at rest', `${connections} idle`, 'each, both ends', 'after 64 echoes'],
    ...samples.map((sample) => [
      sample.side,
      mb(sample.rest),
      mb(sample.idle),
      each(sample),
      mb(sample.load),
    ]),
  ]);
}
