// Collects what a configuration is resolved from: flags, the environment, the file of --config.
//
// Invariant: at most 1 MiB of any file is read, and a file that cannot be read gives an error
// that says why in words. Must not know: which options there are.

import { closeSync, openSync, readSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { ConfigError } from '../base/errors.ts';
import { CONFIG_FILE_BYTES_MAX, type ConfigFile } from '../config/file.ts';
import { type FlagValue, variableOf } from '../config/merge.ts';
import type { ConfigInput } from '../config/resolve.ts';
import { type Command, fileOptionOf } from '../config/schema.ts';

export type Flags = Readonly<Record<string, FlagValue>>;

export function collectInput<C extends Command>(
  command: C,
  flags: Flags,
  env: NodeJS.ProcessEnv = process.env,
): ConfigInput<C> {
  const file = readConfigFile(fileOptionOf(command), flags, env);
  return {
    command,
    flags,
    env,
    ...(file === undefined ? {} : { file }),
    defaults: {
      cores: availableParallelism(),
      logFormat: process.stderr.isTTY ? 'pretty' : 'json',
    },
    readFile: readTextFile,
  };
}

function readConfigFile(
  option: string,
  flags: Flags,
  env: NodeJS.ProcessEnv,
): ConfigFile | undefined {
  const fromFlag = flags[option];
  const variable = variableOf(option);
  const path = typeof fromFlag === 'string' ? fromFlag : env[variable];
  // An empty path is a problem that the schema reports.
  if (path === undefined || path === '') return undefined;
  try {
    return { path, text: readTextFile(path) };
  } catch (cause) {
    const origin = typeof fromFlag === 'string' ? 'flag' : `environment variable ${variable}`;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ConfigError([`--${option} (${origin}): ${reason}`], { cause });
  }
}

/** The text of a UTF-8 file; pipes work, too. */
export function readTextFile(path: string): string {
  let bytes: Buffer;
  try {
    bytes = readBounded(path);
  } catch (cause) {
    throw new Error(`${path} ${reasonOf(cause)}`, { cause });
  }
  if (bytes.length > CONFIG_FILE_BYTES_MAX) throw new Error(`${path} is larger than 1 MiB`);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new Error(`${path} is not UTF-8 text`, { cause });
  }
}

function readBounded(path: string): Buffer {
  const descriptor = openSync(path, 'r');
  try {
    const buffer = Buffer.alloc(CONFIG_FILE_BYTES_MAX + 1);
    let length = 0;
    while (length < buffer.length) {
      const count = readSync(descriptor, buffer, length, buffer.length - length, null);
      if (count === 0) break;
      length += count;
    }
    return buffer.subarray(0, length);
  } finally {
    closeSync(descriptor);
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'does not exist',
  ENOTDIR: 'does not exist',
  EISDIR: 'is a folder, not a file',
  EACCES: 'cannot be read: permission denied',
  EPERM: 'cannot be read: permission denied',
};

function reasonOf(cause: unknown): string {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown error';
  return REASONS[code] ?? `cannot be read: ${code}`;
}
