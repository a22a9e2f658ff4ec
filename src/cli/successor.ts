// Both ends of the channel between a server and the one that takes over from it.
//
//   old --sockets, as descriptors from 4 on; their names in the first message--> new
//   new --prepared--> old --moving--> new --ready--> old
//
// Invariant: the successor runs the command line and the environment that this process was started
// with, and what is at the same path now; a descriptor is named before it is used. Must not know:
// what is done with sockets, or who moves when.

import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import type { Moving, StartSuccessor } from '../control/hand-over.ts';
import { Inheritance, type InheritedSocket } from '../control/inheritance.ts';
import type { Predecessor } from '../control/predecessor.ts';
import { ownArguments, ownCommand } from './own-command.ts';

/** Marks a successor; taken out of the environment before options are read from it. */
const VARIABLE = 'SLUICEWAY_PREDECESSOR';
/** Behind stdin, stdout, stderr and the channel. */
const FIRST_FD = 4;

type Said =
  | { readonly kind: 'sockets'; readonly sockets: readonly InheritedSocket[] }
  | { readonly kind: 'moving'; readonly moving: Moving }
  | { readonly kind: 'prepared' | 'ready' };

export const startSuccessor: StartSuccessor = (sockets, events) => {
  const { command, args } = ownCommand(ownArguments());
  const fds = sockets.flatMap((socket) => [...socket.fds]);
  const stdio: StdioOptions = ['inherit', 'inherit', 'inherit', 'ipc', ...fds];
  const env = { ...process.env, [VARIABLE]: String(process.pid) };
  const child = spawn(command, args, { stdio, env });
  child.on('error', (error) => events.onEnd(error.message));
  child.on('exit', (code, signal) => events.onEnd(`it ended with ${code ?? signal}`));
  child.on('message', ({ kind }: Said) => {
    if (kind === 'prepared') events.onPrepared();
    else if (kind === 'ready') events.onReady();
  });
  tell(child, { kind: 'sockets', sockets: renumber(sockets) });
  return {
    pid: child.pid ?? 0,
    move: (moving) => tell(child, { kind: 'moving', moving }),
    end: () => void child.kill('SIGKILL'),
  };
};

/** Its descriptors are those at which it finds them. */
function renumber(sockets: readonly InheritedSocket[]): InheritedSocket[] {
  let next = FIRST_FD;
  return sockets.map((socket) => ({
    ...socket,
    fds: socket.fds.map(() => {
      next += 1;
      return next - 1;
    }),
  }));
}

function tell(child: ChildProcess, said: Said): void {
  // A child that is gone is told of by its end.
  child.send(said, () => undefined);
}

/** Whom this process takes over from; undefined when it was started by anybody else. */
export async function findPredecessor(): Promise<Predecessor | undefined> {
  const isSuccessor = process.env[VARIABLE] !== undefined && process.send !== undefined;
  const pid = Number(process.env[VARIABLE]);
  delete process.env[VARIABLE];
  if (!isSuccessor) return undefined;
  const said = await nextMessage();
  if (said?.kind !== 'sockets') throw new Error('the predecessor left no sockets');
  let served: ReadonlySet<string> = new Set();
  return {
    inheritance: new Inheritance(said.sockets, closeSync),
    prepared: async () => {
      const answer = nextMessage();
      say({ kind: 'prepared' });
      const answered = await answer;
      if (answered?.kind !== 'moving') return { tunnels: [], clients: [] };
      const { moving } = answered;
      served = new Set(moving.served ?? moving.tunnels);
      return moving;
    },
    serves: (tunnel) => process.connected && served.has(tunnel),
    ready: () => say({ kind: 'ready' }, () => leaveChannel()),
    get isGone(): boolean {
      return !process.connected;
    },
    get pid(): number | undefined {
      // Another one looks after this process when that has ended.
      return process.ppid === pid ? pid : undefined;
    },
  };
}

/** A predecessor that has gone meanwhile is no failure of ours: its sockets are here. */
function say(said: Said, onSaid: () => void = () => undefined): void {
  if (process.connected) process.send?.(said, onSaid);
}

function leaveChannel(): void {
  // It may be closed already, and would make an error of that.
  if (process.connected) process.disconnect?.();
}

/** Undefined: the predecessor has gone. */
function nextMessage(): Promise<Said | undefined> {
  return new Promise((resolve) => {
    if (!process.connected) {
      resolve(undefined);
      return;
    }
    // None is left behind: with one the channel would keep a process that failed from ending.
    const onGone = (): void => answer(undefined);
    const answer = (said: unknown): void => {
      process.off('message', answer).off('disconnect', onGone);
      resolve(said as Said | undefined);
    };
    process.on('message', answer).on('disconnect', onGone);
  });
}
