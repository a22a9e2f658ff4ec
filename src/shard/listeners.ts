// Listening sockets of a shard, by name, each handing connections to one ingress.
//
// Invariant: a listener is open under one name only; a failed listen leaves nothing behind; an
// error of accept is counted and the listener goes on, and so is a second without a descriptor for
// whoever comes. Must not know: what is done with sockets, beyond that all of them can be cut.

import { closeSync, openSync } from 'node:fs';
import { createServer, type ListenOptions, type Server, type Socket } from 'node:net';
import { devNull } from 'node:os';
import { SluicewayError } from '../base/errors.ts';
import { Roster } from '../base/roster.ts';
import type { Listening, ListenRequest } from '../bridge/exit-messages.ts';
import type { Meters } from './meters.ts';
import { cutSocket } from './socket-relay.ts';

/** Connections that the kernel holds for us (design: L5, a burst of 2,000 in a second). */
const BACKLOG = 4096;
const SOCKET_OPTIONS = { allowHalfOpen: true, noDelay: true };

interface Listener {
  /** More than one when a predecessor had more sockets than there are shards now. */
  readonly servers: readonly Server[];
  readonly listening: Promise<Listening>;
}

/** A new socket, or one that is inherited. */
type Target = ListenOptions | { readonly fd: number };

export type AcceptSocket = (socket: Socket) => void;

export class Listeners {
  readonly #listeners = new Map<string, Listener>();
  /** Accepted by `open` and not yet closed. */
  readonly #sockets = new Roster<Socket>();
  readonly #meters: Meters;

  constructor(meters: Meters) {
    this.#meters = meters;
  }

  /** Opens a plain listener. Rejects with a SluicewayError. */
  open(request: ListenRequest, accept: AcceptSocket): Promise<Listening> {
    const sockets = this.#sockets;
    return this.add(request, () =>
      createServer(SOCKET_OPTIONS, (socket) => {
        const seat = sockets.enter(socket);
        socket.on('close', () => seat.leave());
        accept(socket);
      }),
    );
  }

  /** Cuts those of which `isDenied` says so, and gives how many they were. */
  cutDenied(isDenied: (socket: Socket) => boolean): number {
    const denied = [...this.#sockets].filter(isDenied);
    for (const socket of denied) cutSocket(socket);
    return denied.length;
  }

  /** The thread is about to die: its end would close these as if all had been said. */
  cutAll(): void {
    for (const socket of this.#sockets) cutSocket(socket);
  }

  /**
   * Makes a server listen as `request` says, unless its name is open: then that one is the
   * answer, and none is made, for whoever makes it keeps it. Control asks twice when a port opens
   * while it brings a shard up to date, and for the control port in each take-over.
   */
  add(request: ListenRequest, create: () => Server): Promise<Listening> {
    const { name, host, port, reusePort, inherited = [] } = request;
    const open = this.#listeners.get(name);
    if (open !== undefined) return open.listening;
    const server = create();
    const [first, ...others] = inherited;
    const own: Target = first === undefined ? { host, port, reusePort } : { fd: first };
    const servers = [server, ...others.map(() => forwarder(server))];
    const targets = [own, ...others.map((fd): Target => ({ fd }))];
    const ports = servers.map((one, index) => this.#listen(request, one, targets[index] ?? own));
    const listening = Promise.all(ports).then(([known = port]) => {
      return { port: known, fds: servers.map(descriptorOf) };
    });
    const listener = { servers, listening };
    this.#listeners.set(name, listener);
    // The caller hears of a failure; here it only makes the name free again, unless it was closed
    // and opened meanwhile.
    listening.catch(() => {
      if (this.#listeners.get(name) === listener) this.close(name);
    });
    return listening;
  }

  #listen(request: ListenRequest, server: Server, target: Target): Promise<number> {
    return new Promise((resolve, reject) => {
      server.once('error', (cause: NodeJS.ErrnoException) => reject(listenFailure(request, cause)));
      server.listen({ ...target, backlog: BACKLOG }, () => {
        server.removeAllListeners('error');
        server.on('error', (error: NodeJS.ErrnoException) => {
          this.#meters.onAcceptError(error.code ?? 'UNKNOWN');
        });
        const address = server.address();
        resolve(address !== null && typeof address === 'object' ? address.port : request.port);
      });
    });
  }

  close(name: string): void {
    for (const server of this.#listeners.get(name)?.servers ?? []) server.close();
    this.#listeners.delete(name);
  }

  /**
   * About once a second. Who comes when no descriptor is free is accepted and closed by libuv,
   * which tells nobody (`uv__emfile_trick`); to look for one tells at least of such seconds.
   */
  sweep(): void {
    try {
      closeSync(openSync(devNull, 'r'));
    } catch (error) {
      const { code = '' } = error as NodeJS.ErrnoException;
      if (code === 'EMFILE' || code === 'ENFILE') this.#meters.onAcceptError(code);
    }
  }

  closeAll(): void {
    for (const name of [...this.#listeners.keys()]) this.close(name);
  }
}

/** One socket more of `server`. */
function forwarder(server: Server): Server {
  return createServer(SOCKET_OPTIONS, (socket) => {
    server.emit('connection', socket);
  });
}

/** For a successor; -1 where the platform has none. Node tells it nowhere else. */
function descriptorOf(server: Server): number {
  const { _handle: handle } = server as { readonly _handle?: { readonly fd?: number } | null };
  return handle?.fd ?? -1;
}

/** Why a port of either kind could not be opened. */
export function listenFailure(
  request: ListenRequest,
  cause: NodeJS.ErrnoException,
): SluicewayError {
  const where = `${request.host}:${request.port}`;
  if (cause.code === 'EADDRINUSE') {
    return new SluicewayError('SLW_TUNNEL_PORT_TAKEN', `${where} is in use`, { cause });
  }
  if (cause.code === 'EACCES' || cause.code === 'EPERM') {
    const detail = `no permission to listen on ${where}`;
    return new SluicewayError('SLW_TUNNEL_PORT_DENIED', detail, { cause });
  }
  return new SluicewayError('SLW_LISTEN_FAILED', `cannot listen on ${where}: ${cause.message}`, {
    cause,
  });
}
