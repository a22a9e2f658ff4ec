// Files inside of the program, where it is one executable: see docs/operating/single-file.md.
//
// Invariant: undefined outside of such an executable and for what it does not hold, so that the
// caller reads its own file on disk. Must not know: what the files are.

import { getAsset, isSea } from 'node:sea';

/** True in the single executable, where no file of the program lies on disk. */
export const IS_SINGLE_FILE: boolean = isSea();

export function embeddedFile(name: string): Buffer | undefined {
  if (!IS_SINGLE_FILE) return undefined;
  try {
    return Buffer.from(getAsset(name));
  } catch {
    // It holds no file of this name.
    return undefined;
  }
}
