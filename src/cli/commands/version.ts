// `sluiceway version`: which version this is, and on which Node it runs.
//
// Invariant: the first line is `sluiceway VERSION - COMMIT`, which scripts may cut. Must not
// know: where the two come from.

import { readBuildInfo } from '../build-info.ts';
import { answer } from '../output.ts';

export function versionText(): string {
  const { version, commit } = readBuildInfo();
  return `sluiceway ${version} - ${commit}`;
}

export function runVersion(): void {
  answer(`${versionText()}\nnode ${process.version}`);
}
