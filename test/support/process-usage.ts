// What the kernel says that a process uses: memory that is resident, and time of the processor.
//
// Invariant: read at once, never estimated; Linux. Must not know: what the process does.

import { readFileSync } from 'node:fs';

const TICKS_PER_SECOND = 100;

export interface ProcessUsage {
  readonly residentBytes: number;
  /** Of all threads, in user and system, since it started. */
  readonly cpuSeconds: number;
}

export function usageOf(pid: number): ProcessUsage {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return {
    residentBytes: Number(/VmRSS:\s+(\d+) kB/u.exec(status)?.[1]) * 1024,
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND,
  };
}
