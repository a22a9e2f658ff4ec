// The suite of memory: resident bytes of both ends at rest, for each idle visitor, and under load.
//
// Invariant: each sample is of processes started for it, at rest before anything was sent; an idle
// visitor's connection has echoed once, so it exists at both ends and at the origin. Visitors come
// from several addresses of loopback, so that ports of one do not bound them.

import type { Socket } from 'node:net';
import { Children } from '../harness/children.ts';
import { dialOne, measureEchoes, open, pause, WANT } from '../harness/load.ts';
import { startOrigins } from '../harness/plain.ts';
import { openFilesMax, residentBytes } from '../harness/process-cost.ts';
import type { Side } from '../harness/side.ts';
import {
  type Sampled,
  type SuiteOptions,
  type SuiteResult,
  startSides,
  versionsOf,
} from '../harness/suite.ts';
import { median, round, table } from '../harness/table.ts';

/** Time for a started process, or one with new connections, to come to rest; a guess. */
const SETTLE_MS = 1_500;
const LOAD_CONNECTIONS = 64;
/** Connections opened at once, well below any backlog. */
const BATCH = 50;
/** Of one address; the kernel has some 28,000 ports to choose from. */
const PER_ADDRESS = 5_000;
/** Files that a process has open beside its connections; a guess with room. */
const OTHER_FILES = 500;
/** Beyond these the exit node has to be told that so many are wanted. */
const SPARE_STREAMS = 100;

export interface Bytes {
  readonly server: number;
  readonly client: number;
}

export interface MemorySample {
  readonly side: string;
  readonly rest: Bytes[];
  /** By how many visitors are idle. */
  readonly idle: Record<number, Bytes[]>;
  readonly load: Bytes[];
  failure?: string;
}

export async function measureMemory(options: SuiteOptions): Promise<SuiteResult> {
  const { samples, sides, left } = await sampleMemory(options);
  return { text: report(samples), samples, versions: versionsOf(sides), left };
}

export async function sampleMemory(options: SuiteOptions): Promise<Sampled<MemorySample>> {
  const { rounds, tell } = options;
  const connections = options.connections.filter((count) => count + OTHER_FILES <= openFilesMax());
  const samples = new Map<string, MemorySample>();
  let all: readonly Side[] = [];
  let left: readonly string[] = [];
  for (let index = 0; index < rounds; index += 1) {
    const children = new Children();
    try {
      const origins = await startOrigins(children);
      const limits = limitsFor(Math.max(...connections));
      const sides = await startSides({ ...options, children }, { origins }, limits);
      all = [sides.tunnel, ...sides.peers];
      left = sides.left;
      for (const side of index % 2 === 0 ? all : all.toReversed()) {
        tell(`round ${index + 1} of ${rounds}: memory of ${side.name}`);
        const { name } = side;
        const sample = samples.get(name) ?? { side: name, rest: [], idle: {}, load: [] };
        samples.set(name, sample);
        await measureOne(side, sample, { ...options, connections });
      }
      sides.tunnel.check?.();
    } finally {
      children.stop();
    }
  }
  const list = [...samples.values()];
  return { samples: list, sides: all, left: [...left, ...unmeasured(list, options.connections)] };
}

/** What grew at both ends for each of `count` idle visitors, a figure for each round. */
export function bytesPerVisitor({ rest, idle }: MemorySample, count: number): number[] {
  return (idle[count] ?? []).map(({ server, client }, index) => {
    const before = rest[index] ?? { server: 0, client: 0 };
    return (server + client - before.server - before.client) / count;
  });
}

function limitsFor(count: number): { serverArgs: string[]; clientArgs: string[] } {
  const streams = `--streams-per-link-max=${count + SPARE_STREAMS}`;
  const visitors = `--visitor-connections-max=${count + SPARE_STREAMS}`;
  return { serverArgs: [visitors, streams], clientArgs: [streams] };
}

async function measureOne(side: Side, sample: MemorySample, options: SuiteOptions): Promise<void> {
  const { connections, ms, isSmoke } = options;
  const settle = (): Promise<void> => pause(isSmoke ? 1 : SETTLE_MS);
  const port = side.ports.raw ?? 0;
  await settle();
  sample.rest.push(bytesOf(side));
  const sockets: Socket[] = [];
  try {
    for (const count of connections) {
      while (sockets.length < count) {
        const more = Math.min(BATCH, count - sockets.length);
        sockets.push(...(await openIdle(port, sockets.length, more)));
      }
      await settle();
      sample.idle[count] = [...(sample.idle[count] ?? []), bytesOf(side)];
    }
    for (const socket of sockets) socket.destroy();
    await measureEchoes({ target: { port }, connections: LOAD_CONNECTIONS, ms });
    sample.load.push(bytesOf(side));
  } catch (error) {
    // Ours must hold them; of a peer it is a result.
    if (side.check !== undefined) throw error;
    sample.failure = error instanceof Error ? error.message : String(error);
  } finally {
    for (const socket of sockets) socket.destroy();
  }
}

async function openIdle(port: number, before: number, count: number): Promise<Socket[]> {
  const from = `127.0.0.${2 + Math.floor(before / PER_ADDRESS)}`;
  const dial = (connections: number): Promise<Socket[]> =>
    Promise.all(Array.from({ length: connections }, () => dialOne({ port }, from)));
  const opened = await open({ target: { port, dial }, connections: count }, `${WANT.ECHO}.`);
  await Promise.all(opened.map(untilEcho));
  return opened;
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

function unmeasured(samples: readonly MemorySample[], wanted: readonly number[]): string[] {
  const most = openFilesMax();
  const tooMany = wanted
    .filter((count) => count + OTHER_FILES > most)
    .map((count) => `${count} idle: more than the ${most} open files allowed (ulimit -n)`);
  const failed = samples.flatMap(({ side, failure }) => (failure ? [`${side}: ${failure}`] : []));
  return [...tooMany, ...failed];
}

function report(samples: readonly MemorySample[]): string {
  const counts = Object.keys(samples[0]?.idle ?? {}).map(Number);
  const mb = (of: readonly Bytes[]): string => {
    const server = median(of.map((bytes) => bytes.server));
    const client = median(of.map((bytes) => bytes.client));
    return `${round(server / 1e6)} / ${round(client / 1e6)} MB`;
  };
  const each = (sample: MemorySample, count: number): string =>
    `${round(median(bytesPerVisitor(sample, count)) / 1024, 1)} KiB`;
  return table([
    [
      ...['server / client', 'at rest'],
      ...counts.flatMap((count) => [`${round(count)} idle`, 'each, both ends']),
      'after 64 echoes',
    ],
    ...samples.map((sample) => [
      sample.side,
      mb(sample.rest),
      ...counts.flatMap((count) => [mb(sample.idle[count] ?? []), each(sample, count)]),
      mb(sample.load),
    ]),
  ]);
}
