// Makes a machine and waits until what was installed on it answers; or leaves nothing behind.
//
//   create ──▶ an address ──▶ answers ──▶ done
//      any failure, the deadline, or an interruption: deleted, or named when that fails
//
// Invariant: an interruption is acted upon between two requests and never within one, so that what
// a request made is known. Must not know: what is installed, or how it is asked.

import type { Clock } from '../base/clock.ts';
import { SluicewayError } from '../base/errors.ts';
import { LeftBehind } from './making.ts';
import { isUnheard, type Machine, type MachineRequest, type Provider } from './provider.ts';

export interface Progress {
  readonly stage: 'creating' | 'addressing' | 'starting' | 'removing';
  readonly machine?: Machine;
}

export interface CreateOptions<T> {
  readonly provider: Provider;
  readonly request: MachineRequest;
  /** What is known once the machine answers at its address; undefined until then. */
  readonly reach: (address: string) => Promise<T | undefined>;
  readonly clock: Clock;
  /** Ends early when it is given a signal that is aborted, or was before. */
  readonly sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: Progress) => void;
}

export interface Created<T> {
  readonly machine: Machine;
  readonly address: string;
  readonly found: T;
}

/**
 * How often a machine that may be there is looked for, as a cloud may list what it made only after
 * a while. Guess.
 */
const LOOKS_MAX = 5;
/** Between two questions. Guess: machines take half a minute at least. */
const ASK_AGAIN_MS = 3000;

export async function createExitNode<T>(options: CreateOptions<T>): Promise<Created<T>> {
  const { provider, request, signal, onProgress } = options;
  const taken = (await provider.list()).find(({ name }) => name === request.name);
  if (taken !== undefined) {
    const text = `there is an exit node ${request.name} already, ${taken.id}; give another --name`;
    throw new SluicewayError('SLW_CLOUD_REFUSED', text);
  }
  signal.throwIfAborted();
  onProgress({ stage: 'creating' });
  const machine = await provider.create(request).catch(async (cause: unknown) => {
    throw await withUnheard(cause, options);
  });
  try {
    return await waitFor(options, machine);
  } catch (cause) {
    onProgress({ stage: 'removing', machine });
    throw await removed(cause, provider, machine);
  }
}

/** Nobody said what came of it: the machine may be there all the same, or a part of it. */
async function withUnheard<T>(cause: unknown, options: CreateOptions<T>): Promise<unknown> {
  if (!isUnheard(cause)) return cause;
  const maybe = `maybe ${options.request.name} (see exit-node list)`;
  try {
    const made = await lookFor(options);
    if (made !== undefined) return await removed(cause, options.provider, made);
    return new LeftBehind(cause, maybe, 'it is not listed yet');
  } catch (why) {
    return new LeftBehind(cause, maybe, why);
  }
}

/** The machine; or else, after a while, what there is of it. */
async function lookFor<T>({ provider, request, sleep }: CreateOptions<T>) {
  for (let looks = 1; ; looks += 1) {
    const named = (await provider.list()).filter(({ name }) => name === request.name);
    const whole = named.find(({ state }) => state !== 'ending');
    if (whole !== undefined || looks >= LOOKS_MAX) return whole ?? named[0];
    // Not cut short by a signal: who stops looking leaves it behind.
    await sleep(ASK_AGAIN_MS);
  }
}

/** The error to throw: the cause when the machine is gone, or one that names it. */
async function removed(cause: unknown, provider: Provider, machine: Machine): Promise<unknown> {
  try {
    await provider.delete(machine.id);
    return cause;
  } catch (why) {
    return new LeftBehind(cause, machine.id, why);
  }
}

async function waitFor<T>(options: CreateOptions<T>, first: Machine): Promise<Created<T>> {
  const { provider, clock, deadlineMs, signal, onProgress, reach } = options;
  const endMs = clock.nowMs() + deadlineMs;
  let machine = first;
  let stage: Progress['stage'] | undefined;
  for (;;) {
    signal.throwIfAborted();
    const next = machine.address === undefined ? 'addressing' : 'starting';
    if (next !== stage) onProgress({ stage: next, machine });
    stage = next;
    const { address } = machine;
    const found = address === undefined ? undefined : await reach(address);
    if (address !== undefined && found !== undefined) return { machine, address, found };
    if (clock.nowMs() >= endMs) {
      const seconds = Math.round(deadlineMs / 1000);
      const what = address === undefined ? 'has no address' : `does not answer at ${address}`;
      throw new SluicewayError('SLW_TIMEOUT', `${machine.id} ${what} after ${seconds} s`);
    }
    await options.sleep(ASK_AGAIN_MS, signal);
    machine = await look(provider, machine);
  }
}

async function look(provider: Provider, machine: Machine): Promise<Machine> {
  const now = await provider.get(machine.id);
  if (now === undefined || now.state === 'ending' || now.state === 'failed') {
    const state = now?.state ?? 'gone';
    throw new SluicewayError('SLW_CLOUD_REFUSED', `${machine.id} is ${state} before it answered`);
  }
  return now.address === undefined && machine.address !== undefined
    ? { ...now, address: machine.address }
    : now;
}
