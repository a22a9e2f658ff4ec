// What a peer is to the bench: another tunnel program, started with the same origins behind it.
//
// Invariant: a peer that is not installed, or does not start, is left out with its reason, nothing
// of it runs any more, and the run goes on. Must not know: scenarios, rounds.

import path from 'node:path';
import { type Child, type Children, findProgram, untilAnswers } from '../harness/children.ts';
import { HOST, type Kind, type Side, type SideOptions } from '../harness/side.ts';

/** Where `build.sh` puts what it builds. */
export const PEERS_FOLDER = path.join(import.meta.dirname, 'bin');

/** What an adapter starts from. */
export interface Site extends Required<SideOptions> {
  readonly host: string;
  /** A scratch folder of this peer's own, for its configuration. */
  readonly folder: string;
  run(program: string, args: readonly string[]): Child;
}

export interface Started {
  readonly ports: Readonly<Partial<Record<Kind, number>>>;
  readonly server: readonly Child[];
  readonly client: readonly Child[];
}

export interface Peer {
  readonly name: string;
  readonly programs: readonly string[];
  /** Prints the version when given to the first program. */
  readonly versionArg: string;
  /** Finds it in what is printed, where the first number of three parts there is another's. */
  readonly versionPattern?: RegExp;
  /** Why it cannot serve clients at a distance, where that is so. */
  readonly noDistance?: string;
  start(site: Site): Promise<Started>;
}

export interface PeerOptions extends SideOptions {
  readonly peersFolder: string;
}

/** The running peer, or the reason why there is none. */
export async function startPeer(
  peer: Peer,
  children: Children,
  options: PeerOptions,
): Promise<Side | string> {
  const found = new Map<string, string>();
  for (const name of peer.programs) {
    const program = findProgram(name, options.peersFolder);
    if (program === undefined) return `${name} is not installed`;
    found.set(name, program);
  }
  const { through, origins } = options;
  if (through !== undefined && peer.noDistance !== undefined) return peer.noDistance;
  const running: Child[] = [];
  const run = (program: string, args: readonly string[]): Child => {
    const child = children.run(found.get(program) ?? program, args);
    running.push(child);
    return child;
  };
  try {
    const started = await peer.start({
      origins,
      through: through ?? (async (port) => port),
      host: HOST,
      folder: children.folder(),
      run,
    });
    await untilReady(started);
    return {
      name: peer.name,
      version: await versionOf(peer, run),
      ports: started.ports,
      pids: { server: started.server.map(pidOf), client: started.client.map(pidOf) },
    };
  } catch (error) {
    // What is up of it would take from what is measured, as by dialling again and again.
    for (const { process } of running) process.kill('SIGKILL');
    return `does not start: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** Every port leads to the origin: bytes come back, and a page. */
async function untilReady({ ports, server, client }: Started): Promise<void> {
  const children = [...server, ...client];
  const page = `GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`;
  if (ports.raw !== undefined) await untilAnswers(ports.raw, 'eping', 'ping', children);
  if (ports.http !== undefined) await untilAnswers(ports.http, page, ' 200 ', children);
  if (ports.byHost !== undefined) await untilAnswers(ports.byHost, page, ' 200 ', children);
}

async function versionOf(
  { programs: [program = ''], versionArg, versionPattern }: Peer,
  run: Site['run'],
): Promise<string> {
  const child = run(program, [versionArg]);
  await new Promise((resolve) => child.process.once('close', resolve));
  return versionIn(child.output(), versionPattern);
}

export function versionIn(text: string, pattern = /\b\d+\.\d+\.\d+\S*/): string {
  return (pattern.exec(text) ?? /\d+\.\d+\S*/.exec(text))?.[0] ?? '';
}

function pidOf(child: Child): number {
  return child.pid;
}
