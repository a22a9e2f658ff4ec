// What a client knows of itself now: servers, links, tunnels, and what its shards have counted.
//
// Invariant: a look never waits longer for a shard than the deadline, then its last sample counts;
// counters outlive the shard and the link that counted. Must not know: who looks, or how it is
// sent.

import { isoTimeOf, systemClock } from '../base/clock.ts';
import { droppedLogLines } from '../base/log.ts';
import type { Page } from '../base/metrics-page.ts';
import { SampleBook, type Totals } from '../bridge/sample-book.ts';
import type { ShardSample } from '../bridge/shard-sample.ts';
import type { TunnelSpec } from '../config/tunnel.ts';
import type { ShardBridge } from './dials.ts';
import type { LinkFailure } from './ending.ts';
import type { HealthChecks } from './health-checks.ts';
import type { LocalForwards } from './local-forwards.ts';
import {
  describeFailure,
  describeLink,
  type LocalServer,
  type LocalStatus,
} from './local-status.ts';
import type { ClientMetrics, ClientReading } from './metrics.ts';
import { servesTunnel, whyNotReady } from './readiness.ts';
import type { ServerLinks } from './server-links.ts';
import type { TunnelBoard } from './tunnel-board.ts';

/** Who looks waits no longer for a shard. */
const SAMPLE_TIMEOUT_MS = 1000;

type Counted = Pick<Totals, 'links' | 'upstreamFailures'>;
const NOTHING_COUNTED: Counted = { links: new Map(), upstreamFailures: new Map() };

export interface ReadingsOptions {
  readonly clientID: string;
  readonly version: string;
  readonly tunnels: readonly TunnelSpec[];
  readonly servers: readonly ServerLinks[];
  readonly board: TunnelBoard;
  readonly health: HealthChecks;
  readonly forwards: LocalForwards;
  readonly state: () => LocalStatus['state'];
  readonly bridges: () => Iterable<readonly [number, ShardBridge]>;
  readonly shardRestarts: () => number;
}

export class Readings {
  readonly #options: ReadingsOptions;
  readonly #samples = new SampleBook();
  /** As many as there are servers and codes, at most. */
  readonly #failures = new Map<string, number>();
  readonly #startedMs = systemClock.wallMs();
  /** Its code is loaded by the first scrape: many clients never have one. */
  #metrics: ClientMetrics | undefined;

  constructor(options: ReadingsOptions) {
    this.#options = options;
  }

  onFailure(url: string, { code }: Pick<LinkFailure, 'code'>): void {
    const key = `${url} ${code}`;
    this.#failures.set(key, (this.#failures.get(key) ?? 0) + 1);
  }

  /** A shard dies, and has said what it had counted. */
  keepLast(shard: number, sample: ShardSample): void {
    this.#samples.set(shard, sample, 'none');
  }

  /** A shard is gone: its counts stay. */
  retire(shard: number): void {
    this.#samples.retire(shard);
  }

  async status(): Promise<LocalStatus> {
    await this.#sample();
    return this.#describe(this.#samples.totals());
  }

  /** The page for Prometheus. */
  async metrics(): Promise<Page> {
    const [{ ClientMetrics }] = await Promise.all([import('./metrics.ts'), this.#sample()]);
    this.#metrics ??= new ClientMetrics(() => this.#read());
    return this.#metrics.render();
  }

  /** Asks no shard. */
  whyNotReady(tunnel: string | undefined): string | undefined {
    const status = this.#describe(NOTHING_COUNTED);
    const why = whyNotReady(status);
    const isMissing = tunnel !== undefined && !servesTunnel(status, tunnel);
    return why ?? (isMissing ? 'not served' : undefined);
  }

  async #sample(): Promise<void> {
    const calls = [...this.#options.bridges()].map(async ([shard, bridge]) => {
      const sample = await bridge.call('sample', { loop: 'none' }, SAMPLE_TIMEOUT_MS);
      this.#samples.set(shard, sample, 'none');
    });
    await Promise.allSettled(calls);
  }

  #read(): ClientReading {
    const { tunnels, health, shardRestarts } = this.#options;
    const totals = this.#samples.totals();
    return {
      totals,
      status: this.#describe(totals),
      failures: this.#failures,
      health: new Map(
        tunnels.flatMap(({ name }) => {
          const found = health.healthOf(name);
          return found === undefined ? [] : [[name, found === 'well'] as const];
        }),
      ),
      shardRestarts: shardRestarts(),
      logDropped: droppedLogLines(),
    };
  }

  #describe(counted: Counted): LocalStatus {
    const { clientID, version, servers, forwards, state } = this.#options;
    return {
      clientID,
      pid: process.pid,
      version,
      since: isoTimeOf(this.#startedMs),
      state: state(),
      forwards: forwards.views,
      servers: servers.map((server) => this.#describeServer(server, counted)),
    };
  }

  #describeServer(server: ServerLinks, { links, upstreamFailures }: Counted): LocalServer {
    const waiting = server.isClosed ? 'given up' : 'connecting';
    return {
      url: server.url,
      state: server.servingCount > 0 ? 'connected' : waiting,
      lastError: server.lastError,
      links: server.views().map((view) => describeLink(view, links.get(view.link))),
      tunnels: this.#options.tunnels.map(({ name, label }) => ({
        name,
        label,
        state: this.#stateOf(server, name),
        ...describeFailure(upstreamFailures.get(name)),
      })),
    };
  }

  #stateOf(server: ServerLinks, tunnel: string): string {
    const health = this.#options.health.healthOf(tunnel) ?? 'well';
    if (health !== 'well') return health === 'ill' ? 'unhealthy' : 'checking';
    return server.servingCount > 0 ? this.#options.board.stateOf(server.url, tunnel) : 'waiting';
  }
}
