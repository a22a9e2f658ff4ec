// The exit node: brings its parts up in order, shards with listeners last, and takes them down.
//
//   starting --all listeners up--> ready --drain()--> draining --no stream left, or late--> stopped
//
// Invariant: ready means every shard listens; a drain is announced, waits, stops accepting, waits
// again, each for a bounded time; `closed` settles exactly once. Must not know: what the parts tell
// one another, payload, frames.

import { endsWithin, sleep, systemClock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import type { ServerConfig } from '../config/config.ts';
import { claimAdmin } from './admin.ts';
import { openControlTls } from './control-tls.ts';
import { ExitParts, type NodeState, type Prepared } from './exit-parts.ts';
import { prepareTask } from './exit-shards.ts';
import { type Predecessor, succeed } from './predecessor.ts';
import type { Ending, ExitNode, StartOptions } from './start-options.ts';

export type { Ending, ExitNode, StartOptions } from './start-options.ts';

/** Exit code of a runtime failure (contract). */
const EXIT_FAILURE = 1;
/** For goodbyes at the end. */
const STOP_TIMEOUT_MS = 2000;

/** Starts an exit node; rejects with a SluicewayError when it cannot. */
export async function startServer(config: ServerConfig, options: StartOptions): Promise<ExitNode> {
  const [tls, task] = await Promise.all([
    openControlTls({ config, clock: systemClock, log: options.log }),
    prepareTask(config, options.version),
  ]);
  const node = new RunningNode(config, options, { tls, task });
  await node.start();
  return node;
}

class RunningNode implements ExitNode {
  readonly closed: Promise<Ending>;
  readonly #options: StartOptions;
  readonly #log: Logger;
  readonly #parts: ExitParts;
  #state: NodeState = 'starting';
  #settle: (ending: Ending) => void = () => {};

  constructor(config: ServerConfig, options: StartOptions, prepared: Prepared) {
    this.#options = options;
    this.#log = options.log;
    this.closed = new Promise((resolve) => {
      this.#settle = resolve;
    });
    this.#parts = new ExitParts({
      ...options,
      config,
      prepared,
      state: () => this.#state,
      onGiveUp: (reason) => void this.#end({ exitCode: EXIT_FAILURE, message: reason }),
      onHandedOver: () => {
        this.#state = 'draining';
        this.#parts.admin?.leave();
        void this.#drain(0, true);
      },
    });
  }

  async start(): Promise<void> {
    const { access, logins, https, reload, shards, tunnelPorts, config } = this.#parts;
    const { predecessor, version } = this.#options;
    try {
      await access.load();
      await logins.load();
      await https?.load();
      await this.#openPorts();
      await this.#watchTls();
      await access.watch();
      await logins.watch();
      await reload?.watch();
    } catch (error) {
      this.#parts.admin?.close();
      this.#closeWatches();
      await shards.pool.destroy();
      throw error;
    }
    this.#state = 'ready';
    predecessor?.ready();
    if (predecessor !== undefined) tunnelPorts.expectClosing();
    https?.start();
    this.#log.info({ shards: config.shards, version }, 'ready');
  }

  drain(): void {
    if (this.#state !== 'ready') return;
    const { handOver, config } = this.#parts;
    handOver?.cancel();
    this.#state = 'draining';
    void this.#drain(config.drainDelayMs, false);
  }

  takeOver(): void {
    const { handOver } = this.#parts;
    if (handOver === undefined || this.#state !== 'ready') {
      this.#log.warn('no take-over: not supported, or not ready');
    } else handOver.begin();
  }

  stop(): void {
    void this.#end({ exitCode: EXIT_FAILURE, message: 'stopped before streams had ended' });
  }

  reload(): void {
    const { tls, https, access, logins, reload } = this.#parts;
    void tls.reload();
    void https?.reload();
    void access.reload();
    void logins.reload();
    reload?.reload();
  }

  async #watchTls(): Promise<void> {
    const { tls, shards } = this.#parts;
    await tls.watch((changed) => shards.tellAll((bridge) => bridge.tell('tls', changed)));
    tls.describe();
    const { fingerprint } = tls;
    if (fingerprint !== undefined) this.#options.onFingerprint?.(fingerprint);
  }

  async #openPorts(): Promise<void> {
    const { ports, shards, config } = this.#parts;
    const { predecessor } = this.#options;
    if (predecessor === undefined) await this.#parts.openAdmin();
    // It opens last: what cannot be opened is to end this process while nobody has moved.
    else await claimAdmin(config.adminAddr, predecessor.inheritance);
    await ports.claim();
    await shards.start();
    if (predecessor !== undefined) await this.#succeed(predecessor);
    ports.describe();
  }

  #succeed(predecessor: Predecessor): Promise<void> {
    const { ports, registry } = this.#parts;
    const openAdmin = () => this.#parts.openAdmin();
    return succeed(predecessor, { ports, registry, openAdmin, clock: systemClock, log: this.#log });
  }

  async #drain(delayMs: number, isMoved: boolean): Promise<void> {
    const { https, ports, shards, config } = this.#parts;
    const { drainTimeoutMs } = config;
    this.#log.info({ drainDelayMs: delayMs, drainTimeoutMs }, 'draining');
    https?.stopOrders();
    await sleep(delayMs);
    // A shard that is being started would listen behind its drain, beside whoever follows.
    ports.stopOpening();
    const calls = shards.pool
      .bridges()
      .map(([, bridge]) => bridge.call('drain', { isMoved }, drainTimeoutMs + STOP_TIMEOUT_MS));
    const isDrained = await endsWithin(Promise.allSettled(calls), drainTimeoutMs);
    if (!isDrained) this.#log.warn('drain timed out, streams that live are cut');
    await this.#end({ exitCode: 0 });
  }

  async #end(ending: Ending): Promise<void> {
    if (this.#state === 'stopped') return;
    this.#state = 'stopped';
    const { https, shards, access } = this.#parts;
    https?.stop();
    await shards.pool.stop(STOP_TIMEOUT_MS);
    await access.shares.close();
    this.#parts.admin?.close();
    this.#closeWatches();
    this.#settle(ending);
  }

  #closeWatches(): void {
    const { memory, tls, access, logins, reload } = this.#parts;
    memory.stop();
    tls.close();
    access.close();
    logins.close();
    reload?.close();
  }
}
