// `sluiceway config check COMMAND`: says whether a configuration could be run.
//
// Invariant: it is resolved exactly as the command itself would, and nothing is opened but files.
// Must not know: options.

import { resolveConfig } from '../../config/config.ts';
import type { Command } from '../../config/schema.ts';
import { readErrorPages } from '../../control/error-pages.ts';
import { answer } from '../output.ts';
import { collectInput, type Flags, readTextFile } from '../sources.ts';
import { warnOfServer } from '../warnings.ts';

export async function runConfigCheck(command: Command, flags: Flags): Promise<void> {
  const config = resolveConfig(collectInput(command, flags));
  if ('errorPages' in config) await readErrorPages(config.errorPages);
  if ('allowIps' in config) warnOfServer(config);
  if ('provider' in config) {
    const { provider: name, credentials, credentialsFile } = config;
    const { readCredentials } = await import('../../provision/providers.ts');
    readCredentials({
      ...{ name, env: process.env, readFile: readTextFile },
      ...(credentials === undefined ? {} : { credentials }),
      ...(credentialsFile === undefined ? {} : { credentialsFile }),
    });
  }
  answer('ok');
}
