// `sluiceway server`: the exit node.
//
// Invariant: stdout carries the fingerprint of the private CA and nothing else; everything that
// can be checked without a socket is checked before one opens. Must not know: how an exit node
// works.

import { readServer } from '../../config/config.ts';
import { readBuildInfo } from '../build-info.ts';
import { createDnsHook } from '../dns-hook.ts';
import { runToExit } from '../lifecycle.ts';
import { answer } from '../output.ts';
import { collectInput, type Flags } from '../sources.ts';
import { findPredecessor, startSuccessor } from '../successor.ts';
import { warnAtStart, warnOfServer } from '../warnings.ts';

function onFingerprint(fingerprint: string): void {
  answer(`CA fingerprint ${fingerprint}`);
}

export async function runServer(flags: Flags): Promise<void> {
  const predecessor = await findPredecessor();
  const read = () => readServer(collectInput('server', flags));
  const started = read();
  const { config } = started;
  warnAtStart(flags);
  warnOfServer(config);
  const { version } = readBuildInfo();
  const hook = config.https?.letsEncrypt?.dnsHook;
  const dns = hook === undefined ? {} : { dnsHook: createDnsHook(hook) };
  await runToExit({
    component: 'control',
    logLevel: config.logLevel,
    logFormat: config.logFormat,
    start: async (log) => {
      // Loaded here: `status` and `--help` need none of it, and signals are heard meanwhile.
      const { startServer } = await import('../../control/exit-node.ts');
      return await startServer(config, {
        ...{ log, version, onFingerprint, ...dns, predecessor },
        successor: startSuccessor,
        source: { started, read },
      });
    },
  });
}
