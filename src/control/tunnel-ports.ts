// Public ports of tunnels: open while somebody serves them, one step at a time.
//
//   closed --open()--> opening --> open --closeUnserved(), nobody serves--> closing --> closed
//                         \--refused--> closed
//
// Invariant: opening and closing of one port never overlap, in whatever order they are asked for;
// whether a port may be closed is asked when that step begins. Must not know: shards, clients.

export interface TunnelPortsOptions {
  /** Opens or closes a port on every shard. Rejects with a SluicewayError. */
  readonly openPort: (name: string) => Promise<void>;
  readonly closePort: (name: string) => Promise<void>;
  readonly isServed: (name: string) => boolean;
  /** Nobody serves it and its port is being closed. */
  readonly onUnserved: (name: string) => void;
}

export class TunnelPorts {
  readonly #options: TunnelPortsOptions;
  readonly #open = new Set<string>();
  /** The last step under way for a port. */
  readonly #steps = new Map<string, Promise<void>>();

  constructor(options: TunnelPortsOptions) {
    this.#options = options;
  }

  isOpen(name: string): boolean {
    return this.#open.has(name);
  }

  names(): string[] {
    return [...this.#open];
  }

  /** Rejects when it cannot be opened. */
  open(name: string): Promise<void> {
    return this.#step(name, async () => {
      if (this.#open.has(name)) return;
      await this.#options.openPort(name);
      this.#open.add(name);
    });
  }

  /** Closes the port, unless it is served again by then. */
  closeUnserved(name: string): void {
    if (!this.#open.has(name)) return;
    void this.#step(name, async () => {
      if (this.#options.isServed(name) || !this.#open.has(name)) return;
      this.#open.delete(name);
      this.#options.onUnserved(name);
      await this.#options.closePort(name);
    });
  }

  /** Runs `action` now, or after the steps that are under way for the port. */
  afterSteps(name: string, action: () => void): void {
    if (!this.#steps.has(name)) action();
    else void this.#step(name, async () => action());
  }

  #step(name: string, step: () => Promise<void>): Promise<void> {
    const before = this.#steps.get(name) ?? Promise.resolve();
    const run = before.then(step, step);
    const settled = run
      .catch(() => undefined)
      .then(() => {
        if (this.#steps.get(name) === settled) this.#steps.delete(name);
      });
    this.#steps.set(name, settled);
    return run;
  }
}
