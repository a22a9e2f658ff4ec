// What processes cost: CPU seconds and resident bytes, from /proc, with all they started.
//
// Invariant: a process that forks for each connection (sshd) is counted whole, and so is what its
// ended children used. Must not know: which processes these are.

import { readdirSync, readFileSync } from 'node:fs';

/** Clock ticks a second on Linux, fixed by the kernel's interface to programs. */
const TICKS_PER_SECOND = 100;
const PAGE_BYTES = 4096;
/** Places in /proc/PID/stat behind the name, counted from the state (proc(5)). */
const PARENT = 1;
const CPU_FIRST = 11;
const CPU_LAST = 14;

/** CPU seconds that the processes, all below them, and their ended children have used so far. */
export function cpuSeconds(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of withDescendants(pids)) {
    const fields = statOf(pid);
    for (let at = CPU_FIRST; at <= CPU_LAST; at += 1) ticks += Number(fields[at] ?? 0);
  }
  return ticks / TICKS_PER_SECOND;
}

/** Resident bytes of the processes and all below them. */
export function residentBytes(pids: readonly number[]): number {
  let pages = 0;
  for (const pid of withDescendants(pids)) {
    pages += Number(read(`/proc/${pid}/statm`).split(' ')[1] ?? 0);
  }
  return pages * PAGE_BYTES;
}

/** CPU seconds of the main threads alone: of an exit node that is control, and no traffic. */
export function mainThreadSeconds(pids: readonly number[]): number {
  // Nanoseconds, where stat counts hundredths: the main thread does next to nothing.
  const times = pids.map((pid) => read(`/proc/${pid}/task/${pid}/schedstat`).split(' ')[0]);
  return times.reduce((sum, ns) => sum + Number(ns) / 1e9, 0);
}

/** Files that a process may have open. */
export function openFilesMax(): number {
  const soft = /^Max open files\s+(\d+)/m.exec(read('/proc/self/limits'))?.[1];
  return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft);
}

/** Paths of native add-ons that a process has mapped. */
export function nativeAddons(pid: number): string[] {
  const files = read(`/proc/${pid}/maps`)
    .split('\n')
    .map((line) => line.slice(line.indexOf('/')))
    .filter((file) => file.endsWith('.node'));
  return [...new Set(files)];
}

function withDescendants(roots: readonly number[]): Set<number> {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const parent = Number(statOf(pid)[PARENT] ?? 0);
    children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  const found = new Set<number>();
  const visit = (pid: number): void => {
    if (found.has(pid)) return;
    found.add(pid);
    children.get(pid)?.forEach(visit);
  };
  roots.forEach(visit);
  return found;
}

function statOf(pid: number): string[] {
  return fieldsOf(`/proc/${pid}/stat`);
}

function fieldsOf(file: string): string[] {
  const text = read(file);
  // The name in parentheses may hold anything, further parentheses too.
  return text.slice(text.lastIndexOf(')') + 2).split(' ');
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    // It ended between the listing and now.
    return '';
  }
}
