// Folders that the client serves itself: `--upstream example.com=fileserver:/srv/site`.
//
//   shard --Unix socket, in a folder of 0700--> file server, on the client's main thread
//
// Invariant: no other user can reach the sockets, which are not on the network either; reading
// files holds up no link, as links live in other threads; what was made is removed again, also by a
// process that ends in the middle of a start. Must not know: links, or how files are served.

import { rmSync } from 'node:fs';
import { mkdtemp, realpath, rm, stat } from 'node:fs/promises';
import type { Server } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ConfigError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { TunnelSpec } from '../config/config.ts';
import { listen, stop } from '../files/listening.ts';

type FolderSpec = Pick<TunnelSpec['upstream'], 'folder' | 'files'>;

export class FolderUpstreams {
  /** Where each is served, by the name of its tunnel. */
  readonly sockets: ReadonlyMap<string, string>;
  readonly #servers: readonly Server[];
  /** Holds the sockets; undefined when there is none. */
  readonly #place: string | undefined;

  private constructor(
    sockets: ReadonlyMap<string, string>,
    servers: readonly Server[],
    place: string | undefined,
  ) {
    this.sockets = sockets;
    this.#servers = servers;
    this.#place = place;
  }

  /** Rejects with a ConfigError for what is no folder, and where there is none for the sockets. */
  static async open(tunnels: readonly TunnelSpec[], log: Logger): Promise<FolderUpstreams> {
    const named = tunnels.filter(({ upstream }) => upstream.folder !== undefined);
    const sockets = new Map<string, string>();
    const servers = new Map<string, { readonly server: Server; readonly socket: string }>();
    if (named.length === 0) return new FolderUpstreams(sockets, [], undefined);
    for (const { name, upstream } of named) await checkFolder(name, upstream.folder ?? '');
    const place = await makePlace(tmpdir());
    keep(place);
    try {
      for (const { name, upstream } of named) {
        const key = JSON.stringify([path.resolve(upstream.folder ?? ''), upstream.files]);
        let served = servers.get(key);
        if (served === undefined) {
          const socket = socketIn(place, servers.size, process.platform);
          served = { server: await serve(upstream, socket, log), socket };
          servers.set(key, served);
        }
        sockets.set(name, served.socket);
        log.info({ tunnel: name, folder: upstream.folder, socket: served.socket }, 'folder served');
      }
      return new FolderUpstreams(sockets, [...servers.values()].map(serverOf), place);
    } catch (error) {
      for (const { server } of servers.values()) stop(server);
      await remove(place);
      throw error;
    }
  }

  async close(): Promise<void> {
    for (const server of this.#servers) stop(server);
    if (this.#place !== undefined) await remove(this.#place);
  }
}

/** Windows has no socket in a folder: a pipe of the folder's name, which nobody else has. */
export function socketIn(place: string, index: number, platform: string): string {
  if (platform !== 'win32') return path.join(place, `${index}.sock`);
  return `\\\\.\\pipe\\${path.win32.basename(place)}-${index}`;
}

/** Its mode is 0700. */
async function makePlace(parent: string): Promise<string> {
  try {
    return await mkdtemp(path.join(await realpath(parent), 'sluiceway-'));
  } catch (cause) {
    const reason = PLACE_REASONS[(cause as NodeJS.ErrnoException).code ?? ''];
    // What passes, such as a full disk, is no fault of the options: a supervisor tries on.
    if (reason === undefined) throw cause;
    const problem = `--upstream fileserver: no folder for its sockets can be made in ${parent}`;
    const way = 'give one that can be written by the variable TMPDIR, such as /dev/shm';
    throw new ConfigError([`${problem}: ${reason}; ${way}`], { cause });
  }
}

const PLACE_REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'it does not exist',
  ENOTDIR: 'it is no folder',
  EROFS: 'the file system is read-only',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
};

/** Folders of sockets of this process. */
const places = new Set<string>();

function removeAll(): void {
  for (const place of places) rmSync(place, { recursive: true, force: true });
}

function keep(place: string): void {
  if (places.size === 0) process.on('exit', removeAll);
  places.add(place);
}

async function remove(place: string): Promise<void> {
  await rm(place, { recursive: true, force: true });
  places.delete(place);
  if (places.size === 0) process.off('exit', removeAll);
}

function serverOf({ server }: { readonly server: Server }): Server {
  return server;
}

async function serve({ folder, files }: FolderSpec, socket: string, log: Logger): Promise<Server> {
  // Loaded here: most clients serve no folder.
  const { createFileServer } = await import('../files/file-server.ts');
  const server = createFileServer({
    ...{ folder: path.resolve(folder ?? ''), log, accessLog: false },
    ...{ listing: files?.listing ?? true, hidden: files?.hidden ?? false },
  });
  await listen(server, { path: socket });
  return server;
}

async function checkFolder(name: string, folder: string): Promise<void> {
  const problem = await folderProblem(folder);
  if (problem !== undefined) throw new ConfigError([`--upstream ${name}: ${folder} ${problem}`]);
}

async function folderProblem(folder: string): Promise<string | undefined> {
  try {
    return (await stat(folder)).isDirectory() ? undefined : 'is a file; give the folder it is in';
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return 'does not exist';
    return code === 'EACCES' ? 'may not be entered: permission denied' : `is no folder: ${code}`;
  }
}
