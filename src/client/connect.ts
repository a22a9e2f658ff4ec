// sluiceway as a library: a tunnel from within a Node program.
//
//   import { connect } from 'sluiceway';
//   const tunnel = await connect({
//     url: 'wss://tunnel.example.com:8123', token, upstreams: { 'example.com': 'http://127.0.0.1:3000' },
//   });
//
// Invariant: reads no environment but where the user's home is, and no file of options; prints
// nothing, and ends no process; what is wrong with the options is one error that lists it all. Must
// not know: how a client works.

import { EventEmitter } from 'node:events';
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { TIMER_MS_MAX } from '../base/clock.ts';
import { SluicewayError } from '../base/errors.ts';
import { createLogger } from '../base/log.ts';
import { type ClientConfig, resolveConfig } from '../config/config.ts';
import { type Client, startClient } from './client.ts';
import { type ConnectOptions, flagsOf } from './connect-options.ts';
import type { ClientEvent } from './events.ts';
import { isRetryable } from './tunnel-board.ts';

export { ConfigError, SluicewayError } from '../base/errors.ts';
export type { ConnectOptions, LogLevel } from './connect-options.ts';
export type { ClientEvent } from './events.ts';

export interface TunnelEvents {
  /** Whatever happens, in order. */
  event: [ClientEvent];
  /** It has ended: by `close`, or because trying again is of no use (`exitCode` is not 0). */
  closed: [{ readonly exitCode: number; readonly reason: string }];
}

/** A tunnel that is up; it dials again by itself. */
export interface Tunnel extends EventEmitter<TunnelEvents> {
  /** Where visitors find each tunnel: `http://example.com`, `tcp://tunnel.example.com:2222`. */
  readonly urls: readonly string[];
  /** Local ports that are open: `127.0.0.1:4222`. */
  readonly locals: readonly string[];
  /** Lets what runs end, for as long as `drain-timeout` says. */
  close(): Promise<void>;
}

type Refusal = Extract<ClientEvent, { event: 'tunnel-refused' }>;

const TIMEOUT_MS = 30_000;

/**
 * Resolves when every tunnel is up on one server at least, and every local port is open.
 *
 * Rejects with a ConfigError for options that cannot be, and with a SluicewayError when a tunnel is
 * refused for good by every server (its code), it ends before (the code of its last link, such as
 * SLW_AUTH_REFUSED for a token), or it takes too long (SLW_TIMEOUT).
 * Nothing runs any more then.
 */
export async function connect(options: ConnectOptions): Promise<Tunnel> {
  const config = configOf(options);
  const { signal, timeoutMs = TIMEOUT_MS } = options;
  signal?.throwIfAborted();
  const tunnel = new RunningTunnel(config);
  try {
    await tunnel.start(timeoutMs, signal);
  } catch (error) {
    await tunnel.close();
    throw error;
  }
  return tunnel;
}

class RunningTunnel extends EventEmitter<TunnelEvents> implements Tunnel {
  readonly #config: ClientConfig;
  readonly #urls = new Map<string, string>();
  /** The last of each server, by tunnel. */
  readonly #refusals = new Map<string, Map<string, Refusal>>();
  /** Why there is no link, by server. */
  readonly #outages = new Map<string, string>();
  readonly #locals: string[] = [];
  readonly #up = Promise.withResolvers<void>();
  #client: Client | undefined;

  constructor(config: ClientConfig) {
    super();
    this.#config = config;
    this.#up.promise.catch(() => {
      // Told to whoever waits.
    });
  }

  get urls(): readonly string[] {
    return [...this.#urls.values()];
  }

  get locals(): readonly string[] {
    return this.#locals;
  }

  async start(timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
    const { logLevel: level, logFormat: format } = this.#config;
    const log = createLogger({ level, format, component: 'client' });
    const version = readVersion();
    const onEvent = (event: ClientEvent): void => this.#onEvent(event);
    this.#client = await startClient(this.#config, { log, version, onEvent });
    void this.#client.closed.then(({ exitCode, code, message = '' }) => {
      const other = exitCode === 0 ? 'SLW_LINK_ENDED' : 'SLW_DIAL_FAILED';
      this.#up.reject(new SluicewayError(code ?? other, message || 'the tunnel has ended'));
      queueMicrotask(() => this.emit('closed', { exitCode, reason: message }));
    });
    const onAbort = (): void => this.#up.reject(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    // Before there was anybody to hear it.
    if (signal?.aborted === true) onAbort();
    const onLate = (): void => {
      const reasons = { missing: this.#missingTexts(), outages: this.#outageTexts() };
      this.#up.reject(late(timeoutMs, reasons));
    };
    const timer = setTimeout(onLate, Math.min(timeoutMs, TIMER_MS_MAX));
    try {
      await this.#up.promise;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    }
  }

  async close(): Promise<void> {
    this.#client?.drain();
    await this.#client?.closed;
  }

  #missing(): string[] {
    return this.#config.tunnels.map(({ name }) => name).filter((name) => !this.#urls.has(name));
  }

  /** With why, where a server has said. */
  #missingTexts(): string[] {
    return this.#missing().map((name) => {
      const last = [...(this.#refusals.get(name)?.values() ?? [])].at(-1);
      return last === undefined ? name : `${name} (${last.code}: ${last.reason})`;
    });
  }

  #outageTexts(): string[] {
    return [...this.#outages].map(([server, why]) => `; ${server}: ${why}`);
  }

  #onEvent(event: ClientEvent): void {
    if (event.event === 'disconnected') this.#outages.set(event.server, event.reason);
    if (event.event === 'connected') this.#outages.delete(event.server);
    if (event.event === 'tunnel-up') {
      this.#urls.set(event.tunnel, event.url);
      this.#refusals.get(event.tunnel)?.delete(event.server);
    }
    if (event.event === 'forward-up') this.#locals.push(event.listen);
    if (event.event === 'tunnel-withdrawn') this.#urls.delete(event.tunnel);
    if (event.event === 'tunnel-refused') this.#onRefused(event);
    const { locals, localSocks } = this.#config;
    const forwards = locals.length + (localSocks === undefined ? 0 : 1);
    const areForwardsUp = this.#locals.length >= forwards;
    if (this.#missing().length === 0 && areForwardsUp) this.#up.resolve();
    // In a turn of its own: what a listener throws is the program's, and stops nothing here.
    queueMicrotask(() => this.emit('event', event));
  }

  /** In vain when no server may take it, now or when it is offered again. */
  #onRefused(refusal: Refusal): void {
    const { code, tunnel, server, reason } = refusal;
    const refusals = this.#refusals.get(tunnel) ?? new Map<string, Refusal>();
    this.#refusals.set(tunnel, refusals);
    // Behind those of before: the last is told.
    refusals.delete(server);
    refusals.set(server, refusal);
    const isInVain = this.#config.urls.every((url) => {
      const refused = refusals.get(url);
      return refused !== undefined && !isRetryable(refused.code);
    });
    if (!isInVain) return;
    this.#up.reject(new SluicewayError(code as 'SLW_TUNNEL_NAME', `${tunnel}: ${reason}`));
  }
}

function configOf(options: ConnectOptions): ClientConfig {
  return resolveConfig({
    command: 'client',
    flags: flagsOf(options),
    // Servers are remembered where `sluiceway client` does that has no other place by environment.
    env: { HOME: homeFolder() },
    defaults: { cores: 1, logFormat: 'json' },
    readFile: (path) => readFileSync(path, 'utf8'),
  });
}

/** A user that is in no list of users, as in containers, may have none. */
function homeFolder(): string | undefined {
  try {
    return homedir();
  } catch {
    // The system's place is left.
    return undefined;
  }
}

function late(
  timeoutMs: number,
  { missing, outages }: Readonly<Record<'missing' | 'outages', readonly string[]>>,
): SluicewayError {
  const what = missing.length === 0 ? 'the local ports' : missing.join(', ');
  const text = `not up within ${timeoutMs} ms: ${what}${outages.join('')}`;
  return new SluicewayError('SLW_TIMEOUT', text);
}

function readVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return String((JSON.parse(text) as { readonly version?: unknown }).version);
}
