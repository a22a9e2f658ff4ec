// Where a new machine gets the program, of what the options say of it.
//
// Invariant: it is this version unless something else was asked for. Must not know: which command
// the options are of.

import type { PackageConfig } from '../config/config.ts';
import type { PackageSource } from '../deploy/installation.ts';
import { readBuildInfo } from './build-info.ts';

export function packageSource({ spec, ...rest }: PackageConfig): PackageSource {
  return { ...rest, spec: spec ?? `sluiceway@${readBuildInfo().version}` };
}
