// Answers what a certificate authority asks to see: a text over HTTP, a certificate over TLS.
//
// Invariant: only what control has announced is answered, at most CHALLENGES_MAX of them, and none
// for longer than CHALLENGE_MS; an announcement replaces the one before it whole. Must not know:
// who asks, accounts, or orders.

import { createServer, type Server } from 'node:tls';
import type { Clock } from '../base/clock.ts';
import type { Challenge } from '../bridge/exit-messages.ts';
import { HANDSHAKE_TIMEOUT_MS } from './certificate-store.ts';

/** RFC 8737 6.2. */
export const ACME_PROTOCOL = 'acme-tls/1';
/** RFC 8555 8.3. */
export const CHALLENGE_PATH = '/.well-known/acme-challenge/';
/** Guess: control has one order under way at a time, with a few names. */
const CHALLENGES_MAX = 64;
/** An authority has looked by then; control takes it back long before. Guess. */
const CHALLENGE_MS = 15 * 60_000;

export class AcmeChallenges {
  readonly #clock: Clock;
  readonly #texts = new Map<string, string>();
  readonly #servers = new Map<string, Server>();
  #endMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  set(challenges: readonly Challenge[]): void {
    this.#texts.clear();
    this.#servers.clear();
    this.#endMs = this.#clock.nowMs() + CHALLENGE_MS;
    for (const challenge of challenges.slice(0, CHALLENGES_MAX)) {
      if (challenge.kind === 'http-01') this.#texts.set(challenge.token, challenge.text);
      else this.#servers.set(challenge.name, createChallengeServer(challenge));
    }
  }

  get isEmpty(): boolean {
    return this.#texts.size + this.#servers.size === 0;
  }

  /** Is there one for who asks over HTTP? */
  get hasTexts(): boolean {
    return this.#texts.size > 0;
  }

  /** What `target`, a path, must answer; undefined for everything that is no challenge of ours. */
  textFor(target: string): string | undefined {
    if (!target.startsWith(CHALLENGE_PATH)) return undefined;
    return this.#texts.get(target.slice(CHALLENGE_PATH.length));
  }

  /** Shakes hands with an authority that checks `serverName`. */
  serverFor(serverName: string): Server | undefined {
    return this.#servers.get(serverName);
  }

  sweep(nowMs: number): void {
    if (!this.isEmpty && nowMs >= this.#endMs) this.set([]);
  }
}

/** Is this where an authority looks? Such a request is never redirected. */
export function isChallengePath(target: string): boolean {
  return target.startsWith(CHALLENGE_PATH);
}

function createChallengeServer({ cert, key }: { cert: string; key: string }): Server {
  const server = createServer({
    cert,
    key,
    minVersion: 'TLSv1.2',
    ALPNProtocols: [ACME_PROTOCOL],
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
  });
  server.on('tlsClientError', (_error, socket) => socket.destroy());
  server.on('secureConnection', (socket) => {
    socket.on('error', ignoreError);
    // RFC 8737 3: nothing is said once the handshake is done. Who stays all the same is cut.
    socket.setTimeout(HANDSHAKE_TIMEOUT_MS, () => socket.destroy());
    socket.end();
    socket.resume();
  });
  return server;
}

function ignoreError(): void {
  // The authority has seen what it wanted, or will try again.
}
