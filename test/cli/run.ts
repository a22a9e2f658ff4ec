// Runs the program as a user would and collects what it says.

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const ENTRY = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

export interface Run {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The environment is `env` and a PATH: whatever configures the test run stays outside. */
export function run(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  return runFile(ENTRY, args, env);
}

export function runFile(
  file: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Run> {
  const options = { env: { PATH: process.env.PATH, ...env }, timeout: 30_000 };
  return new Promise((resolve) => {
    execFile(process.execPath, [file, ...args], options, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      resolve({ code, stdout, stderr });
    });
  });
}
