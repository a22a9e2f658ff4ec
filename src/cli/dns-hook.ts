// Runs the operator's command for DNS records, `--letsencrypt-dns-hook`.
//
// Invariant: what a record holds reaches the command in variables and never in its text; it ends,
// or is ended, within HOOK_MS; what it wrote is part of the failure, in one line. Must not know:
// why a record is wanted.

import { execFile } from 'node:child_process';
import type { DnsHook } from '../control/challenge-board.ts';

/** A command may wait until its record can be seen everywhere. Guess. */
const HOOK_MS = 5 * 60_000;
const OUTPUT_BYTES_MAX = 64 * 1024;
const SHOWN_LENGTH = 200;

export function createDnsHook(command: string): DnsHook {
  return ({ action, domain, name, value }) =>
    new Promise((resolve, reject) => {
      const env = { ...process.env, ACTION: action, DOMAIN: domain, NAME: name, VALUE: value };
      const options = { env, timeout: HOOK_MS, maxBuffer: OUTPUT_BYTES_MAX };
      execFile('/bin/sh', ['-c', command], options, (error, stdout, stderr) => {
        if (error === null) resolve();
        else reject(new Error(failureText(action, error, `${stdout}${stderr}`)));
      });
    });
}

function failureText(
  action: string,
  error: { readonly killed?: boolean; readonly code?: unknown },
  output: string,
): string {
  const how = error.killed === true ? 'was ended' : `ended with ${String(error.code)}`;
  const text = output.replace(/\s+/g, ' ').trim().slice(-SHOWN_LENGTH);
  return `the DNS hook ${how} at ${action}${text === '' ? '' : `: ${text}`}`;
}
