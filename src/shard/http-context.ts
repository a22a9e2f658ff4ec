// What all visitor connections of one HTTP ingress share: where requests go, limits, and the
// parsers and memory that a connection borrows while it reads or writes a head.
//
// Invariant: a parser has one borrower at a time, and an idle connection has none, but for one that
// has sent an empty line; at most POOLED_MAX wait for the next borrower. Must not know: sockets, or
// the state of a connection.

import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { LoginThrottle } from '../base/login-throttle.ts';
import { memoryPressure, PRESSURE } from '../base/memory-pressure.ts';
import type { AddressSet } from '../base/network-set.ts';
import { RequestParser } from '../http/request-head.ts';
import { ResponseParser } from '../http/response-head.ts';
import { Slab } from '../http/slab.ts';
import type { AccessLog } from './access-log.ts';
import { AdmittedPasswords } from './admitted-passwords.ts';
import type { AllowLists } from './allow-lists.ts';
import { Farewells } from './http-farewell.ts';
import type { HttpFront } from './http-front.ts';
import { Pages } from './http-page.ts';
import type { Inspector } from './inspector.ts';
import { KeptBodies } from './kept-bodies.ts';
import type { Limit } from './limited.ts';
import type { LinkDoor } from './link-door.ts';
import type { LoginAnswers } from './login-answers.ts';
import { LoginSessions } from './login-sessions.ts';
import type { RequestGate } from './request-gate.ts';
import type { Router } from './router.ts';
import type { RelayLimits } from './socket-relay.ts';
import { VisitorLedger } from './visitor-ledger.ts';

/** Guess: heads that span reads are few at any moment. */
const POOLED_MAX = 64;

export interface HttpLimits extends RelayLimits {
  /** From the first byte of a request head to its last, and to the first byte of the first. */
  readonly headerTimeoutMs: number;
  /** Between two pieces of a request body. */
  readonly bodyIdleTimeoutMs: number;
  /** Between two requests. */
  readonly keepAliveTimeoutMs: number;
  /** From a whole request to the head of its response. */
  readonly upstreamResponseTimeoutMs: number;
  readonly visitorConnectionsMax: number;
}

export interface HttpMeter {
  /** `tunnel` is undefined when the request matched none; `method` is '' when none was read. */
  onRequest(tunnel: string | undefined, method: string, status: number, durationMs: number): void;
  /** Where the requests that are being served for `tunnel` are counted up and down. */
  inFlight(tunnel: string): InFlight;
  onLimited(limit: Limit): void;
}

export interface InFlight {
  requests: number;
}

export interface HttpIngressOptions {
  readonly router: Router;
  readonly meter: HttpMeter;
  readonly limits: HttpLimits;
  readonly clock: Clock;
  readonly log: Logger;
  /** Whose forwarding fields are believed; undefined for nobody's. */
  readonly trustedProxies?: AddressSet | undefined;
  /** Shared with the TCP ingress; one of its own when left out. */
  readonly ledger?: VisitorLedger;
  /** Undefined: everybody may visit. */
  readonly lists?: AllowLists;
  /** Undefined: no rate is limited. */
  readonly gate?: RequestGate | undefined;
  /** Undefined: it is off. */
  readonly access?: AccessLog | undefined;
  readonly pages?: Pages;
  /** 0 or left out: no limit. */
  readonly requestBodyBytesMax?: number;
  /** Answers before a tunnel is looked for. */
  readonly front?: HttpFront;
  /** Undefined: no tunnel is inspected. */
  readonly inspector?: Inspector | undefined;
  /** Undefined: only visitors come here. */
  readonly door?: LinkDoor | undefined;
  /** Left out: nobody can log in at a provider. */
  readonly logins?: LoginAnswers;
  /** Added to every response over HTTPS: whole lines, or nothing. */
  readonly secureFields?: Buffer;
}

export class HttpContext {
  readonly router: Router;
  readonly meter: HttpMeter;
  readonly limits: HttpLimits;
  readonly clock: Clock;
  readonly log: Logger;
  readonly ledger: VisitorLedger;
  readonly lists: AllowLists | undefined;
  gate: RequestGate | undefined;
  readonly access: AccessLog | undefined;
  readonly pages: Pages;
  requestBodyBytesMax: number;
  readonly front: HttpFront | undefined;
  readonly secureFields: Buffer | undefined;
  readonly door: LinkDoor | undefined;
  inspector: Inspector | undefined;
  readonly loginThrottle: LoginThrottle;
  readonly passwords = new AdmittedPasswords();
  readonly sessions: LoginSessions;
  readonly logins: LoginAnswers | undefined;
  readonly slab = new Slab();
  readonly farewells = new Farewells();
  readonly keptBodies = new KeptBodies();
  state: 'serving' | 'draining' = 'serving';
  readonly #trustedProxies: AddressSet | undefined;
  readonly #requestParsers: RequestParser[] = [];
  readonly #responseParsers: ResponseParser[] = [];

  constructor(options: HttpIngressOptions) {
    this.router = options.router;
    this.meter = options.meter;
    this.limits = options.limits;
    this.clock = options.clock;
    this.log = options.log;
    this.#trustedProxies = options.trustedProxies;
    const { visitorConnectionsMax } = options.limits;
    this.ledger =
      options.ledger ?? new VisitorLedger({ visitorConnectionsMax, connectionsPerAddressMax: 0 });
    this.lists = options.lists;
    this.gate = options.gate;
    this.access = options.access;
    this.pages = options.pages ?? new Pages();
    this.requestBodyBytesMax = options.requestBodyBytesMax || Number.POSITIVE_INFINITY;
    this.front = options.front;
    this.loginThrottle = new LoginThrottle(options.clock);
    this.sessions = options.logins?.sessions ?? new LoginSessions(options.clock);
    this.logins = options.logins;
    this.secureFields = options.secureFields;
    this.door = options.door;
    this.inspector = options.inspector;
  }

  /** May a visitor's connection have another request? Not while it drains, or wants for memory. */
  get keepsVisitors(): boolean {
    return this.state === 'serving' && memoryPressure.level < PRESSURE.SEVERE;
  }

  /** The trusted proxies, if `peer` is one of them. */
  trustOf(peer: string): AddressSet | undefined {
    return this.#trustedProxies?.has(peer) === true ? this.#trustedProxies : undefined;
  }

  borrowRequestParser(): RequestParser {
    return this.#requestParsers.pop() ?? new RequestParser();
  }

  returnRequestParser(parser: RequestParser): void {
    parser.reset();
    if (this.#requestParsers.length < POOLED_MAX) this.#requestParsers.push(parser);
  }

  borrowResponseParser(): ResponseParser {
    return this.#responseParsers.pop() ?? new ResponseParser();
  }

  returnResponseParser(parser: ResponseParser): void {
    parser.reset();
    if (this.#responseParsers.length < POOLED_MAX) this.#responseParsers.push(parser);
  }
}
