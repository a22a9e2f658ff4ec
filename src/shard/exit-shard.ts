// A shard of the exit node: puts listeners, links, mesh and ingresses together, and obeys control.
//
// Invariant: one owner for each part; whoever ends it (stop, a throw) ends all. An unexpected
// error is not caught here: the thread dies, control starts a new one. Must not know: tokens,
// certificates' renewal, or which other shards there are beyond their mesh ports.

import type { Socket } from 'node:net';
import { assert } from '../base/assert.ts';
import type { ErrorCode } from '../base/errors.ts';
import { plainAddress } from '../base/ip.ts';
import { type AddressSet, networkSet } from '../base/network-set.ts';
import { isUdpTunnel } from '../base/port-name.ts';
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
import type { OpenRequest } from '../mux/session.ts';
import type { Stream, StreamSink } from '../mux/stream.ts';
import { AccessLog } from './access-log.ts';
import { AcmeChallenges } from './acme-challenges.ts';
import { AllowLists } from './allow-lists.ts';
import { type Arrival, Arrivals } from './arrivals.ts';
import { type ControlPortOptions, createControlPort, createHandedPort } from './control-port.ts';
import { ExitLinks } from './exit-links.ts';
import { armFault } from './fault.ts';
import { Forwards } from './forwards.ts';
import { frontOptions } from './http-front.ts';
import { Pages } from './http-page.ts';
import { createHttpIngress, type HttpIngress } from './ingress-http.ts';
import { HttpsIngress } from './ingress-https.ts';
import { TcpIngress } from './ingress-tcp.ts';
import { UdpIngress, type UdpIngressOptions } from './ingress-udp.ts';
import { Inspector } from './inspector.ts';
import { LinkDoor } from './link-door.ts';
import { sampleLinks } from './link-sample.ts';
import { Listeners } from './listeners.ts';
import { applySettings } from './live-settings.ts';
import { LoginAnswers } from './login-answers.ts';
import { Mesh } from './mesh.ts';
import { ControlPortTls } from './port-tls.ts';
import { createRequestGate } from './request-gate.ts';
import { ShardRouter, type StreamOpener } from './router.ts';
import { crash, ShardLife, type ShardOwner } from './shard-life.ts';
import { turnAway } from './socket-relay.ts';
import { TlsFront } from './tls-front.ts';
import { TokenBudgets } from './token-budgets.ts';
import { createTunnelLimits } from './tunnel-limits.ts';
import { type LedgerLimits, VisitorLedger } from './visitor-ledger.ts';

/** A provider is asked up to four times one after the other, within 15 s. */
const LOGIN_ASK_MS = 20_000;

type Enter = (socket: Socket, arrival?: Arrival) => void;

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
  readonly #http: HttpIngress;
  readonly #https: HttpsIngress;
  readonly #tcp: TcpIngress;
  readonly #udp: UdpIngress;
  readonly #tls: TlsFront;
  readonly #forwards: Forwards;
  /** Undefined: every visitor comes by itself. */
  readonly #arrivals: Arrivals | undefined;
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
    const { limits, inspect, accessLog, errorPages } = visitorsOf(task);
    this.#inspector = new Inspector(shard, clock);
    this.#inspector.apply(inspect);
    const onLimited = meters.onLimited.bind(meters);
    const tunnelLimits = createTunnelLimits(limits, clock, onLimited);
    this.#router = new ShardRouter(shard, this, meters, tunnelLimits);
    this.#budgets = new TokenBudgets({
      clock,
      askSlots: (token) => this.#bridge.call('askSlots', { token }),
    });
    this.#ledgerLimits = { ...settings, ...limits };
    const shared = {
      router: this.#router,
      limits: settings,
      clock,
      ledger: new VisitorLedger(this.#ledgerLimits, onLimited),
      access: accessLog ? new AccessLog(this.life.createAccessLog()) : undefined,
    };
    const challenges = new AcmeChallenges(clock);
    this.#logins = this.#createLogins();
    this.#http = createHttpIngress({
      ...frontOptions(task.https, challenges),
      ...shared,
      meter: meters,
      log,
      pages: new Pages(errorPages),
      trustedProxies: networkSet(settings.trustedProxies),
      lists: this.#lists,
      gate: createRequestGate(limits, onLimited),
      requestBodyBytesMax: limits.requestBodyBytesMax,
      inspector: this.#inspector.isOn ? this.#inspector : undefined,
      door: this.#createDoor(),
      logins: this.#logins,
    });
    this.#https = new HttpsIngress({ ...shared, http: this.#http, challenges, log });
    this.#tcp = new TcpIngress({ ...shared, onDenied: () => this.#lists.deny('tunnels') });
    this.#udp = this.#createUdp(shared, proxies);
    this.#tls = new TlsFront({
      ...{ ledger: shared.ledger, clock, log },
      matchServerName: (serverName) => this.#router.matchServerName(serverName),
      countedAs: (address) => this.#http.countedAs(address),
      pass: (tunnel, socket, arrival) =>
        this.#admit(socket, arrival, () => this.#tcp.accept(tunnel, socket, arrival)),
      terminator: this.#https,
      onRefused: (reason) => meters.tlsRefusals.add(reason),
    });
    this.#forwards = new Forwards({
      ...{ limits: settings, rules: settings.clientForwarding ?? [], clock, meters, log },
      onDenied: () => this.#lists.deny('forwards'),
    });
    this.#links = this.#createLinks();
    this.#arrivals = proxies === undefined ? undefined : this.#createArrivals(proxies);
    armFault(task.fault, shard);
  }

  #createMesh(): Mesh {
    const { shard, settings } = this.#task;
    const openLocal = (request: OpenRequest, sink: StreamSink): Stream | ErrorCode =>
      this.#links.open(request, sink);
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

  #createArrivals(proxies: AddressSet): Arrivals {
    const { clock, log, meters } = this.life;
    const onRefused = (): void => meters.onAcceptError('SLW_PROXY_HEADER');
    return new Arrivals({ proxies, limits: this.#task.settings, clock, log, onRefused });
  }

  #createLogins(): LoginAnswers {
    return new LoginAnswers(
      (method, body) => this.#bridge.call(method, body, LOGIN_ASK_MS),
      this.life.clock,
    );
  }

  #createUdp(
    shared: Pick<UdpIngressOptions, 'router' | 'limits' | 'clock' | 'access'>,
    proxies: AddressSet | undefined,
  ): UdpIngress {
    const { meters } = this.life;
    const onIdle = (): void => this.life.checkDrained();
    const own = { lists: this.#lists, proxies, meter: meters.datagrams, onIdle };
    return new UdpIngress({ ...shared, ...own });
  }

  #createDoor(): LinkDoor | undefined {
    const { linkSchemes: schemes } = visitorsOf(this.#task);
    if (schemes.length === 0) return undefined;
    const onLink = createHandedPort(this.#linkOptions());
    return new LinkDoor({ schemes, clock: this.life.clock, limits: this.#task.settings, onLink });
  }

  // --- ShardOwner: what happens to the shard ------------------------------------------------

  onTick(nowMs: number): void {
    this.#links.tick(nowMs);
    this.#mesh.tick(nowMs);
    this.#http.sweep();
    this.#https.sweep(nowMs);
    this.#tcp.sweep(nowMs);
    this.#udp.sweep(nowMs);
    this.#tls.sweep(nowMs);
    this.#forwards.sweep(nowMs);
    this.#arrivals?.sweep(nowMs);
    this.#reportUse();
  }

  isDrained(): boolean {
    const isBusy = this.#visitorsCount > 0 || this.#links.haveStreams;
    return !isBusy && this.#mesh.streamsCount === 0;
  }

  onCrash(): void {
    this.#listeners.cutAll();
    this.#forwards.cutAll();
  }

  // --- StreamOpener: what the router asks ---------------------------------------------------

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
        this.#udp.close(name);
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
      recallSlots: ({ token, isAll }: ExitShardMethods['recallSlots']['takes']) =>
        this.#budgets.recall(token, isAll),
      inspected: ({ tunnel, limit }: ExitShardMethods['inspected']['takes']) =>
        this.#inspector.newest(tunnel, limit).map((trace) => trace.show()),
      inspect: ({ id }: { readonly id: string }) => this.#inspector.traceOf(id)?.describe(),
      replay: ({ id }: { readonly id: string }) => {
        const trace = this.#inspector.traceOf(id);
        return trace === undefined ? undefined : this.#http.replay(trace);
      },
      closeLinks: ({ links, code }: ExitShardMethods['closeLinks']['takes']) =>
        this.#links.close(links, code),
      certificates: (change: CertificateChange) => this.#https.setCertificates(change),
      challenges: (list: readonly Challenge[]) => this.#https.challenges.set(list),
      ticketKey: (key: Uint8Array) => this.#https.store.setTicketKey(key),
      sample: ({ loop }: { readonly loop: LoopWatch }) => this.#sample(loop),
      move: () => this.#links.leave('SLW_LINK_MOVED'),
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
      http: this.#http,
      udp: this.#udp,
      inspector: this.#inspector,
      forwards: this.#forwards,
      ...{ log, clock, onLimited: meters.onLimited.bind(meters) },
    };
    applySettings(parts, live);
  }

  #listen(request: ListenRequest): Promise<Listening> {
    const { name } = request;
    if (name === 'control') {
      this.#links.stay();
      const server = createControlPort({ tls: this.#portTls, ...this.#linkOptions() });
      return this.#listeners.add(request, server);
    }
    if (name === 'http') {
      return this.#openHttp(request, (socket, arrival) => this.#http.accept(socket, arrival));
    }
    if (name === 'https') {
      return this.#openHttp(request, (socket, arrival) => this.#tls.accept(socket, arrival));
    }
    if (isUdpTunnel(name)) return this.#udp.open(request);
    return this.#open(request, (socket, arrival) =>
      this.#admit(socket, arrival, () => this.#tcp.accept(name, socket, arrival)),
    );
  }

  #linkOptions(): Omit<ControlPortOptions, 'tls'> {
    return {
      bridge: this.#bridge,
      log: this.life.log,
      isAllowed: (address) => this.#allowsClient(address),
      onLink: (upgraded, peer) => this.#links.add(upgraded, peer),
    };
  }

  /** A trusted proxy's connection carries many visitors, who are judged by their requests. */
  #openHttp(request: ListenRequest, enter: Enter): Promise<Listening> {
    return this.#open(request, (socket, arrival) => {
      const address = arrival?.visitor?.address ?? socket.remoteAddress ?? '';
      const isMany = this.#http.countedAs(plainAddress(address)) === '' && address !== '';
      this.#admit(socket, arrival, () => enter(socket, arrival), isMany);
    });
  }

  #admit(socket: Socket, arrival: Arrival | undefined, enter: () => void, isMany = false): void {
    if (this.#lists.admits(socket, arrival, isMany)) {
      enter();
      return;
    }
    this.#lists.deny('visitors');
    this.life.log.debug({ peer: socket.remoteAddress, list: 'visitors' }, 'denied');
    turnAway(socket);
  }

  #allowsClient(address: string | undefined): boolean {
    const isAllowed = this.#lists.allowsClient(address);
    if (!isAllowed) this.#lists.deny('clients');
    return isAllowed;
  }

  #open(request: ListenRequest, enter: Enter): Promise<Listening> {
    const arrivals = this.#arrivals;
    if (arrivals === undefined) return this.#listeners.open(request, (socket) => enter(socket));
    return this.#listeners.open(request, (socket) => {
      arrivals.admit(socket, this.#servedCount, enter);
    });
  }

  get #visitorsCount(): number {
    return this.#servedCount + this.#udp.flowsCount + (this.#arrivals?.waitingCount ?? 0);
  }

  get #servedCount(): number {
    const { connectionsCount } = this.#http;
    const before = this.#tls.connectionsCount + this.#https.connectionsCount;
    return connectionsCount + before + this.#tcp.connectionsCount;
  }

  #drain(isMoved: boolean): Promise<undefined> {
    this.#listeners.closeAll();
    this.#http.drain(isMoved);
    this.#udp.drain(isMoved);
    // Links that moved serve what visitors of this process still ask for.
    if (!isMoved) this.#links.leave('SLW_LINK_DRAINING');
    return this.life.drain();
  }

  #reportUse(): void {
    const uses = this.#budgets.takeUses();
    if (uses.length > 0) this.#bridge.tell('tokenUse', uses);
  }

  #stop(): void {
    this.#listeners.closeAll();
    this.#udp.closeAll();
    this.#reportUse();
    this.#links.closeAll('SLW_LINK_DRAINING');
    this.#mesh.close();
    this.life.stop(() => this.#bridge.close());
  }

  #sample(loop: LoopWatch): ShardSample {
    this.#router.countWaits();
    return {
      ...this.life.meters.sample(loop),
      ...sampleLinks(this.#links.list()),
      meshBytes: this.#mesh.receivedBytes,
      visitorConnections: this.#visitorsCount,
      denied: this.#lists.sample(),
    };
  }
}

function visitorsOf({ visitors }: ShardTask): VisitorSettings {
  assert(visitors !== undefined, 'a shard of an exit node is told about visitors');
  return visitors;
}
