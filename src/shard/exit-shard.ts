// A shard of the exit node: puts listeners, links, mesh and ingress together, and obeys control.
//
// Invariant: one owner for each part; whoever ends it (stop, a throw) ends all. An unexpected
// error is not caught here: the thread dies, control starts a new one. Must not know: tokens,
// certificates' renewal, or which other shards there are beyond their mesh ports.

import { randomBytes } from 'node:crypto';
import { assert } from '../base/assert.ts';
import { sleep } from '../base/clock.ts';
import type { ErrorCode } from '../base/errors.ts';
import { memoryPressure } from '../base/memory-pressure.ts';
import { networkSet } from '../base/network-set.ts';
import { Bridge } from '../bridge/calls.ts';
import type {
  CertificateChange,
  Challenge,
  ExitControlMethods,
  ExitShardMethods,
  Listening,
  ListenRequest,
} from '../bridge/exit-messages.ts';
import type { LoopWatch, ShardSample } from '../bridge/shard-sample.ts';
import type { LiveSettings, ShardTask, VisitorSettings } from '../bridge/shard-task.ts';
import type { OpenRequest } from '../mux/session-options.ts';
import type { Stream, StreamSink } from '../mux/stream.ts';
import { AllowLists } from './allow-lists.ts';
import {
  CONNECTIONS_MAX,
  type ControlPortOptions,
  createControlPort,
  createHandedPort,
  HEAD_TIMEOUT_MS,
} from './control-port.ts';
import { ExitLinks } from './exit-links.ts';
import { armFault } from './fault.ts';
import { Forwards } from './forwards.ts';
import { Ingress } from './ingress.ts';
import { Inspector } from './inspector.ts';
import { LinkDoor } from './link-door.ts';
import { sampleLinks } from './link-sample.ts';
import { Listeners } from './listeners.ts';
import { applySettings } from './live-settings.ts';
import { LoginAnswers } from './login-answers.ts';
import { Mesh } from './mesh.ts';
import { ControlPortTls } from './port-tls.ts';
import { ShardRouter, type StreamOpener } from './router.ts';
import { crash, ShardLife, type ShardOwner } from './shard-life.ts';
import { TokenBudgets } from './token-budgets.ts';
import { createTunnelLimits } from './tunnel-limits.ts';
import type { LedgerLimits } from './visitor-ledger.ts';

/** A provider is asked up to four times one after the other, within 15 s. */
const LOGIN_ASK_MS = 20_000;
/** Tells the lives of a shard apart in what outlives them, such as links to a request. */
const LIFE_BYTES = 3;

export async function runExitShard(task: ShardTask): Promise<void> {
  const shard = new ExitShard(task);
  await shard.life.stopped;
}

class ExitShard implements ShardOwner, StreamOpener {
  readonly life: ShardLife;
  readonly #task: ShardTask;
  readonly #portTls: ControlPortTls;
  readonly #bridge: Bridge<ExitShardMethods, ExitControlMethods>;
  readonly #listeners: Listeners;
  readonly #links: ExitLinks;
  readonly #mesh: Mesh;
  readonly #router: ShardRouter;
  readonly #budgets: TokenBudgets;
  readonly #inspector: Inspector;
  readonly #logins: LoginAnswers;
  readonly #ingress: Ingress;
  readonly #forwards: Forwards;
  readonly #ledgerLimits: LedgerLimits;
  readonly #lists: AllowLists;

  constructor(task: ShardTask) {
    this.#task = task;
    this.#portTls = new ControlPortTls(task.tls);
    const { settings, shard } = task;
    this.life = new ShardLife(task, this);
    const { log, clock, meters } = this.life;
    meters.watchLoop('scrape');
    this.#bridge = new Bridge(task.port, this.#methods(), crash);
    this.#listeners = new Listeners(meters);
    this.#mesh = this.#createMesh();
    const proxies = networkSet(settings.acceptProxyProtocol);
    this.#lists = new AllowLists(settings, proxies);
    const visitors = visitorsOf(task);
    const { limits, inspect } = visitors;
    this.#inspector = new Inspector(shard, randomBytes(LIFE_BYTES).toString('hex'), clock);
    this.#inspector.apply(inspect);
    const onLimited = meters.onLimited.bind(meters);
    const tunnelLimits = createTunnelLimits(limits, clock, onLimited);
    this.#router = new ShardRouter(shard, this, meters, tunnelLimits);
    this.#budgets = new TokenBudgets({
      clock,
      askSlots: (token) => this.#bridge.tell('askSlots', { token }),
    });
    this.#ledgerLimits = { ...settings, ...limits };
    this.#logins = this.#createLogins();
    this.#ingress = new Ingress({
      ...{ task, visitors, proxies, life: this.life, ledgerLimits: this.#ledgerLimits },
      listeners: this.#listeners,
      lists: this.#lists,
      router: this.#router,
      inspector: this.#inspector,
      logins: this.#logins,
      door: this.#createDoor(),
    });
    this.#forwards = new Forwards({
      ...{ limits: settings, rules: settings.clientForwarding ?? [], clock, meters, log },
      onDenied: () => this.#lists.deny('forwards'),
    });
    for (const { holdings } of [this.#mesh, this.#forwards]) {
      this.#ingress.http.orphans.watch(holdings);
    }
    this.#links = this.#createLinks();
    armFault(task.fault, shard);
  }

  #createMesh(): Mesh {
    const { shard, settings } = this.#task;
    const openLocal = (request: OpenRequest, sink: StreamSink): Stream | ErrorCode =>
      this.#router.openFor(request, sink);
    return new Mesh({ shard, settings, log: this.life.log, openLocal });
  }

  #createLinks(): ExitLinks {
    const { settings, shard } = this.#task;
    const { log, clock, meters } = this.life;
    const [bridge, forwards, budgets] = [this.#bridge, this.#forwards, this.#budgets];
    return new ExitLinks({
      ...{ shard, settings, bridge, clock, log, forwards, budgets },
      onLeaving: (key) => this.#router.removeLink(key),
      onIdle: () => this.life.checkDrained(),
      onEnd: (code) => {
        if (code.startsWith('SLW_WIRE_')) meters.onProtocolError(code);
        this.life.checkDrained();
      },
    });
  }

  #createLogins(): LoginAnswers {
    return new LoginAnswers(
      (method, body) => this.#bridge.call(method, body, LOGIN_ASK_MS),
      this.life.clock,
    );
  }

  #createDoor(): LinkDoor | undefined {
    const { linkSchemes: schemes } = visitorsOf(this.#task);
    if (schemes.length === 0) return undefined;
    return new LinkDoor({
      ...{ schemes, clock: this.life.clock, limits: this.#task.settings },
      ...{ upgradeTimeoutMs: HEAD_TIMEOUT_MS, connectionsMax: CONNECTIONS_MAX },
      onLink: createHandedPort(this.#linkOptions()),
    });
  }

  // --- ShardOwner: what happens to the shard ------------------------------------------------

  onTick(nowMs: number): void {
    this.#links.tick(nowMs);
    this.#mesh.tick(nowMs);
    this.#router.sweep();
    this.#ingress.sweep(nowMs);
    this.#forwards.sweep(nowMs);
    this.#listeners.sweep();
    this.#reportUse();
  }

  isDrained(): boolean {
    const isBusy = this.#ingress.visitorsCount > 0 || this.#links.haveStreams;
    return !isBusy && this.#mesh.streamsCount === 0;
  }

  onCrash(): void {
    this.#listeners.cutAll();
    this.#forwards.cutAll();
    try {
      this.#reportUse();
      this.#bridge.tell('lastSample', this.#count('none'));
    } catch {
      // What has failed may stand in the way of this, too: then the last sample that control has
      // counts, and the thread ends by the error that brought it here.
    }
  }

  onStopped(): void {
    this.#ingress.cutUnsent();
    this.#forwards.cutUnsent();
  }

  // --- StreamOpener: what the router asks ---------------------------------------------------

  isDoubted(link: string, shard: number): boolean {
    return shard === this.#task.shard && this.#links.isDoubted(link);
  }

  canOpen(link: string, shard: number): boolean {
    if (shard !== this.#task.shard) return this.#mesh.canOpen(shard);
    return this.#links.canOpen(link);
  }

  open(shard: number, request: OpenRequest, sink: StreamSink): Stream | ErrorCode {
    if (shard !== this.#task.shard) return this.#mesh.open(shard, request, sink);
    return this.#links.open(request, sink);
  }

  // --- what control asks and tells ----------------------------------------------------------

  #methods(): ConstructorParameters<typeof Bridge<ExitShardMethods, ExitControlMethods>>[1] {
    return {
      listen: (request: ListenRequest) => this.#listen(request),
      unlisten: ({ name }: { name: string }) => {
        this.#listeners.close(name);
        this.#ingress.udp.close(name);
      },
      route: (changes: ExitShardMethods['route']['takes']) => this.#router.apply(changes),
      mesh: ({ shard, port }: ExitShardMethods['mesh']['takes']) => this.#mesh.attach(shard, port),
      tls: (tls: ExitShardMethods['tls']['takes']) => this.#portTls.replace(tls),
      settings: (live: LiveSettings) => this.#apply(live),
      tokenBudgets: (change: ExitShardMethods['tokenBudgets']['takes']) => {
        if (this.#budgets.apply(change)) this.#router.setBudgets(this.#budgets);
      },
      grants: (grants: ExitShardMethods['grants']['takes']) => {
        this.#links.grant(grants);
        this.#forwards.recheck();
      },
      logins: (settings: ExitShardMethods['logins']['takes']) =>
        this.#logins.sessions.apply(settings),
      recallSlots: ({ token, isAll, epoch }: ExitShardMethods['recallSlots']['takes']) => {
        const count = this.#budgets.recall(token, isAll);
        this.#bridge.tell('slotsBack', { token, count, epoch });
      },
      slotsGiven: ({ token, count }: ExitShardMethods['slotsGiven']['takes']) =>
        this.#budgets.gain(token, count),
      inspected: ({ tunnel, limit }: ExitShardMethods['inspected']['takes']) =>
        this.#inspector.newest(tunnel, limit).map((trace) => trace.show()),
      inspect: ({ id }: { readonly id: string }) => this.#inspector.traceOf(id)?.describe(),
      replay: ({ id }: { readonly id: string }) => {
        const trace = this.#inspector.traceOf(id);
        return trace === undefined ? undefined : this.#ingress.http.replay(trace);
      },
      doubtLinks: ({ links }: ExitShardMethods['doubtLinks']['takes']) => this.#links.doubt(links),
      closeLinks: ({ links, code }: ExitShardMethods['closeLinks']['takes']) =>
        this.#links.close(links, code),
      certificates: (change: CertificateChange) => this.#ingress.https.setCertificates(change),
      challenges: (list: readonly Challenge[]) => this.#ingress.https.challenges.set(list),
      ticketKey: (key: Uint8Array) => this.#ingress.https.store.setTicketKey(key),
      sample: ({ loop }: { readonly loop: LoopWatch }) => this.#sample(loop),
      pressure: ({ level }: ExitShardMethods['pressure']['takes']) => {
        memoryPressure.level = level;
      },
      // Whoever came by a port of visitors would find this process there again.
      move: () => this.#links.leave('SLW_LINK_MOVED', ['control']),
      drain: ({ isMoved }: ExitShardMethods['drain']['takes']) => this.#drain(isMoved),
      stop: () => this.#stop(),
    };
  }

  #apply(live: LiveSettings): void {
    const { log, clock, meters } = this.life;
    const parts = {
      settings: this.#task.settings,
      limits: visitorsOf(this.#task).limits,
      ledgerLimits: this.#ledgerLimits,
      lists: this.#lists,
      listeners: this.#listeners,
      links: this.#links,
      router: this.#router,
      http: this.#ingress.http,
      udp: this.#ingress.udp,
      inspector: this.#inspector,
      forwards: this.#forwards,
      ...{ log, clock, onLimited: meters.onLimited.bind(meters) },
    };
    applySettings(parts, live);
  }

  async #listen(request: ListenRequest): Promise<Listening> {
    if (request.name !== 'control') return this.#ingress.open(request);
    const told = this.#links.stay();
    const listening = await this.#listeners.add(request, () =>
      createControlPort({ tls: this.#portTls, ...this.#linkOptions() }),
    );
    // Not before their clients can come back.
    for (const exitLink of told) exitLink.part('SLW_LINK_DRAINING');
    return listening;
  }

  #linkOptions(): Omit<ControlPortOptions, 'tls'> {
    return {
      bridge: this.#bridge,
      log: this.life.log,
      isAllowed: (address) => this.#allowsClient(address),
      onLink: (upgraded, peer) => this.#links.add(upgraded, peer),
    };
  }

  #allowsClient(address: string | undefined): boolean {
    const isAllowed = this.#lists.allowsClient(address);
    if (!isAllowed) this.#lists.deny('clients');
    return isAllowed;
  }

  #drain(isMoved: boolean): Promise<undefined> {
    this.#listeners.closeAll();
    this.#ingress.http.drain(isMoved);
    this.#ingress.udp.drain(isMoved);
    // Links that move serve what visitors of this process still ask for.
    if (isMoved) this.#links.leave('SLW_LINK_MOVED', ['visitors']);
    else this.#links.leave('SLW_LINK_DRAINING');
    return this.life.drain();
  }

  #reportUse(): void {
    const uses = this.#budgets.takeUses();
    if (uses.length > 0) this.#bridge.tell('tokenUse', uses);
  }

  #stop(): void {
    this.#listeners.closeAll();
    this.#ingress.udp.closeAll();
    this.#reportUse();
    this.#links.closeAll('SLW_LINK_DRAINING');
    this.#mesh.close();
    this.life.stop(() => this.#bridge.close());
  }

  async #sample(loop: LoopWatch): Promise<ShardSample> {
    // A shard that stood still reads its messages before Node's own timer has noted for how long,
    // and a reading begins the measurement anew.
    if (loop !== 'none') await sleep(1);
    return this.#count(loop);
  }

  #count(loop: LoopWatch): ShardSample {
    this.#router.countWaits();
    return {
      ...this.life.meters.sample(loop),
      ...sampleLinks(this.#links.list()),
      meshBytes: this.#mesh.receivedBytes,
      visitorConnections: this.#ingress.visitorsCount,
      denied: this.#lists.sample(),
    };
  }
}

function visitorsOf({ visitors }: ShardTask): VisitorSettings {
  assert(visitors !== undefined, 'a shard of an exit node is told about visitors');
  return visitors;
}
