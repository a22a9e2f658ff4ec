// Asks exit nodes how they are: whether they answer, and which names they serve.
//
// Invariant: no token is sent; a private CA is pinned from the first answer on, and another one is
// an error; one that did not answer is left alone for a moment, so that a single exit node holds
// nobody up. Must not know: what follows from an answer.

import type { Clock } from '../base/clock.ts';
import { attemptsWithin } from '../base/dial-attempts.ts';
import { http, https } from '../base/http-modules.ts';
import { fetchServerCa } from '../client/server-ca.ts';
import { controlUrl, serverUrl } from '../config/address.ts';
import { isFetched } from '../config/trust.ts';
import type { Served } from './client-readiness.ts';
import type { Reach } from './exit-node-plan.ts';

const TIMEOUT_MS = 4_000;
/** After no answer. */
const PAUSE_MS = 10_000;
/** Exit nodes of which something is remembered. Guess. */
const KNOWN_MAX = 10_000;

export interface ProbeTarget {
  readonly url: string;
  /** Of the private CA, once known. */
  readonly caFingerprint?: string | undefined;
}

interface Trust {
  readonly ca?: string;
  readonly caFingerprint?: string;
}

export class ExitNodeProbe {
  readonly #clock: Clock;
  /** By URL and fingerprint. */
  readonly #trusts = new Map<string, Trust>();
  /** Until when each is left alone, by URL. */
  readonly #away = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async reach(target: ProbeTarget): Promise<Reach> {
    try {
      const trust = await this.#trustOf(target);
      const status = await this.#ask(target, '/readyz', trust);
      if (status !== 200) return { is: 'away', message: `${target.url} answered ${status}` };
      const { caFingerprint } = trust;
      return { is: 'ready', ...(caFingerprint === undefined ? {} : { caFingerprint }) };
    } catch (error) {
      return { is: 'away', message: messageOf(error) };
    }
  }

  async served(target: ProbeTarget, names: readonly string[]): Promise<Served> {
    const untilMs = this.#away.get(target.url);
    if (untilMs !== undefined && untilMs > this.#clock.nowMs()) return 'unknown';
    try {
      const trust = await this.#trustOf(target);
      const missing: string[] = [];
      for (const name of names) {
        const path = `/readyz?tunnel=${encodeURIComponent(name)}`;
        if ((await this.#ask(target, path, trust)) !== 200) missing.push(name);
      }
      return missing.length === 0 ? 'all' : { missing };
    } catch {
      // `reach` says why, in the status of the exit node.
      return 'unknown';
    }
  }

  async #trustOf(target: ProbeTarget): Promise<Trust> {
    const { caFingerprint } = target;
    const url = normalised(target.url);
    const trust = {
      autoTls: caFingerprint === undefined ? 'by-address' : 'on',
      fingerprints: caFingerprint === undefined ? [] : [caFingerprint],
      knownServers: '',
    } as const;
    if (!isFetched(trust, url)) return {};
    const key = `${url} ${caFingerprint ?? ''}`;
    const known = this.#trusts.get(key);
    if (known !== undefined) return known;
    try {
      const found = await fetchServerCa({ url, trust, clock: this.#clock, memory: 'none' });
      const fetched = { ca: found.ca, caFingerprint: found.fingerprint };
      bounded(this.#trusts).set(key, fetched);
      return fetched;
    } catch (error) {
      this.#leaveAlone(target);
      throw error;
    }
  }

  async #ask(target: ProbeTarget, path: string, { ca }: Trust): Promise<number> {
    const url = new URL(controlUrl(normalised(target.url), path));
    try {
      const status = await statusOf(url, ca);
      this.#away.delete(target.url);
      return status;
    } catch (error) {
      // Its CA may be another one by now; the pin decides.
      this.#trusts.clear();
      this.#leaveAlone(target);
      throw error;
    }
  }

  #leaveAlone({ url }: ProbeTarget): void {
    bounded(this.#away).set(url, this.#clock.nowMs() + PAUSE_MS);
  }
}

function statusOf(url: URL, ca: string | undefined): Promise<number> {
  const isTls = url.protocol === 'https:';
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const options = {
    ...({ agent: false, signal, ...attemptsWithin(TIMEOUT_MS) } as const),
    // Said here because the environment would otherwise decide.
    ...(isTls ? { rejectUnauthorized: true } : {}),
    ...(ca === undefined ? {} : { ca }),
  };
  return new Promise((resolve, reject) => {
    const request = (isTls ? https : http).request(url, options);
    request.on('error', (cause) => {
      const why = signal.aborted ? 'no answer in time' : cause.message || 'no connection';
      reject(new Error(`${url.host}: ${why}`, { cause }));
    });
    request.on('response', (response) => {
      response.destroy();
      resolve(response.statusCode ?? 0);
    });
    request.end();
  });
}

/** With `/connect` at its end, as links dial it. Throws for what is no URL of a server. */
function normalised(url: string): string {
  const read = serverUrl.read(url);
  if (typeof read === 'string') return read;
  throw new Error(`'${url}' ${read.message}`);
}

/** Starts anew rather than grow. */
function bounded<V>(map: Map<string, V>): Map<string, V> {
  if (map.size >= KNOWN_MAX) map.clear();
  return map;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
