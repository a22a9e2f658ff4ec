// The file that remembers the CA of each server, one line each: `host:port sha256:hex`.
//
// Invariant: what is remembered is never overwritten here, and never joined by another CA of the
// same server, however many clients meet it at once; a line that names a server and cannot
// be read is a mismatch and never "unknown"; a file that cannot be read or written is an error.
// The file is whole or absent, its owner's alone. Must not know: how a CA is fetched.

import { promises as fs } from 'node:fs';
import { dirname } from 'node:path';
import { sleep, systemClock } from '../base/clock.ts';
import { createFile, readIfThere, replaceFile } from '../base/durable-file.ts';
import { makeFolder } from '../base/make-folder.ts';

const FOLDER_MODE = 0o700;
/** Others may write at the same moment; a write takes some milliseconds. Guess. */
const LOCK_TRIES_MAX = 200;
const LOCK_PAUSE_MS = 25;
/** A lock that is older was left by a process that was killed. */
const LOCK_STALE_MS = 3000;
const HEADER = '# CAs of sluiceway servers, by address. Remove a line to trust a new CA.\n';

export interface KnownServer {
  readonly fingerprint: string;
  /** Counted from 1. */
  readonly line: number;
}

export class KnownServers {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** What is remembered of `server`, `host:port`. */
  async find(server: string): Promise<readonly KnownServer[]> {
    return linesOf(await readIfThere(this.path), server);
  }

  /** Gives what others have remembered meanwhile, where that is another CA; then nothing is. */
  async remember(server: string, fingerprint: string): Promise<readonly KnownServer[]> {
    await makeFolder(dirname(this.path), FOLDER_MODE);
    const lock = `${this.path}.lock`;
    await takeLock(lock);
    try {
      const text = (await readIfThere(this.path)) ?? HEADER;
      const known = linesOf(text, server);
      if (known.length > 0) {
        return known.some((one) => one.fingerprint === fingerprint) ? [] : known;
      }
      const separator = text === '' || text.endsWith('\n') ? '' : '\n';
      await replaceFile(this.path, `${text}${separator}${server} ${fingerprint}\n`);
      return [];
    } finally {
      await fs.rm(lock, { force: true });
    }
  }
}

/** One writer at a time, of this process and of others: nobody's line is lost. */
async function takeLock(lock: string): Promise<void> {
  for (let tries = 0; tries < LOCK_TRIES_MAX; tries += 1) {
    if (await createFile(lock, '')) return;
    const { mtimeMs } = await fs.stat(lock).catch(() => ({ mtimeMs: systemClock.wallMs() }));
    if (systemClock.wallMs() - mtimeMs > LOCK_STALE_MS) await fs.rm(lock, { force: true });
    else await sleep(LOCK_PAUSE_MS);
  }
  throw new Error(`${lock} is held by another program`);
}

function linesOf(text: string | undefined, server: string): KnownServer[] {
  return (text ?? '').split('\n').flatMap((line, index) => {
    const [name, fingerprint = ''] = line.split(/\s/).filter((word) => word !== '');
    return name?.toLowerCase() === server ? [{ fingerprint, line: index + 1 }] : [];
  });
}
