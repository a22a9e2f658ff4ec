// What the control port speaks TLS with: its pair, from files or made, and the CA of its clients.
//
// Invariant: what cannot be used is found before a socket opens; later a broken new file changes
// nothing but a counter and the log. A CA file by which nobody or everybody would be trusted is
// never taken. Must not know: who serves with it.

import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import type { Clock } from '../base/clock.ts';
import { ConfigError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { pemBlocks } from '../base/pem.ts';
import type { PortTls } from '../bridge/shard-task.ts';
import { authoritiesProblem, orphansIn } from '../config/certificate.ts';
import type { ServerConfig } from '../config/config.ts';
import { AutoTls, fingerprintOf } from './auto-tls.ts';
import { FileWatch } from './file-watch.ts';

export interface ControlTlsOptions {
  readonly config: Pick<ServerConfig, 'autoTls' | 'tlsCert' | 'tlsKey' | 'clientCa'>;
  readonly clock: Clock;
  readonly log: Logger;
}

type Files = Pick<PortTls, 'clientCa'> & {
  readonly pair: { cert: string; key: string } | undefined;
};

/** Rejects with a SluicewayError when there is something that cannot be used. */
export async function openControlTls(options: ControlTlsOptions): Promise<ControlTls> {
  const { config, clock, log } = options;
  const { tlsCert, tlsKey, clientCa, autoTls } = config;
  const paths = [tlsCert, tlsKey, clientCa].filter((path) => path !== undefined);
  const watch = new FileWatch({ paths, clock });
  await watch.mark();
  const files = await readFiles(config);
  const made = autoTls === undefined ? undefined : await AutoTls.open({ ...autoTls, clock, log });
  return new ControlTls(options, { files, watch, made });
}

/** What was read, and what follows it. */
interface Opened {
  readonly files: Files;
  readonly watch: FileWatch;
  readonly made: AutoTls | undefined;
}

export class ControlTls {
  /** Reloads by result, for the metric. */
  readonly reloads = new Map<string, number>([
    ['ok', 0],
    ['failed', 0],
  ]);
  readonly #options: ControlTlsOptions;
  readonly #made: AutoTls | undefined;
  readonly #watch: FileWatch;
  #files: Files;
  #onChange: (tls: PortTls) => void = () => {};
  /** Reloads come one after the other. */
  #reloading: Promise<void> = Promise.resolve();

  constructor(options: ControlTlsOptions, { files, watch, made }: Opened) {
    this.#options = options;
    this.#files = files;
    this.#watch = watch;
    this.#made = made;
  }

  /** What shards speak TLS with; undefined for plain text. */
  get port(): PortTls | undefined {
    const pair = this.#made?.leaf ?? this.#files.pair;
    return pair === undefined ? undefined : { ...pair, clientCa: this.#files.clientCa };
  }

  /** The private CA, PEM; undefined with a certificate of one's own. */
  get ca(): string | undefined {
    return this.#made?.ca;
  }

  get fingerprint(): string | undefined {
    return this.#made === undefined ? undefined : fingerprintOf(this.#made.ca);
  }

  /** Says once what the port is served with. */
  describe(): void {
    this.#warnOfOrphans();
    const { log, config } = this.#options;
    if (this.#made === undefined) return;
    const { fingerprint } = this;
    const folder = config.autoTls?.folder;
    log.info({ fingerprint, names: this.#made.names, folder }, 'auto TLS');
  }

  /** Ends of validity in seconds since the epoch, by name. */
  notAfterSeconds(): Map<string, number> {
    const { port, ca } = this;
    const found = new Map<string, number>();
    if (port !== undefined) found.set('control', endOf(port.cert));
    if (ca !== undefined) found.set('control-ca', endOf(ca));
    if (port?.clientCa !== undefined) {
      found.set('client-ca', Math.min(...certificatesIn(port.clientCa).map(endOf)));
    }
    return found;
  }

  /** Starts to watch and renew; `onChange` is given what to serve with from then on. */
  async watch(onChange: (tls: PortTls) => void): Promise<void> {
    this.#onChange = onChange;
    this.#made?.watch((isRenewed) => this.#onReload(isRenewed));
    await this.#watch.start(() => void this.reload());
  }

  /** Reads the files again; broken ones change nothing. */
  reload(): Promise<void> {
    this.#reloading = this.#reloading.then(() => this.#reload());
    return this.#reloading;
  }

  close(): void {
    this.#made?.close();
    this.#watch.close();
  }

  async #reload(): Promise<void> {
    const { config, log } = this.#options;
    try {
      this.#files = await readFiles(config);
      log.info('certificate files read again');
      this.#warnOfOrphans();
      this.#onReload(true);
    } catch (error) {
      log.error({ err: (error as Error).message }, 'certificate files: the old ones stay in use');
      this.#onReload(false);
    }
  }

  /** A root may have been forgotten, or be meant to come: others of the file work. */
  #warnOfOrphans(): void {
    const names = orphansIn(this.#files.clientCa ?? '');
    if (names.length === 0) return;
    const { log, config } = this.#options;
    const about = { file: config.clientCa, names };
    log.warn(about, '--client-ca: no root in the file issued these, nobody is let in by them');
  }

  #onReload(isDone: boolean): void {
    const result = isDone ? 'ok' : 'failed';
    this.reloads.set(result, (this.reloads.get(result) ?? 0) + 1);
    const { port } = this;
    if (isDone && port !== undefined) this.#onChange(port);
  }
}

async function readFiles(config: ControlTlsOptions['config']): Promise<Files> {
  const { tlsCert, tlsKey, clientCa } = config;
  const hasPair = tlsCert !== undefined && tlsKey !== undefined;
  return {
    pair: hasPair ? await readPair(tlsCert, tlsKey) : undefined,
    clientCa: clientCa === undefined ? undefined : await readClientCa(clientCa),
  };
}

async function readPair(certPath: string, keyPath: string): Promise<{ cert: string; key: string }> {
  try {
    const [cert, key] = await Promise.all([readFile(certPath, 'utf8'), readFile(keyPath, 'utf8')]);
    createSecureContext({ cert, key });
    const isPair = new X509Certificate(cert).checkPrivateKey(createPrivateKey(key));
    if (!isPair) throw new Error('the key does not belong to the certificate');
    return { cert, key };
  } catch (cause) {
    throw new ConfigError([`--tls-cert, --tls-key: ${(cause as Error).message}`], { cause });
  }
}

async function readClientCa(path: string): Promise<string> {
  try {
    const text = await readFile(path, 'utf8');
    const problem = authoritiesProblem(text);
    if (problem !== undefined) throw new Error(problem);
    return text;
  } catch (cause) {
    throw new ConfigError([`--client-ca: ${(cause as Error).message}`], { cause });
  }
}

function certificatesIn(text: string): string[] {
  return pemBlocks(text).flatMap((block) => (block.label === 'CERTIFICATE' ? block.text : []));
}

function endOf(pem: string): number {
  return Math.floor(new X509Certificate(pem).validToDate.getTime() / 1000);
}
