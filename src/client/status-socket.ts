// A Unix socket on which a client tells its own user how it is: `sluiceway status --local`.
//
//   FOLDER/client-PID.sock     in a folder of 0700: who can reach it, could end the client as well
//
// Invariant: a folder that others may enter is not used; a socket that cannot be opened costs the
// client nothing; what is answered is bounded and holds no secret. Must not know: what is told.

import { chmod, lstat, rm } from 'node:fs/promises';
import type { Server } from 'node:http';
import path from 'node:path';
import { http } from '../base/http-modules.ts';
import type { Logger } from '../base/log.ts';
import { makeFolder } from '../base/make-folder.ts';

const CONNECTIONS_MAX = 16;
const TIMEOUT_MS = 5000;
const FOLDER_MODE = 0o700;
const OTHERS = 0o077;
/** Of a socket's path: 104 on macOS, 108 on Linux, with the zero behind it (`sun_path`). */
const PATH_BYTES_MAX = 103;

export interface StatusSocketOptions {
  readonly folder: string;
  readonly pid: number;
  readonly tell: () => Promise<unknown>;
  readonly log: Logger;
}

export interface StatusSocket {
  close(): void;
}

/** Undefined, with a line on the log, when there can be none. */
export async function openStatusSocket(
  options: StatusSocketOptions,
): Promise<StatusSocket | undefined> {
  const { folder, pid, log } = options;
  const file = path.join(folder, `client-${pid}.sock`);
  try {
    await makePrivate(folder);
    if (Buffer.byteLength(file) > PATH_BYTES_MAX) throw new Error('its path is too long');
    // Of a process with the same number that was killed.
    await rm(file, { force: true });
    const server = await listen(createStatusServer(options), file);
    log.debug({ file }, 'local status');
    return { close: () => closeServer(server) };
  } catch (error) {
    log.info({ file, reason: (error as Error).message }, 'no local status');
    return undefined;
  }
}

async function makePrivate(folder: string): Promise<void> {
  const made = await makeFolder(folder, FOLDER_MODE);
  if (made !== undefined) await chmod(folder, FOLDER_MODE);
  const found = await lstat(folder);
  if (!found.isDirectory()) throw new Error('its folder is no folder');
  if ((found.mode & OTHERS) !== 0) throw new Error('others may enter its folder');
}

function createStatusServer({ tell, log }: StatusSocketOptions): Server {
  const server = http.createServer({ headersTimeout: TIMEOUT_MS, requestTimeout: TIMEOUT_MS });
  server.maxConnections = CONNECTIONS_MAX;
  server.on('request', (request, response) => {
    request.resume();
    response.on('error', () => {
      // Who asked has gone.
    });
    if (request.method !== 'GET' || request.url !== '/status') {
      response.writeHead(404, { connection: 'close' }).end();
      return;
    }
    tell().then(
      (status) => {
        const fields = { 'content-type': 'application/json', connection: 'close' };
        response.writeHead(200, fields).end(`${JSON.stringify(status)}\n`);
      },
      (error: unknown) => {
        log.error({ err: error }, 'local status failed');
        response.writeHead(500, { connection: 'close' }).end();
      },
    );
  });
  return server;
}

function listen(server: Server, file: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(file, () => {
      server.off('error', reject);
      server.on('error', () => {
        // Out of descriptors: who asks now is not answered.
      });
      server.unref();
      resolve(server);
    });
  });
}

function closeServer(server: Server): void {
  server.close();
  server.closeAllConnections();
}
