// `sluiceway generate systemd|compose|k8s|cloud-init server|client`: prints a deployment.
//
// Invariant: options are checked as the command itself would, but for files that are not on this
// machine; stdout carries the deployment alone, and none but cloud-init's holds a secret. Must not
// know: what a deployment looks like.

import { realpathSync } from 'node:fs';
import { ConfigError } from '../../base/errors.ts';
import { isLoopbackHost } from '../../base/target.ts';
import { type GivenConfig, readGiven } from '../../config/config.ts';
import { FileElsewhere } from '../../config/elsewhere.ts';
import { quote } from '../../config/problems.ts';
import { cloudConfig } from '../../deploy/cloud-config.ts';
import { composeFile } from '../../deploy/compose-file.ts';
import { NPM_REGISTRY, type PackageSource } from '../../deploy/installation.ts';
import { kubernetesManifests } from '../../deploy/kubernetes-manifests.ts';
import { isPlain } from '../../deploy/plan.ts';
import { systemdUnit } from '../../deploy/systemd-unit.ts';
import { readBuildInfo } from '../build-info.ts';
import { answer, complain } from '../output.ts';
import { collectInput, type Flags, readTextFile } from '../sources.ts';

export type Deployment = 'systemd' | 'compose' | 'k8s' | 'cloud-init';

/** Options of `generate` itself, beside those of the command. */
export interface GenerateFlags extends PackageFlags {
  readonly name?: string;
  readonly program?: string;
  readonly image?: string;
  readonly namespace?: string;
}

export interface PackageFlags {
  readonly package?: string;
  readonly packageIntegrity?: string;
  readonly registry?: string;
}

interface Wanted {
  readonly command: 'server' | 'client';
  readonly flags: Flags;
  readonly own: GenerateFlags;
}

const DEFAULT_NAME = 'sluiceway';
/** What systemd, Compose, Kubernetes and groups of users all take. */
const NAME = /^[a-z][a-z0-9-]{0,30}$/;

export function runGenerate(deployment: Deployment, { command, flags, own }: Wanted): void {
  const name = readName(own.name ?? DEFAULT_NAME);
  const given = (): GivenConfig =>
    readGiven({ ...collectInput(command, flags), readFile: readHereOrElsewhere });
  const write: Readonly<Record<Deployment, () => string>> = {
    systemd: () => systemdUnit(given(), { name, program: programOf(own) }),
    compose: () => composeFile(given(), { name, image: own.image ?? 'sluiceway' }),
    k8s: () => kubernetesManifests(given(), manifestOptions(name, own)),
    'cloud-init': () => {
      const whole = readGiven(collectInput(command, flags));
      const source = packageSource(own);
      const { text, holdsSecrets } = cloudConfig(whole, { name, source, readFile: readTextFile });
      if (holdsSecrets) complain('this holds secrets: whoever can read it has them');
      return text;
    },
  };
  answer(write[deployment]());
}

/** A text for `--name`; a ConfigError when it is none. */
export function readName(text: string): string {
  if (NAME.test(text)) return text;
  const right = 'write at most 31 lower-case letters, digits and -, a letter first';
  throw new ConfigError([`--name (flag): ${quote(text)} is no name of a service; ${right}`]);
}

/** Where a new machine gets the program: this version, unless something else was asked for. */
export function packageSource(flags: PackageFlags): PackageSource {
  const { package: given, packageIntegrity: integrity, registry = NPM_REGISTRY } = flags;
  const spec = given ?? `sluiceway@${readBuildInfo().version}`;
  const problems: string[] = [];
  const isUrl = isSafeUrl(spec);
  if (!isUrl && !/^[A-Za-z0-9@._/~^-]{1,200}$/.test(spec)) {
    problems.push(
      `--package (flag): ${quote(spec)} is no package; ` +
        'write sluiceway@VERSION, or the URL of an archive',
    );
  }
  if (isUrl && integrity === undefined) {
    problems.push('--package (flag): a URL needs --package-integrity, as npm pack prints it');
  }
  if (integrity !== undefined && !/^sha512-[A-Za-z0-9+/]{86}==$/.test(integrity)) {
    problems.push('--package-integrity (flag): is no digest; write sha512- and its base64');
  }
  if (integrity !== undefined && !isUrl) {
    problems.push(
      '--package-integrity (flag): is for a URL; the registry has that of its packages',
    );
  }
  if (!isSafeUrl(registry)) {
    problems.push(`--registry (flag): ${quote(registry)} is no URL; write https://HOST`);
  }
  if (problems.length > 0) throw new ConfigError(problems);
  const bare = registry.replace(/\/+$/, '');
  return { spec, registry: bare, ...(integrity === undefined ? {} : { integrity }) };
}

/** Over plain HTTP from this machine alone. */
export function isSafeUrl(text: string): boolean {
  if (!/^https?:\/\/[\x21-\x7e]{1,2000}$/.test(text) || !URL.canParse(text)) return false;
  const { protocol, hostname } = new URL(text);
  return protocol === 'https:' || isLoopbackHost(hostname);
}

function manifestOptions(name: string, { image = 'sluiceway', namespace }: GenerateFlags) {
  if (namespace !== undefined) readName(namespace);
  return { name, image, ...(namespace === undefined ? {} : { namespace }) };
}

/** What runs now, unless something else was asked for. */
function programOf({ program }: GenerateFlags): readonly string[] {
  const given = program?.split(' ').filter((word) => word !== '');
  const words = given ?? [realpathSync(process.execPath), realpathSync(process.argv[1] ?? '')];
  const [first = ''] = words;
  if (!first.startsWith('/')) {
    throw new ConfigError([
      '--program (flag): systemd needs the whole path, such as /usr/bin/sluiceway',
    ]);
  }
  const hidden = words.find((word) => word.startsWith('/') && !isPlain(word));
  if (hidden !== undefined) {
    complain(`warning: the service cannot see ${hidden}; install it elsewhere, such as in /opt`);
  }
  return words;
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
