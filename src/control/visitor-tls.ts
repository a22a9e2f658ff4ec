// HTTPS for visitors, as control sees it: which certificates there are, and that every shard has
// them, with challenges and ticket keys.
//
//   files ──────────┐
//   orders ──ACME───┴──> #pairs ──certificates──> shards
//
// Invariant: a shard knows every certificate before it listens, and each change after that; only
// hosts that the configuration or a client names get one. Must not know: handshakes, or what an
// issuer is asked.

import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { type Clock, systemClock, type Timer } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import type { Bridge } from '../bridge/calls.ts';
import type {
  CertificatePair,
  ExitControlMethods,
  ExitShardMethods,
} from '../bridge/exit-messages.ts';
import type { HttpsSettings } from '../bridge/shard-task.ts';
import type { HttpsConfig, LetsEncryptConfig } from '../config/config.ts';
import { coversName, isCertificateHost } from '../config/https.ts';
import type { ChallengeKind, Issuer } from './acme.ts';
import { CertificateFiles } from './certificate-files.ts';
import { CertificateFolder } from './certificate-folder.ts';
import type { CheckedPair } from './certificate-pair.ts';
import { ChallengeBoard, type DnsHook } from './challenge-board.ts';
import type { OrderResult } from './kept-certificate.ts';
import { Orders } from './orders.ts';
import { isHttpTunnel } from './tunnel-name.ts';

type ShardBridge = Bridge<ExitControlMethods, ExitShardMethods>;

export interface VisitorTlsOptions {
  readonly config: HttpsConfig;
  /** Does an HTTP listener answer challenges? */
  readonly hasHttp: boolean;
  readonly bridges: () => readonly ShardBridge[];
  /** Does a client serve this tunnel now? */
  readonly isServed: (tunnel: string) => boolean;
  readonly dnsHook: DnsHook | undefined;
  readonly agent: string;
  /** Counts files that were read again, by result. */
  readonly reloads: Map<string, number>;
  readonly log: Logger;
  readonly clock?: Clock;
}

/** Sealed with one key at a time, for Node takes one: visitors of before shake hands anew. */
const TICKET_KEY_MS = 12 * 3_600_000;
const TICKET_KEY_BYTES = 48;
const HTTPS_PORT = 443;

export class VisitorTls {
  readonly #options: VisitorTlsOptions;
  readonly #clock: Clock;
  readonly #pairs = new Map<string, CheckedPair>();
  /** Tunnels of hosts on demand: a host may have several, by path. */
  readonly #tunnels = new Map<string, Set<string>>();
  readonly #files: CertificateFiles;
  readonly #board: ChallengeBoard;
  readonly #folder: CertificateFolder | undefined;
  readonly #orders: Orders | undefined;
  #ticketKey = randomBytes(TICKET_KEY_BYTES);
  #timer: Timer | undefined;

  constructor(options: VisitorTlsOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    const { config, log } = options;
    const clock = this.#clock;
    const onPair = (pair: CheckedPair): void => this.#use(pair);
    const { certificates: entries } = config;
    const { reloads } = options;
    this.#files = new CertificateFiles({ entries, onPair, reloads, clock, log });
    this.#board = new ChallengeBoard({
      send: (challenges) => this.#callAll('challenges', challenges),
      dnsHook: options.dnsHook,
      log,
    });
    const { letsEncrypt } = config;
    if (letsEncrypt === undefined) return;
    const { dir, issuer } = letsEncrypt;
    const folder = new CertificateFolder({ dir, issuer, clock, log });
    this.#folder = folder;
    this.#orders = this.#createOrders(letsEncrypt, folder, onPair);
  }

  /** For each shard when it is started. */
  get settings(): HttpsSettings {
    const { addr, redirect, hstsMaxAgeSeconds } = this.#options.config;
    return { hstsMaxAgeSeconds, redirectPort: redirect ? addr.port || HTTPS_PORT : 0 };
  }

  /** Orders by result. */
  get orders(): ReadonlyMap<OrderResult, number> {
    return this.#orders?.results ?? new Map();
  }

  /** Ends of validity in seconds since the epoch, by name. */
  notAfterSeconds(): (readonly [name: string, seconds: number])[] {
    return [...this.#pairs].map(([name, pair]) => [name, pair.notAfterMs / 1000]);
  }

  /** Reads the operator's files again; broken ones change nothing. */
  reload(): Promise<void> {
    return this.#files.reload();
  }

  /** What is there already, before anybody listens. A ConfigError when a file cannot be used. */
  async load(): Promise<void> {
    await this.#files.load();
    const { letsEncrypt } = this.#options.config;
    if (letsEncrypt === undefined) return;
    try {
      await this.#folder?.prepare();
    } catch (error) {
      // Orders will say so again and again; what is served already goes on being served.
      const reason = error instanceof Error ? error.message : String(error);
      this.#options.log.error({ reason }, 'the certificate folder cannot be used');
    }
    for (const name of letsEncrypt.domains) await this.#orders?.load(name);
  }

  /** All listeners are up. */
  start(): void {
    void this.#files.watch();
    this.#timer = this.#clock.after(TICKET_KEY_MS, () => this.#rotate());
    for (const name of this.#options.config.letsEncrypt?.domains ?? []) {
      this.#orders?.keep(name, false);
    }
    this.#orders?.startSweeps();
  }

  /** The ports are another's soon, and with them the proof of a host: what is had is served. */
  stopOrders(): void {
    this.#orders?.stop();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#files.close();
    this.stopOrders();
  }

  /** A shard has started; it does not listen yet. */
  bringUp(bridge: ShardBridge): void {
    bridge.tell('ticketKey', this.#ticketKey);
    bridge.tell('certificates', { set: [...this.#pairs.values()].map(plainPair), drop: [] });
    bridge.tell('challenges', this.#board.challenges);
  }

  /** A client serves `tunnel` from now on: the configuration may allow its host a certificate. */
  onTunnel(tunnel: string): void {
    const host = hostOf(tunnel);
    if (!this.#isOnDemand(host) || this.#isConfigured(host)) return;
    // What is not kept is never forgotten either.
    if (this.#orders?.keep(host, true) !== true) return;
    this.#tunnels.set(host, new Set([...this.#servedTunnels(host), tunnel]));
  }

  /** Do visitors reach it by HTTPS: is there a certificate for its host, or will one be ordered? */
  isFor(tunnel: string): boolean {
    if (!isHttpTunnel(tunnel)) return false;
    const host = hostOf(tunnel);
    return this.#isConfigured(host) || this.#isOnDemand(host);
  }

  /** Of a tunnel for all names below one, a certificate for those. */
  #isConfigured(host: string): boolean {
    const { certificates, letsEncrypt } = this.#options.config;
    const names = [...certificates.map(({ name }) => name), ...(letsEncrypt?.domains ?? [])];
    return names.some((name) => name === host || coversName(name, host));
  }

  #isOnDemand(host: string): boolean {
    const patterns = this.#options.config.letsEncrypt?.onDemand ?? [];
    // Nor is `tls:HOST` one: what is passed through has its upstream's certificate.
    return isCertificateHost(host) && patterns.some((pattern) => coversName(pattern, host));
  }

  #servedTunnels(host: string): readonly string[] {
    const { isServed } = this.#options;
    return [...(this.#tunnels.get(host) ?? [])].filter((tunnel) => isServed(tunnel));
  }

  #createOrders(
    config: LetsEncryptConfig,
    folder: CertificateFolder,
    onPair: (pair: CheckedPair) => void,
  ): Orders {
    const { log } = this.#options;
    const domains = new Set(config.domains);
    return new Orders({
      folder,
      openIssuer: () => this.#openIssuer(config, folder),
      solver: this.#board,
      challengeFor: (name) => this.#challengeFor(config, name),
      isWanted: (name) => domains.has(name) || this.#servedTunnels(name).length > 0,
      onPair,
      onForgotten: (name) => {
        this.#pairs.delete(name);
        this.#tunnels.delete(name);
        for (const bridge of this.#options.bridges()) {
          bridge.tell('certificates', { set: [], drop: [name] });
        }
      },
      clock: this.#clock,
      random: Math.random,
      log,
    });
  }

  async #openIssuer(config: LetsEncryptConfig, folder: CertificateFolder): Promise<Issuer> {
    // Loaded here and not above: it is large, and most exit nodes never order.
    const { AcmeIssuer, createAccountKey } = await import('./acme.ts');
    return new AcmeIssuer({
      directory: config.issuer,
      accountKey: await folder.accountKey(createAccountKey),
      email: config.email,
      ca: config.caFile === undefined ? undefined : await readFile(config.caFile, 'utf8'),
      agent: this.#options.agent,
      wallMs: () => this.#clock.wallMs(),
    });
  }

  #challengeFor({ challenge }: LetsEncryptConfig, name: string): ChallengeKind {
    if (name.startsWith('*.')) return 'dns-01';
    if (challenge !== 'auto') return challenge;
    return this.#options.hasHttp ? 'http-01' : 'tls-alpn-01';
  }

  #use(pair: CheckedPair): void {
    this.#pairs.set(pair.name, pair);
    const change = { set: [plainPair(pair)], drop: [] };
    for (const bridge of this.#options.bridges()) bridge.tell('certificates', change);
  }

  #rotate(): void {
    this.#ticketKey = randomBytes(TICKET_KEY_BYTES);
    for (const bridge of this.#options.bridges()) bridge.tell('ticketKey', this.#ticketKey);
    this.#timer = this.#clock.after(TICKET_KEY_MS, () => this.#rotate());
  }

  /** A shard that dies meanwhile has what is sent from `bringUp` when it is back. */
  async #callAll(
    method: 'challenges',
    takes: ExitShardMethods['challenges']['takes'],
  ): Promise<void> {
    await Promise.allSettled(this.#options.bridges().map((bridge) => bridge.call(method, takes)));
  }
}

function hostOf(tunnel: string): string {
  return tunnel.split('/', 1)[0] ?? '';
}

function plainPair({ name, cert, key }: CheckedPair): CertificatePair {
  return { name, cert, key };
}
