// What a new machine installs: the package of npm, or an archive behind a URL with its digest.
//
// Invariant: what is not from the registry has a digest, and what is has none but the registry's
// own. Must not know: how it is installed.

import { httpsUrl, isSafeUrl } from './address.ts';
import { type Given, labelOf } from './merge.ts';
import { InvalidText, type Kind, kindOf, one, optional, present, type ValuesOf } from './option.ts';
import type { Problems } from './problems.ts';
import { text } from './quantity.ts';

export const NPM_REGISTRY = 'https://registry.npmjs.org';
const SHA512 = /^sha512-[A-Za-z0-9+/]{86}==$/;

const PACKAGE_RIGHT = 'write sluiceway@VERSION, or the https URL of an archive, without a login';

/** Goes into a script, in quotes. */
export const packageSpec: Kind<string> = kindOf(
  'text',
  'SPEC',
  (given) =>
    isSafeUrl(given) || /^[A-Za-z0-9@._/~^-]{1,200}$/.test(given)
      ? given
      : new InvalidText(`is no package; ${PACKAGE_RIGHT}`),
  String,
);

export const packageDigest: Kind<string> = text(
  'SHA512',
  SHA512,
  'is no digest; write sha512- and its base64',
);

export const PACKAGE_OPTIONS = {
  package: optional(packageSpec, {
    help: 'what the machine installs, as npm names it, or a URL; this version if none',
  }),
  'package-integrity': optional(packageDigest, {
    help: 'of the archive behind a URL, as npm pack prints it',
  }),
  registry: one(httpsUrl, {
    default: NPM_REGISTRY,
    help: 'of npm, for the package, Node and npm',
  }),
};

export interface PackageConfig {
  /** Absent: this version. */
  readonly spec?: string;
  /** There when the former is a URL. */
  readonly integrity?: string;
  /** Without a slash at its end. */
  readonly registry: string;
}

type PackageValues = ValuesOf<typeof PACKAGE_OPTIONS>;

interface PackageCheck {
  readonly parsed: Readonly<Record<string, unknown>>;
  readonly given: ReadonlyMap<string, Given>;
  readonly problems: Problems;
}

/** `prefix` is what the names of the options begin with. */
export function checkPackage({ parsed, given, problems }: PackageCheck, prefix = ''): void {
  const [name, digestName] = [`${prefix}package`, `${prefix}package-integrity`];
  const { [name]: spec, [digestName]: digest } = parsed;
  // What is wrong in itself was said, and says nothing of the other.
  if (given.has(name) && spec === undefined) return;
  const isUrl = typeof spec === 'string' && isSafeUrl(spec);
  if (isUrl && !given.has(digestName)) {
    const label = labelOf(given, name);
    problems.add(`${label}: a URL needs --${digestName}, as npm pack prints it`);
  }
  if (!isUrl && digest !== undefined) {
    const label = labelOf(given, digestName);
    problems.add(`${label}: is for a URL; the registry has that of its packages`);
  }
}

export function buildPackage(values: PackageValues): PackageConfig {
  return {
    ...present('spec', values.package),
    ...present('integrity', values['package-integrity']),
    registry: values.registry,
  };
}
