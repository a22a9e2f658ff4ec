// One link as control sees it: who holds it, what it serves, and by which of its calls that came.
//
//   serving --leave()--> leaving
//
// Invariant: what a call alone has brought is known, so that it can be withdrawn when that call is
// given up; what an earlier one was told of stays. Must not know: other links, routes, or whether
// it may serve what it does.

import { isDeepStrictEqual } from 'node:util';
import type { TunnelOptions } from '../base/tunnel-options.ts';
import type { LinkHello, LinkPort } from '../bridge/exit-messages.ts';
import type { Client, Holder } from './clients.ts';

/** Judged by itself, as a client may come by several secrets and ways. */
export class HeldLink implements Holder {
  readonly key: string;
  readonly shard: number;
  readonly client: Client;
  readonly credential: string;
  readonly remoteAddress: string;
  readonly port: LinkPort;
  #state: 'serving' | 'leaving' = 'serving';
  readonly #tunnels = new Map<string, TunnelOptions | undefined>();
  /** By which of its calls each tunnel came. */
  readonly #grantedBy = new Map<string, number>();
  /** Calls that its shard waits for; bounded there. */
  readonly #asking = new Set<number>();

  constructor(hello: LinkHello, client: Client, shard: number) {
    this.key = hello.link;
    this.shard = shard;
    this.client = client;
    this.credential = hello.credential ?? '';
    this.remoteAddress = hello.remoteAddress;
    this.port = hello.port ?? 'control';
  }

  /** What it declared for each tunnel that it serves, by name. */
  get tunnels(): ReadonlyMap<string, TunnelOptions | undefined> {
    return this.#tunnels;
  }

  /** It takes no streams, and no tunnel is to be added to it. */
  get isLeaving(): boolean {
    return this.#state === 'leaving';
  }

  leave(): void {
    this.#state = 'leaving';
  }

  /** Its shard waits for the answer to this call, until `answer` or `giveUp`. */
  ask(call: number): void {
    this.#asking.add(call);
  }

  isAsking(call: number): boolean {
    return this.#asking.has(call);
  }

  /** False: the call was given up before. */
  answer(call: number): boolean {
    return this.#asking.delete(call);
  }

  /** Gives the tunnels that this call alone has brought. */
  giveUp(call: number): string[] {
    this.#asking.delete(call);
    return [...this.#grantedBy].flatMap(([name, by]) => (by === call ? [name] : []));
  }

  /** False: it serves the tunnel already, with the same options. */
  grant(name: string, options: TunnelOptions | undefined, call: number): boolean {
    const isKnown = this.#tunnels.has(name) && isDeepStrictEqual(this.#tunnels.get(name), options);
    // What an earlier call was told of stays when this one is given up.
    const isTold = isKnown && !this.#asking.has(this.#grantedBy.get(name) ?? call);
    if (!isTold) this.#grantedBy.set(name, call);
    if (!isKnown) this.#tunnels.set(name, options);
    return !isKnown;
  }

  /** False: it does not serve the tunnel. */
  revoke(name: string): boolean {
    this.#grantedBy.delete(name);
    return this.#tunnels.delete(name);
  }
}
