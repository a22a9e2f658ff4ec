// The Kubernetes operator: watches, takes the lead when it can, and works while it has it.
//
// Invariant: of several, one works; all watch, so that the next one need not begin from nothing; an
// API that is away is waited for, and what runs in the cluster goes on meanwhile. Must not know:
// command lines, signals.

import { randomUUID } from 'node:crypto';
import { systemClock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { type MetricsPort, openMetricsPort } from '../base/metrics-port.ts';
import type { OperatorConfig } from '../config/operator.ts';
import { READY } from './client-readiness.ts';
import { Cluster } from './cluster.ts';
import { conditionOf } from './conditions.ts';
import type { RunProgram } from './exec-credential.ts';
import { Leadership } from './leadership.ts';
import type { OpenProvider } from './machine.ts';
import { OperatorMetrics } from './metrics.ts';
import { Reconciler } from './reconciler.ts';

export interface OperatorOptions {
  readonly log: Logger;
  readonly version: string;
  /** Of this machine or pod. */
  readonly hostname: string;
  /** Namespace of the pod, when it is in one. */
  readonly podNamespace: string | undefined;
  readonly openProvider: OpenProvider;
  /** For the program of a kubeconfig. */
  readonly runProgram: RunProgram;
}

export interface RunningOperator {
  readonly closed: Promise<{ readonly exitCode: number }>;
  readonly metricsPort: number | undefined;
  /** Ends what it is doing, gives the lead back, and closes. */
  drain(): void;
  stop(): void;
}

/** Rejects when the options of the API cannot be read, or the metrics address not be had. */
export async function startOperator(
  config: OperatorConfig,
  options: OperatorOptions,
): Promise<RunningOperator> {
  const operator = new Operator(config, options);
  await operator.open();
  return operator;
}

class Operator implements RunningOperator {
  readonly closed: Promise<{ readonly exitCode: number }>;
  readonly #config: OperatorConfig;
  readonly #options: OperatorOptions;
  readonly #reconciler: Reconciler;
  readonly #leadership: Leadership | undefined;
  readonly #metrics: OperatorMetrics;
  readonly #close: (ending: { readonly exitCode: number }) => void;
  #port: MetricsPort | undefined;
  #isClosing = false;

  constructor(config: OperatorConfig, options: OperatorOptions) {
    this.#config = config;
    this.#options = options;
    const { log, version } = options;
    const cluster = Cluster.open(config.kubeconfig, options.runProgram);
    const namespace =
      config.operatorNamespace ?? options.podNamespace ?? cluster.contextNamespace ?? 'default';
    const identity = `${options.hostname}_${randomUUID()}`;
    const shared = { cluster, identity, log, clock: systemClock, random: Math.random };
    this.#metrics = new OperatorMetrics(() => ({
      isLeading: this.#leads,
      depth: (queue) => this.#reconciler.depth(queue),
      count: (kind) => this.#reconciler.inventory.count(kind),
      tunnels: () => this.#tunnelsByReason(),
      version,
    }));
    this.#reconciler = new Reconciler({
      ...shared,
      settings: { ...config.settings, namespace },
      namespaces: config.namespaces,
      resyncMs: config.resyncMs,
      openProvider: options.openProvider,
      leads: () => this.#leads,
      onReconciled: (queue, result, ms) => this.#metrics.onReconciled(queue, result, ms),
      onBroken: (kind) => this.#metrics.onBroken(kind),
    });
    this.#leadership =
      config.lease === undefined
        ? undefined
        : new Leadership({
            ...{ ...shared, namespace, name: config.lease.name, times: config.lease },
            onGained: () => this.#reconciler.lead(),
            onLost: () => this.#reconciler.follow(),
          });
    const { promise, resolve } = Promise.withResolvers<{ readonly exitCode: number }>();
    this.closed = promise;
    this.#close = resolve;
    log.info({ server: cluster.server, namespace, identity }, 'operator starts');
  }

  get metricsPort(): number | undefined {
    return this.#port?.port;
  }

  get #isReady(): boolean {
    return !this.#isClosing && this.#reconciler.inventory.isSynced;
  }

  get #leads(): boolean {
    return !this.#isClosing && (this.#leadership?.holds ?? true);
  }

  async open(): Promise<void> {
    const { metricsAddr } = this.#config;
    const { log } = this.#options;
    if (metricsAddr !== 'off') {
      this.#port = await openMetricsPort({
        ...{ address: metricsAddr, log, metrics: () => this.#metrics.page() },
        whyNotReady: () => (this.#isReady ? undefined : 'not ready'),
      });
      log.info({ port: this.#port.port }, 'metrics, /healthz and /readyz');
    }
    this.#reconciler.start();
    if (this.#leadership === undefined) this.#reconciler.lead();
    else this.#leadership.start();
  }

  drain(): void {
    this.#shutDown().then(
      () => this.#close({ exitCode: 0 }),
      (error: unknown) => {
        this.#options.log.error({ err: String(error) }, 'did not end as it should');
        this.#close({ exitCode: 1 });
      },
    );
  }

  stop(): void {
    this.#close({ exitCode: 1 });
  }

  async #shutDown(): Promise<void> {
    // What is under way is done before the lead goes to another.
    await this.#reconciler.stop();
    await this.#leadership?.stop();
    this.#isClosing = true;
    this.#port?.close();
  }

  #tunnelsByReason(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>();
    for (const { status } of this.#reconciler.inventory.tunnels()) {
      const reason = conditionOf(status?.conditions, READY)?.reason ?? 'Unknown';
      counts.set(reason, (counts.get(reason) ?? 0) + 1);
    }
    return counts;
  }
}
