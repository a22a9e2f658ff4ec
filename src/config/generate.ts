// The options of `sluiceway generate` itself, beside those of the server or client that it is for,
// and the configurations that they make.
//
// Invariant: none has the name of an option of a server or a client, so that one line holds both;
// they have a file of their own, as the one of --config goes to where the deployment runs. Must
// not know: what a deployment looks like.

import { containerImage, kubernetesLabel } from './operator.ts';
import { InvalidText, type Kind, kindOf, one, optional, present, type ValuesOf } from './option.ts';
import { buildPackage, PACKAGE_OPTIONS, type PackageConfig } from './package.ts';
import { path, text } from './quantity.ts';

const NAME_RIGHT =
  'is no name of a service; write at most 31 lower-case letters, digits and -, a letter first';

/** What systemd, Compose, Kubernetes, groups of users and clouds all take. */
export const serviceName: Kind<string> = text('NAME', /^[a-z][a-z0-9-]{0,30}$/, NAME_RIGHT);

/** A program and its first arguments. */
const program: Kind<readonly string[]> = kindOf(
  'text',
  'WORDS',
  (given) => {
    const words = given.split(' ').filter((word) => word !== '');
    if (words[0]?.startsWith('/') === true) return words;
    return new InvalidText('is no program; systemd needs the whole path: /usr/bin/sluiceway');
  },
  (words) => words.join(' '),
);

const COMMON_OPTIONS = {
  'generate-config': optional(path, {
    help: 'read options of generate itself from this YAML file',
    sources: ['flag', 'environment'],
  }),
  name: one(serviceName, { default: 'sluiceway', help: 'of the service and its folders' }),
};

const IMAGE_OPTION = {
  image: one(containerImage, { default: 'sluiceway', help: 'image of docker/Dockerfile' }),
};

export const GENERATE_OPTIONS = {
  'generate systemd': {
    ...COMMON_OPTIONS,
    program: optional(program, { help: 'what runs sluiceway there; what runs now if none' }),
  },
  'generate compose': { ...COMMON_OPTIONS, ...IMAGE_OPTION },
  'generate k8s': {
    ...COMMON_OPTIONS,
    ...IMAGE_OPTION,
    namespace: optional(kubernetesLabel, { help: 'of all objects; that of the context if none' }),
  },
  'generate cloud-init': { ...COMMON_OPTIONS, ...PACKAGE_OPTIONS },
};

type ValuesFor<C extends keyof typeof GENERATE_OPTIONS> = ValuesOf<(typeof GENERATE_OPTIONS)[C]>;

export interface SystemdConfig {
  readonly name: string;
  /** Absent: what runs now. */
  readonly program?: readonly string[];
}

export interface ComposeConfig {
  readonly name: string;
  readonly image: string;
}

export interface ManifestConfig extends ComposeConfig {
  readonly namespace?: string;
}

export interface CloudInitConfig {
  readonly name: string;
  readonly package: PackageConfig;
}

export function buildSystemd({ name, program: words }: ValuesFor<'generate systemd'>) {
  return { name, ...present('program', words) } satisfies SystemdConfig;
}

export function buildCompose({ name, image }: ValuesFor<'generate compose'>): ComposeConfig {
  return { name, image };
}

export function buildManifests(values: ValuesFor<'generate k8s'>): ManifestConfig {
  const { name, image, namespace } = values;
  return { name, image, ...present('namespace', namespace) };
}

export function buildCloudInit(values: ValuesFor<'generate cloud-init'>): CloudInitConfig {
  return { name: values.name, package: buildPackage(values) };
}
