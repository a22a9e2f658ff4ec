// What a new machine installs: the package of npm, or an archive behind a URL with its digest.
//
// Invariant: what is not from the registry has a digest, and what is has none but the registry's
// own. Must not know: how it is installed.

import { httpsUrl, isSafeUrl } from './address.ts';
import { type Given, labelOf } from './merge.ts';
import { InvalidText, type Kind, kindOf, one, optional, present, type ValuesOf } from './option.ts';
import type { Problems } from './problems.ts';
import { text } from './quantity.ts';

const SHA512 = /^sha512-[A-Za-z0-9+/]{86}==$/;

/** Goes into a script, in quotes. */
const packageSpec: Kind<string> = kindOf(
  'text',
  'SPEC',
  (given) =>
    isSafeUrl(given) || /^[A-Za-z0-9@._/~^-]{1,200}$/.test(given)
      ? given
      : new InvalidText('is no package; write sluiceway@VERSION, or the https URL of an archive'),
  String,
);

export const PACKAGE_OPTIONS = {
  package: optional(packageSpec, {
    help: 'what the machine installs, as npm names it, or a URL; this version if none',
  }),
  'package-integrity': optional(
    text('SHA512', SHA512, 'is no digest; write sha512- and its base64'),
    { help: 'of the archive behind a URL, as npm pack prints it' },
  ),
  registry: one(httpsUrl, {
    default: 'https://registry.npmjs.org',
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

export function checkPackage({
  parsed,
  given,
  problems,
}: {
  readonly parsed: Partial<PackageValues>;
  readonly given: ReadonlyMap<string, Given>;
  readonly problems: Problems;
}): void {
  // What is wrong in itself was said, and says nothing of the other.
  if (given.has('package') && parsed.package === undefined) return;
  const isUrl = parsed.package !== undefined && isSafeUrl(parsed.package);
  if (isUrl && !given.has('package-integrity')) {
    const label = labelOf(given, 'package');
    problems.add(`${label}: a URL needs --package-integrity, as npm pack prints it`);
  }
  if (!isUrl && parsed['package-integrity'] !== undefined) {
    const label = labelOf(given, 'package-integrity');
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
