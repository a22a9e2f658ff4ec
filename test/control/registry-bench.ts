// A registry whose shards are maps, and whose ports open and close when a test says so.
//
// Invariant: changes are numbered without a gap backwards, and no port has two steps at once. Must
// not know: what is asked of it.

import assert from 'node:assert/strict';
import type { ErrorCode, SluicewayError } from '../../src/base/errors.ts';
import type { RouteChange } from '../../src/bridge/exit-messages.ts';
import { Registry, type RegistryOptions } from '../../src/control/registry.ts';

/** Everything is allowed, and nobody is told. */
export const PLAIN: RegistryOptions = {
  isPortAllowed: () => true,
  hasHttps: true,
  wallMs: () => 0,
  publish: () => undefined,
  openPort: async () => undefined,
  closePort: async () => undefined,
  doubtLinks: () => undefined,
  closeLinks: () => undefined,
};

/** What a shard makes of changes; newest number wins, as in the router. */
export class Replica {
  readonly tunnels = new Map<string, Set<string>>();
  number = 0;

  apply(changes: readonly RouteChange[]): void {
    for (const change of changes) {
      assert.ok(change.number > this.number, `number ${change.number} after ${this.number}`);
      this.number = change.number;
      const links = this.tunnels.get(change.tunnel) ?? new Set();
      if (change.kind === 'forget') this.tunnels.delete(change.tunnel);
      else this.tunnels.set(change.tunnel, links);
      if (change.kind === 'add' && change.link !== '') links.add(change.link);
      if (change.kind === 'remove') links.delete(change.link);
    }
  }

  names(): string[] {
    return [...this.tunnels.keys()].sort();
  }

  routes(): string[] {
    const routes = [...this.tunnels].flatMap(([tunnel, links]) =>
      [...links].map((link) => `${tunnel} ${link}`),
    );
    return routes.sort();
  }
}

export interface PortStep {
  readonly what: 'open' | 'close';
  readonly name: string;
  readonly done: (error?: SluicewayError) => void;
}

export class Bench {
  readonly registry: Registry;
  readonly replica = new Replica();
  readonly closedLinks: { shard: number; links: readonly string[]; code: ErrorCode }[] = [];
  /** Everything that was asked for, in order. */
  readonly steps: string[] = [];
  /** Steps under way. */
  readonly pending: PortStep[] = [];
  readonly doubted: { shard: number; links: readonly string[] }[] = [];
  readonly openPorts = new Set<string>();
  /** Of the last `register`. */
  call = 0;
  /** Ends steps by themselves. */
  isPrompt = true;

  constructor() {
    this.registry = new Registry({
      isPortAllowed: ({ port }) => port >= 1024,
      hasHttps: true,
      wallMs: () => 0,
      publish: (changes) => this.replica.apply(changes),
      openPort: (name) => this.#step('open', name),
      closePort: (name) => this.#step('close', name),
      doubtLinks: (shard, links) => this.doubted.push({ shard, links }),
      closeLinks: (shard, links, code) => this.closedLinks.push({ shard, links, code }),
    });
  }

  hello(link: string, client: string, instance = 'first', shard = 0): void {
    const remoteAddress = '192.0.2.1:1';
    this.registry.hello({ link, client, instance, agent: 'sluiceway/1', remoteAddress }, shard);
  }

  async register(link: string, ...names: string[]): Promise<string[]> {
    const offers = names.map((name) => ({ name, label: `${name}=label` }));
    this.call += 1;
    const answers = await this.registry.register(link, offers, this.call);
    return answers.map(({ code }) => code);
  }

  #step(what: 'open' | 'close', name: string): Promise<void> {
    this.steps.push(`${what} ${name}`);
    assert.ok(!this.pending.some((step) => step.name === name), `two steps for ${name} at once`);
    assert.equal(this.openPorts.has(name), what === 'close', `${what} of ${name}, which is so`);
    return new Promise((resolve, reject) => {
      const step: PortStep = {
        what,
        name,
        done: (error) => {
          this.pending.splice(this.pending.indexOf(step), 1);
          if (what === 'close') this.openPorts.delete(name);
          else if (error === undefined) this.openPorts.add(name);
          if (error === undefined) resolve();
          else reject(error);
        },
      };
      this.pending.push(step);
      if (this.isPrompt) setImmediate(() => step.done());
    });
  }
}
