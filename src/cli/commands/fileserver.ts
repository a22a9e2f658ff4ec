// `sluiceway fileserver`: a folder over HTTP on loopback, to share through a tunnel.
//
// Invariant: stdout carries one line, where it listens, once it does; a folder that is none is
// found before anything listens. Must not know: how files are served.

import { statSync } from 'node:fs';
import type { Server } from 'node:http';
import path from 'node:path';
import { systemClock } from '../../base/clock.ts';
import { ConfigError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { isLoopbackHost, showTarget } from '../../base/target.ts';
import { type FileServerConfig, resolveConfig } from '../../config/config.ts';
import { Connections } from '../../files/connections.ts';
import { createFileServer } from '../../files/file-server.ts';
import { listen, stop } from '../../files/listening.ts';
import { EXIT } from '../exit-codes.ts';
import { type Ending, type Running, runToExit } from '../lifecycle.ts';
import { answer } from '../output.ts';
import { collectInput, type Flags } from '../sources.ts';

export async function runFileServer(flags: Flags): Promise<void> {
  const config = resolveConfig(collectInput('fileserver', flags));
  const folder = resolveFolder(config.dir);
  await runToExit({
    component: 'fileserver',
    logLevel: config.logLevel,
    logFormat: config.logFormat,
    start: (log) => start({ ...config, dir: folder }, log),
  });
}

function resolveFolder(dir: string): string {
  try {
    // A link may lead to another folder later.
    if (statSync(dir).isDirectory()) return path.resolve(dir);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'does not exist' : `cannot be read: ${code}`;
    throw new ConfigError([`--dir ${dir}: ${why}`], { cause });
  }
  throw new ConfigError([`--dir ${dir}: is a file; give the folder it is in`]);
}

async function start(config: FileServerConfig, log: Logger): Promise<Running> {
  const { dir, addr, listing, hidden, accessLog, json, drainTimeoutMs } = config;
  const server = createFileServer({ folder: dir, listing, hidden, accessLog, log });
  const connections = new Connections(server);
  const port = await listen(server, { ...addr, name: `--addr ${showTarget(addr)}` });
  const url = `http://${showTarget({ ...addr, port })}`;
  log.info({ name: 'fileserver', address: showTarget({ ...addr, port }), dir }, 'listening');
  if (!isLoopbackHost(addr.host)) {
    log.warn({ address: showTarget(addr) }, 'not on loopback: whoever can connect can read it all');
  }
  answer(json ? JSON.stringify({ event: 'listening', url, dir }) : `${url} -> ${dir}`);
  return new RunningFileServer(server, connections, drainTimeoutMs);
}

class RunningFileServer implements Running {
  readonly closed: Promise<Ending>;
  readonly #server: Server;
  readonly #connections: Connections;
  readonly #drainTimeoutMs: number;
  #end: (ending: Ending) => void = () => {};

  constructor(server: Server, connections: Connections, drainTimeoutMs: number) {
    this.#server = server;
    this.#connections = connections;
    this.#drainTimeoutMs = drainTimeoutMs;
    this.closed = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  drain(): void {
    systemClock.after(this.#drainTimeoutMs, () => this.#endWith({ exitCode: EXIT.ok }));
    void this.#connections.drain().then(() => this.#endWith({ exitCode: EXIT.ok }));
  }

  stop(): void {
    const message = 'stopped before what was sent had ended';
    this.#endWith({ exitCode: EXIT.failure, message });
  }

  #endWith(ending: Ending): void {
    stop(this.#server);
    this.#end(ending);
  }
}
