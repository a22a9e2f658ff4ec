// `sluiceway generate systemd|compose|k8s|cloud-init server|client`: prints a deployment.
//
// Invariant: options are checked as the command itself would, but for files that are not on this
// machine; stdout carries the deployment alone, and none but cloud-init's holds a secret. Must not
// know: what a deployment looks like.

import { realpathSync } from 'node:fs';
import { IS_SINGLE_FILE } from '../../base/embedded-file.ts';
import { type GivenConfig, readGiven, resolveConfig } from '../../config/config.ts';
import { FileElsewhere } from '../../config/elsewhere.ts';
import { readBoth } from '../../config/problems.ts';
import { cloudConfig } from '../../deploy/cloud-config.ts';
import { composeFile } from '../../deploy/compose-file.ts';
import { kubernetesManifests } from '../../deploy/kubernetes-manifests.ts';
import { isPlain } from '../../deploy/plan.ts';
import { systemdUnit } from '../../deploy/systemd-unit.ts';
import { answer, complain } from '../output.ts';
import { packageSource } from '../package-source.ts';
import { collectInput, type Flags, readTextFile } from '../sources.ts';

export type Deployment = 'systemd' | 'compose' | 'k8s' | 'cloud-init';

interface Wanted {
  readonly command: 'server' | 'client';
  readonly flags: Flags;
  /** Of `generate` itself. */
  readonly own: Flags;
}

export function runGenerate(deployment: Deployment, { command, flags, own }: Wanted): void {
  const input = collectInput(command, flags);
  const given = (): GivenConfig => readGiven({ ...input, readFile: readHereOrElsewhere });
  const ownOf = <D extends Deployment>(name: D) =>
    resolveConfig(collectInput(`generate ${name}`, own));
  const write: Readonly<Record<Deployment, () => string>> = {
    systemd: () => {
      const [{ name, program }, target] = readBoth(() => ownOf('systemd'), given);
      return systemdUnit(target, { name, program: programOf(program) });
    },
    compose: () => {
      const [options, target] = readBoth(() => ownOf('compose'), given);
      return composeFile(target, options);
    },
    k8s: () => {
      const [options, target] = readBoth(() => ownOf('k8s'), given);
      return kubernetesManifests(target, options);
    },
    'cloud-init': () => {
      const [options, whole] = readBoth(
        () => ownOf('cloud-init'),
        () => readGiven(input),
      );
      const source = packageSource(options.package);
      const { name } = options;
      const { text, holdsSecrets } = cloudConfig(whole, { name, source, readFile: readTextFile });
      if (holdsSecrets) complain('this holds secrets: whoever can read it has them');
      return text;
    },
  };
  answer(write[deployment]());
}

/** What runs now, unless something else was asked for. */
function programOf(given: readonly string[] | undefined): readonly string[] {
  const words = given ?? running();
  const hidden = words.find((word) => word.startsWith('/') && !isPlain(word));
  if (hidden !== undefined) {
    complain(`warning: the service cannot see ${hidden}; install it elsewhere, such as in /opt`);
  }
  return words;
}

/** With real paths: a link may be of this shell alone. */
function running(): readonly string[] {
  const node = realpathSync(process.execPath);
  return IS_SINGLE_FILE ? [node] : [node, realpathSync(process.argv[1] ?? '')];
}

/** A file that is not here, or not ours to read, is one of the machine that is deployed to. */
function readHereOrElsewhere(path: string): string {
  try {
    return readTextFile(path);
  } catch (error) {
    const cause = error instanceof Error ? error.cause : undefined;
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    const isElsewhere = code === 'ENOENT' || code === 'ENOTDIR' || code === 'EACCES';
    throw isElsewhere ? new FileElsewhere(`${path} is not here`) : error;
  }
}
