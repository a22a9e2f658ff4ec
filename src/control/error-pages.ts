// The operator's own error pages, read once at the start.
//
// Invariant: every page that is there can be sent, or nothing starts: a regular file of UTF-8 text,
// of a bounded size, named after a status that visitors can get. Must not know: who sends them.

import { constants } from 'node:fs';
import { open, readdir } from 'node:fs/promises';
import path from 'node:path';
import { ConfigError, ERRORS } from '../base/errors.ts';

const KIB = 1024;
/** Each shard holds all of them in memory. Guess: a page with its styles inlined has a tenth. */
const PAGE_BYTES_MAX = 64 * KIB;
/** Names in the folder that are looked at. Guess: there are fewer than 20 statuses. */
const NAMES_MAX = 1000;
const PAGE_NAME = /^(\d+)\.html$/;
/** Of every error that may reach a visitor. */
const STATUSES: ReadonlySet<number> = new Set(
  Object.values(ERRORS).flatMap(({ status }) => (status >= 400 ? [status] : [])),
);

/** Pages by status; none without a folder. Rejects with a ConfigError. */
export async function readErrorPages(folder: string | undefined): Promise<[number, string][]> {
  if (folder === undefined) return [];
  const names = await readdir(folder).catch((cause: NodeJS.ErrnoException) => {
    throw problem(folder, `cannot be read: ${cause.code}`, cause);
  });
  if (names.length > NAMES_MAX) throw problem(folder, `holds more than ${NAMES_MAX} files`);
  const pages: [number, string][] = [];
  for (const name of names.toSorted()) {
    const status = Number(PAGE_NAME.exec(name)?.[1] ?? Number.NaN);
    if (Number.isNaN(status)) continue;
    const file = path.join(folder, name);
    if (!STATUSES.has(status)) throw problem(file, 'is for a status that no visitor gets');
    pages.push([status, await readPage(file)]);
  }
  if (pages.length === 0) throw problem(folder, 'holds no page, such as 503.html');
  return pages;
}

async function readPage(file: string): Promise<string> {
  const bytes = await readBounded(file).catch((cause: NodeJS.ErrnoException) => {
    if (cause instanceof ConfigError) throw cause;
    throw problem(file, `cannot be read: ${cause.code}`, cause);
  });
  if (bytes.length > PAGE_BYTES_MAX) {
    throw problem(file, `is larger than ${PAGE_BYTES_MAX / KIB} KiB`);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw problem(file, 'is not UTF-8 text', cause);
  }
}

/** One byte more than is allowed, at most. */
async function readBounded(file: string): Promise<Buffer> {
  // Opening a pipe would wait for its writer.
  const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    if (!(await handle.stat()).isFile()) throw problem(file, 'is not a regular file');
    const buffer = Buffer.alloc(PAGE_BYTES_MAX + 1);
    let length = 0;
    while (length < buffer.length) {
      const { bytesRead } = await handle.read(buffer, length, buffer.length - length, null);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return buffer.subarray(0, length);
  } finally {
    await handle.close();
  }
}

function problem(file: string, text: string, cause?: unknown): ConfigError {
  return new ConfigError([`--error-pages: ${file} ${text}`], { cause });
}
