// The ways in for visitors of one shard: HTTP, HTTPS, TCP and UDP, behind PROXY headers and lists.
//
//   accepted --header, of listed proxies--> list --port--> http
//                                              |      \--> tls front --hello--> https, or tcp
//                                              |      \--> tcp
//                                              \--denied, of http--> issuer door
//   datagrams --------------------------------------------> udp
//
// Invariant: nobody reaches an ingress past a list that is on (who asks for a challenge is answered
// before); whoever waits is counted, too, so that a drain waits for them. Must not know: links,
// tokens, or what control asks.

import type { Socket } from 'node:net';
import { plainAddress } from '../base/ip.ts';
import { type AddressSet, networkSet } from '../base/network-set.ts';
import { isUdpTunnel } from '../base/port-name.ts';
import type { Listening, ListenRequest } from '../bridge/exit-messages.ts';
import type { ShardTask, VisitorSettings } from '../bridge/shard-task.ts';
import { AccessLog } from './access-log.ts';
import { AcmeChallenges } from './acme-challenges.ts';
import type { AllowLists } from './allow-lists.ts';
import { type Arrival, Arrivals } from './arrivals.ts';
import { frontOptions } from './http-front.ts';
import { Pages } from './http-page.ts';
import { createHttpIngress, type HttpIngress } from './ingress-http.ts';
import { HttpsIngress } from './ingress-https.ts';
import { TcpIngress } from './ingress-tcp.ts';
import { UdpIngress } from './ingress-udp.ts';
import type { Inspector } from './inspector.ts';
import { IssuerDoor } from './issuer-door.ts';
import type { LinkDoor } from './link-door.ts';
import type { Listeners } from './listeners.ts';
import type { LoginAnswers } from './login-answers.ts';
import { createRequestGate } from './request-gate.ts';
import type { ShardRouter } from './router.ts';
import type { ShardLife } from './shard-life.ts';
import { turnAway } from './socket-relay.ts';
import { TlsFront } from './tls-front.ts';
import { type LedgerLimits, VisitorLedger } from './visitor-ledger.ts';

export interface IngressOptions {
  readonly task: ShardTask;
  readonly visitors: VisitorSettings;
  readonly life: ShardLife;
  readonly listeners: Listeners;
  readonly lists: AllowLists;
  /** Whose connections begin with a PROXY header. */
  readonly proxies: AddressSet | undefined;
  readonly router: ShardRouter;
  readonly ledgerLimits: LedgerLimits;
  readonly inspector: Inspector;
  readonly logins: LoginAnswers;
  /** For clients that come on visitors' ports. */
  readonly door: LinkDoor | undefined;
}

type Enter = (socket: Socket, arrival?: Arrival) => void;

export class Ingress {
  readonly http: HttpIngress;
  readonly https: HttpsIngress;
  readonly udp: UdpIngress;
  readonly #tcp: TcpIngress;
  readonly #tls: TlsFront;
  readonly #issuers: IssuerDoor;
  /** Undefined: every visitor comes by itself. */
  readonly #arrivals: Arrivals | undefined;
  readonly #ledger: VisitorLedger;
  readonly #life: ShardLife;
  readonly #listeners: Listeners;
  readonly #lists: AllowLists;

  constructor(options: IngressOptions) {
    const { life, lists, proxies, router, listeners } = options;
    this.#life = life;
    this.#listeners = listeners;
    this.#lists = lists;
    const { log, clock, meters } = life;
    const { settings: limits, https } = options.task;
    const { visitors, inspector, ledgerLimits, logins, door } = options;
    const onLimited = meters.onLimited.bind(meters);
    const ledger = new VisitorLedger(ledgerLimits, onLimited);
    this.#ledger = ledger;
    const access = visitors.accessLog ? new AccessLog(life.createAccessLog()) : undefined;
    const shared = { router, limits, clock, ledger, access };
    const challenges = new AcmeChallenges(clock);
    this.http = createHttpIngress({
      ...frontOptions(https, challenges),
      ...{ ...shared, meter: meters, log, lists, logins, door },
      pages: new Pages(visitors.errorPages),
      trustedProxies: networkSet(limits.trustedProxies),
      gate: createRequestGate(visitors.limits, onLimited),
      requestBodyBytesMax: visitors.limits.requestBodyBytesMax,
      inspector: inspector.isOn ? inspector : undefined,
    });
    this.https = new HttpsIngress({ ...shared, http: this.http, challenges, log });
    this.#tcp = new TcpIngress({ ...shared, onDenied: () => lists.deny('tunnels') });
    this.http.orphans.watch(this.#tcp.holdings);
    const onIdle = (): void => life.checkDrained();
    this.udp = new UdpIngress({ ...shared, lists, proxies, meter: meters.datagrams, onIdle });
    this.#tls = this.#createTlsFront(router, ledger);
    const onDenied = (socket: Socket): void => this.#countDenied(socket);
    this.#issuers = new IssuerDoor({ challenges, clock, onDenied });
    this.#arrivals = proxies === undefined ? undefined : this.#createArrivals(proxies, ledger);
  }

  #createTlsFront(router: ShardRouter, ledger: VisitorLedger): TlsFront {
    const { clock, log, meters } = this.#life;
    return new TlsFront({
      ...{ ledger, clock, log, terminator: this.https },
      matchServerName: (serverName) => router.matchServerName(serverName),
      countedAs: (address) => this.http.countedAs(address),
      pass: (tunnel, socket, arrival) => this.#admitTcp(tunnel, socket, arrival),
      onRefused: (reason) => meters.tlsRefusals.add(reason),
    });
  }

  #createArrivals(proxies: AddressSet, ledger: VisitorLedger): Arrivals {
    const { clock, log, meters } = this.#life;
    const onRefused = (): void => meters.onAcceptError('SLW_PROXY_HEADER');
    return new Arrivals({ proxies, ledger, clock, log, onRefused });
  }

  /** Opens the port of HTTP, of HTTPS or of a tunnel. Rejects with a SluicewayError. */
  open(request: ListenRequest): Promise<Listening> {
    const { name } = request;
    if (name === 'http') {
      const enter: Enter = (socket, arrival) => this.http.accept(socket, arrival);
      return this.#openHttp(request, enter, this.#issuers);
    }
    if (name === 'https') {
      return this.#openHttp(request, (socket, arrival) => this.#tls.accept(socket, arrival));
    }
    if (isUdpTunnel(name)) return this.udp.open(request);
    return this.#listen(request, (socket, arrival) => this.#admitTcp(name, socket, arrival));
  }

  /** About once a second: deadlines. */
  sweep(nowMs: number): void {
    this.http.sweep();
    this.https.sweep(nowMs);
    this.#tcp.sweep(nowMs);
    this.udp.sweep(nowMs);
    this.#tls.sweep(nowMs);
    this.#issuers.sweep(nowMs);
    this.#arrivals?.sweep(nowMs);
    this.#ledger.sweep(nowMs);
  }

  /** The thread ends: nobody takes what was not sent for all there was. */
  cutUnsent(): void {
    this.http.cutUnsent();
    this.#tcp.cutUnsent();
  }

  /** Flows of datagrams, and who waits for a header, too. */
  get visitorsCount(): number {
    const before = this.#tls.connectionsCount + (this.#arrivals?.waitingCount ?? 0);
    const served = this.http.connectionsCount + this.https.connectionsCount;
    const raw = this.#tcp.connectionsCount + this.udp.flowsCount;
    return before + served + raw + this.#issuers.guestsCount;
  }

  /** A trusted proxy's connection carries many visitors, who are judged by their requests. */
  #openHttp(request: ListenRequest, enter: Enter, issuers?: IssuerDoor): Promise<Listening> {
    return this.#listen(request, (socket, arrival) => {
      const address = arrival?.visitor?.address ?? socket.remoteAddress ?? '';
      const isMany = this.http.countedAs(plainAddress(address)) === '' && address !== '';
      if (this.#lists.admits(socket, arrival, isMany)) enter(socket, arrival);
      else if (issuers?.take(socket, arrival?.first) !== true) this.#refuse(socket);
    });
  }

  #admitTcp(tunnel: string, socket: Socket, arrival: Arrival | undefined): void {
    const isListed = this.#lists.admits(socket, arrival, false);
    if (isListed) this.#tcp.accept(tunnel, socket, arrival);
    else this.#refuse(socket);
  }

  /** Turns away whom a list denies. */
  #refuse(socket: Socket): void {
    this.#countDenied(socket);
    turnAway(socket);
  }

  #countDenied(socket: Socket): void {
    this.#lists.deny('visitors');
    this.#life.log.debug({ peer: socket.remoteAddress, list: 'visitors' }, 'denied');
  }

  #listen(request: ListenRequest, enter: Enter): Promise<Listening> {
    const arrivals = this.#arrivals;
    if (arrivals === undefined) return this.#listeners.open(request, (socket) => enter(socket));
    return this.#listeners.open(request, (socket) => {
      arrivals.admit(socket, enter);
    });
  }
}
