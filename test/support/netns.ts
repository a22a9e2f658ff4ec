// Network namespaces: machines of a test's own, without a way to anywhere that was not made.
//
// Invariant: a namespace is gone after the test, with what was mounted for it. Needs root on Linux;
// elsewhere the test is skipped with its reason. Must not know: what runs inside.

import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { undoAfter } from './cleanup.ts';
import { runProgram } from './process.ts';
import { requirePrograms, skipOrFail } from './programs.ts';

let count = 0;

export class Netns {
  readonly name: string;
  readonly #ip: string;
  readonly #t: TestContext;

  constructor(t: TestContext, ip: string, name: string) {
    this.#t = t;
    this.#ip = ip;
    this.name = name;
  }

  /** A command line for a program inside. */
  inside(command: string, args: readonly string[]): { command: string; args: readonly string[] } {
    return { command: this.#ip, args: ['netns', 'exec', this.name, command, ...args] };
  }

  /** Runs a program inside to its end; throws unless it ends well. */
  async run(command: string, ...args: readonly string[]): Promise<string> {
    const run = await runProgram(this.#t, this.inside(command, args));
    if (run.code !== 0) throw new Error(`${command} ${args.join(' ')}: ${run.stderr}`);
    return run.stdout;
  }

  /** The same for `ip` itself, a line each: `link set lo up`. */
  async ip(...lines: readonly string[]): Promise<void> {
    for (const line of lines) {
      const run = await runProgram(this.#t, {
        command: this.#ip,
        args: ['-n', this.name, ...line.split(' ')],
      });
      if (run.code !== 0) throw new Error(`ip ${line}: ${run.stderr}`);
    }
  }
}

/** An empty namespace with loopback up, whose resolver asks 127.0.0.1; undefined: skipped. */
export async function createNetns(t: TestContext): Promise<Netns | undefined> {
  const programs = requirePrograms(t, ['ip', 'nft']);
  if (programs === undefined) return undefined;
  if (process.getuid?.() !== 0) {
    skipOrFail(t, 'network namespaces need root');
    return undefined;
  }
  count += 1;
  const name = `slw-${process.pid}-${count}`;
  const made = await runProgram(t, { command: programs.ip, args: ['netns', 'add', name] });
  if (made.code !== 0) {
    skipOrFail(t, `no network namespace: ${made.stderr}`);
    return undefined;
  }
  const etc = `/etc/netns/${name}`;
  mkdirSync(etc, { recursive: true });
  writeFileSync(`${etc}/resolv.conf`, 'nameserver 127.0.0.1\noptions timeout:2 attempts:1\n');
  undoAfter(t, async () => {
    await runProgram(t, { command: programs.ip, args: ['netns', 'del', name] });
    rmSync(etc, { recursive: true, force: true });
  });
  const netns = new Netns(t, programs.ip, name);
  await netns.ip('link set lo up');
  return netns;
}
