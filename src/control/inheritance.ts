// The listening sockets that a predecessor left to this process.
//
// Invariant: each is given out once and to one listener, the one of the same name that was
// configured with the same address; what nobody wants is closed, so that no connection waits in
// a queue that nobody reads. Must not know: how sockets came here, or who listens.

/** A listener that a predecessor had open, as it was configured. */
export interface InheritedSocket {
  /** `control`, `http`, `https`, or a tunnel's name. */
  readonly name: string;
  readonly host: string;
  /** As it was configured; 0 for any. */
  readonly port: number;
  /** One for each shard that listened, valid in this process. */
  readonly fds: readonly number[];
  /** UDP: not handed over. A new socket may share the port until the predecessor closes its own. */
  readonly isShared?: boolean;
}

type Wanted = Pick<InheritedSocket, 'name' | 'host' | 'port'>;

export class Inheritance {
  readonly #sockets = new Map<string, InheritedSocket>();
  readonly #free = new Map<string, (number | undefined)[]>();
  readonly #closeFd: (fd: number) => void;

  constructor(sockets: readonly InheritedSocket[], closeFd: (fd: number) => void) {
    this.#closeFd = closeFd;
    for (const socket of sockets) {
      this.#sockets.set(socket.name, socket);
      this.#free.set(socket.name, [...socket.fds]);
    }
  }

  has({ name, host, port }: Wanted): boolean {
    const socket = this.#sockets.get(name);
    if (socket?.host !== host || socket.port !== port) return false;
    return socket.isShared === true || hasAny(this.#free.get(name));
  }

  /** Those that `shard` of `shards` listens on; each is given once. */
  take(wanted: Wanted, shard: number, shards: number): number[] {
    if (!this.has(wanted)) return [];
    const free = this.#free.get(wanted.name) ?? [];
    const taken: number[] = [];
    for (let index = shard; index < free.length; index += shards) {
      const fd = free[index];
      if (fd !== undefined) taken.push(fd);
      free[index] = undefined;
    }
    return taken;
  }

  /** The one socket of a listener that no shard has; undefined: a new one is needed. */
  takeOne(wanted: Wanted): number | undefined {
    return this.take(wanted, 0, 1)[0];
  }

  /** Closes what nobody took. */
  closeRest(): void {
    for (const [name, free] of this.#free) {
      for (const fd of free) if (fd !== undefined) this.#closeFd(fd);
      this.#free.set(name, []);
    }
    // From now on another program may have what the predecessor leaves.
    this.#sockets.clear();
  }
}

function hasAny(fds: readonly (number | undefined)[] = []): boolean {
  return fds.some((fd) => fd !== undefined);
}
