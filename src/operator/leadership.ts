// Who of several operators works: the one that holds the Lease and renews it in time.
//
// Invariant: `holds` is true only while the last renewal, counted from when it was sent, is younger
// than the deadline, which is shorter than the lease; a foreign lease has ended when it was seen
// unchanged for its whole duration by our own clock, as clocks of machines differ. Must not know:
// what a leader does.

import type { Clock, Timer } from '../base/clock.ts';
import { isoTimeOf } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { type Cluster, KubeError } from './cluster.ts';
import type { LeaseObject } from './objects.ts';

export interface LeaseTimes {
  /** Others wait for so long after the last renewal that they saw. */
  readonly leaseMs: number;
  /** Without a renewal for so long, we hold it no more. Shorter than `leaseMs`. */
  readonly renewWithinMs: number;
  readonly retryMs: number;
}

export interface LeadershipOptions {
  readonly cluster: Cluster;
  readonly namespace: string;
  readonly name: string;
  /** Unique among all processes. */
  readonly identity: string;
  readonly times: LeaseTimes;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  readonly onGained: () => void;
  readonly onLost: () => void;
}

export class Leadership {
  readonly #options: LeadershipOptions;
  #state: 'following' | 'leading' | 'stopped' = 'following';
  #renewedAtMs = 0;
  /** The version of a foreign lease, and since when it is the newest. */
  #seen: { readonly version: string; readonly atMs: number } | undefined;
  #timer: Timer | undefined;
  #deadline: Timer | undefined;
  #attempt: Promise<void> = Promise.resolve();

  constructor(options: LeadershipOptions) {
    this.#options = options;
  }

  get holds(): boolean {
    const { clock, times } = this.#options;
    return this.#state === 'leading' && clock.nowMs() - this.#renewedAtMs < times.renewWithinMs;
  }

  start(): void {
    this.#tick();
  }

  /** Gives the lease back, so that another need not wait for its end. */
  async stop(): Promise<void> {
    const wasLeading = this.holds;
    this.#state = 'stopped';
    this.#timer?.cancel();
    this.#deadline?.cancel();
    await this.#attempt;
    if (wasLeading) await this.#release();
  }

  #tick(): void {
    this.#attempt = this.#try().catch((error: unknown) => {
      const reason = error instanceof Error ? error.message : String(error);
      // Somebody else was faster: nothing is wrong.
      const isRace = error instanceof KubeError && error.answered === 409;
      if (!isRace) this.#options.log.warn({ err: reason }, 'lease not renewed');
    });
    void this.#attempt.then(() => {
      if (this.#state === 'stopped') return;
      const { clock, random, times } = this.#options;
      this.#timer = clock.after(times.retryMs * (0.8 + 0.4 * random()), () => this.#tick());
    });
  }

  async #try(): Promise<void> {
    const { cluster, clock, namespace, name, identity } = this.#options;
    const sentAtMs = clock.nowMs();
    const found = await cluster.get<LeaseObject>({ kind: 'Lease', namespace, name });
    if (this.#state === 'stopped') return;
    if (found === undefined) {
      await cluster.create(this.#leaseOf(undefined));
      this.#onRenewed(sentAtMs);
      return;
    }
    const holder = found.spec?.holderIdentity ?? '';
    if (holder !== identity && holder !== '' && !this.#hasEnded(found)) {
      if (this.#state === 'leading') this.#lose(`${holder} holds the lease`);
      return;
    }
    await cluster.replace(this.#leaseOf(found));
    this.#onRenewed(sentAtMs);
  }

  #hasEnded({ metadata, spec }: LeaseObject): boolean {
    const { clock, times } = this.#options;
    const version = metadata.resourceVersion ?? '';
    if (this.#seen?.version !== version) {
      this.#seen = { version, atMs: clock.nowMs() };
      return false;
    }
    const leaseMs = (spec?.leaseDurationSeconds ?? 0) * 1000 || times.leaseMs;
    return clock.nowMs() - this.#seen.atMs > leaseMs;
  }

  #onRenewed(sentAtMs: number): void {
    const { clock, times, log, identity, onGained } = this.#options;
    if (this.#state === 'stopped') return;
    this.#renewedAtMs = sentAtMs;
    this.#deadline?.cancel();
    const leftMs = sentAtMs + times.renewWithinMs - clock.nowMs();
    this.#deadline = clock.after(leftMs, () => this.#lose('it was not renewed in time'));
    if (this.#state === 'leading') return;
    this.#state = 'leading';
    log.info({ identity }, 'this operator leads');
    onGained();
  }

  #lose(reason: string): void {
    if (this.#state !== 'leading') return;
    this.#deadline?.cancel();
    this.#state = 'following';
    this.#seen = undefined;
    this.#options.log.warn({ reason }, 'this operator leads no more');
    this.#options.onLost();
  }

  async #release(): Promise<void> {
    const { cluster, namespace, name, identity, log } = this.#options;
    try {
      const found = await cluster.get<LeaseObject>({ kind: 'Lease', namespace, name });
      if (found?.spec?.holderIdentity !== identity) return;
      await cluster.replace({ ...found, spec: { ...found.spec, holderIdentity: '' } });
    } catch (error) {
      // It ends by itself, a little later.
      log.warn({ err: error instanceof Error ? error.message : String(error) }, 'lease kept');
    }
  }

  #leaseOf(found: LeaseObject | undefined): LeaseObject {
    const { namespace, name, identity, times, clock } = this.#options;
    const now = microTime(clock.wallMs());
    const { spec = {} } = found ?? {};
    const isSame = spec.holderIdentity === identity;
    const transitions = (spec.leaseTransitions ?? 0) + (isSame || found === undefined ? 0 : 1);
    return {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: found?.metadata ?? { name, namespace },
      spec: {
        holderIdentity: identity,
        leaseDurationSeconds: Math.ceil(times.leaseMs / 1000),
        acquireTime: isSame && spec.acquireTime !== undefined ? spec.acquireTime : now,
        renewTime: now,
        leaseTransitions: transitions,
      },
    };
  }
}

/** With the six digits that the API asks for. */
function microTime(wallMs: number): string {
  return isoTimeOf(wallMs).replace(/Z$/, '000Z');
}
