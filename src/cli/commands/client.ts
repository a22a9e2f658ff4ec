// `sluiceway client`: holds links to servers and serves upstreams.
//
// Invariant: stdout carries one line a tunnel or local port that is up and nothing else, or with
// --json one object an event, so that scripts can wait for it. Must not know: how a client works.

import { type ClientEvent, lineOf } from '../../client/events.ts';
import { resolveConfig } from '../../config/config.ts';
import { readBuildInfo } from '../build-info.ts';
import { runToExit } from '../lifecycle.ts';
import { answer } from '../output.ts';
import { collectInput, type Flags } from '../sources.ts';
import { warnAtStart } from '../warnings.ts';

export async function runClient(flags: Flags): Promise<void> {
  const config = resolveConfig(collectInput('client', flags));
  warnAtStart(flags);
  const { version } = readBuildInfo();
  const onEvent = config.json ? tellAsJson : tellAsLine;
  await runToExit({
    component: 'client',
    logLevel: config.logLevel,
    logFormat: config.logFormat,
    start: async (log) => {
      // Loaded here: `status` and `--help` need none of it, and signals are heard meanwhile.
      const { startClient } = await import('../../client/client.ts');
      return await startClient(config, { log, version, onEvent });
    },
  });
}

function tellAsLine(event: ClientEvent): void {
  const line = lineOf(event);
  if (line !== undefined) answer(line);
}

function tellAsJson(event: ClientEvent): void {
  answer(JSON.stringify(event));
}
