// `sluiceway operator`: gives Services of a Kubernetes cluster public addresses.
//
// Invariant: the Kubernetes client, which is larger than all the rest, is loaded by this command
// alone. Must not know: how an operator works.

import { existsSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { sleep, systemClock } from '../../base/clock.ts';
import { ConfigError } from '../../base/errors.ts';
import { resolveConfig } from '../../config/config.ts';
import { readBuildInfo } from '../build-info.ts';
import { createRunProgram } from '../credential-program.ts';
import { runToExit } from '../lifecycle.ts';
import { createMachines } from '../operator-machines.ts';
import { packageSource } from '../package-source.ts';
import { collectInput, type Flags } from '../sources.ts';
import { warnAtStart } from '../warnings.ts';

/** Where Kubernetes tells a pod which namespace it is in. */
const POD_NAMESPACE_FILE = '/var/run/secrets/kubernetes.io/serviceaccount/namespace';

export async function runOperator(flags: Flags): Promise<void> {
  const config = resolveConfig(collectInput('operator', flags));
  warnAtStart(flags);
  const source = packageSource(config.machinePackage);
  const { startOperator } = await loadOperator();
  const { version } = readBuildInfo();
  await runToExit({
    component: 'operator',
    logLevel: config.logLevel,
    logFormat: config.logFormat,
    start: async (log) =>
      await startOperator(config, {
        ...{ log, version, hostname: hostname(), podNamespace: readPodNamespace() },
        openProvider: createMachines({ source, clock: systemClock, sleep }),
        runProgram: createRunProgram(),
      }),
  });
}

/** Images are made without the Kubernetes client unless they are for this. */
async function loadOperator() {
  try {
    return await import('../../operator/operator.ts');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw cause;
    const text =
      'this installation is without @kubernetes/client-node; take an image made by ' +
      '`npm run image:operator`, or install the package with all that it needs';
    throw new ConfigError([text]);
  }
}

function readPodNamespace(): string | undefined {
  if (!existsSync(POD_NAMESPACE_FILE)) return undefined;
  return readFileSync(POD_NAMESPACE_FILE, 'utf8').trim();
}
