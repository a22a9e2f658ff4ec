// Runs the program that a kubeconfig names for its credential, as cloud providers have them.
//
// Invariant: it ends, or is killed, within PROGRAM_MS, and nobody waits for what it has started
// itself; it is asked nothing, as nobody is there to answer; what it prints is bounded, and only
// what it complains of is told. Must not know: what a credential is.

import { execFile } from 'node:child_process';
import { loggable } from '../base/loggable.ts';
import type { RunProgram } from '../operator/exec-credential.ts';

/** Guess: those of cloud providers ask an API or two. */
const PROGRAM_MS = 60_000;
/** A certificate with its key has a few KiB. */
const OUTPUT_BYTES_MAX = 1024 * 1024;
const SHOWN_LENGTH = 200;

export function createRunProgram(timeoutMs = PROGRAM_MS): RunProgram {
  return ({ command, args, env }) =>
    new Promise((resolve, reject) => {
      const limits = { timeout: timeoutMs, maxBuffer: OUTPUT_BYTES_MAX };
      const options = {
        ...limits,
        env: { ...process.env, ...env },
        killSignal: 'SIGKILL',
      } as const;
      const child = execFile(command, args, options, (error, stdout, stderr) => {
        if (error === null) resolve(stdout);
        else reject(new Error(failureText(error, stderr, timeoutMs), { cause: error }));
      });
      child.stdin?.on('error', () => {
        // It could not be started, which the end tells, or reads nothing.
      });
      child.stdin?.end();
    });
}

function failureText(
  { code, killed, syscall = '' }: Failure,
  stderr: string,
  timeoutMs: number,
): string {
  if (code === 'ERR_CHILD_PROCESS_STDIO_MAXBUFFER') return 'prints without end, and was killed';
  if (killed === true) return `did not end within ${timeoutMs / 1000} s, and was killed`;
  if (syscall.startsWith('spawn')) return `cannot be started: ${String(code)}`;
  const text = loggable(stderr.replace(/\s+/g, ' ').trim().slice(-SHOWN_LENGTH));
  return `ended with ${String(code)}${text === '' ? '' : `: ${text}`}`;
}

interface Failure {
  readonly code?: unknown;
  readonly killed?: boolean;
  readonly syscall?: string;
}
