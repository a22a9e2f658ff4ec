// A folder with all that is missing above it, as `mkdir -p` makes it.
//
// Invariant: it ends, whatever the file system says. Node's own way, the option `recursive`, tries
// for ever where a new folder is said not to be there although what is above it is: as below /proc.
// Must not know: what the folder is for.

import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Gives the topmost one that was made, if any was. Rejects with the error of the system. */
export async function makeFolder(path: string, mode: number): Promise<string | undefined> {
  try {
    return await makeOne(path, mode);
  } catch (error) {
    const above = dirname(path);
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || above === path) throw error;
    const topmost = await makeFolder(above, mode);
    const own = await makeOne(path, mode);
    return topmost ?? own;
  }
}

/** Undefined: it is there, or another process was faster. */
async function makeOne(path: string, mode: number): Promise<string | undefined> {
  try {
    await mkdir(path, { mode });
    return path;
  } catch (error) {
    const isThere = await stat(path).then(
      (found) => found.isDirectory(),
      () => false,
    );
    if (isThere) return undefined;
    throw error;
  }
}
