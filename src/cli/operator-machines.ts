// The operator's machines at the providers of `exit-node`: found, made and removed by their name.
//
//   tag of an ExitNode ──hash──▶ name, the same for every operator and for no other tag
//
// Invariant: before one is made it is looked for anew, and afterwards too: of two that were made at
// once one stays; of two that are found later that which is known stays, and none goes while it is
// not listed; what was ordered and went unheard is not ordered again for a while; only what has
// both our tag and the name is touched. Must not know: Kubernetes, or a provider's API.

import { createHash } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import { ConfigError, SluicewayError } from '../base/errors.ts';
import type { Masked } from '../base/masked.ts';
import { HTTPS_RIGHT, isSafeUrl } from '../config/address.ts';
import { type ProviderName, readProviderName } from '../config/cloud.ts';
import { readGiven } from '../config/config.ts';
import { openPorts } from '../deploy/cloud-config.ts';
import type { PackageSource } from '../deploy/installation.ts';
import type {
  MachineOrder,
  MachineProvider,
  OpenProvider,
  Machine as Shown,
} from '../operator/machine.ts';
import type { Provision } from '../operator/objects.ts';
import { isUnheard, type Machine, type Provider } from '../provision/provider.ts';
import { OPERATOR_TAG, openProvider } from '../provision/providers.ts';
import { collectServer, userDataOf } from './machine-server.ts';
import { readTextFile } from './sources.ts';

/** Key of a secret: URL of the provider's API, where it is not the usual one. */
const ENDPOINT = 'ENDPOINT';
/** What a machine is made in is a zone there, and nothing larger. */
const ZONED: ReadonlySet<string> = new Set<ProviderName>(['gce', 'scaleway']);
/** In URLs and names of hosts. */
const PLACE = /^[A-Za-z0-9-]{1,64}$/;
/** Each by other credentials or another region. Guess: far above what anybody has. */
const OPENED_MAX = 100;
/** Exit nodes that are looked at one after the other share an answer. */
const LISTED_FOR_MS = 5000;
/** Longer than a request takes to reach a cloud and be listed there. Guess. */
const UNHEARD_FOR_MS = 60_000;
/** Of 26 hex digits: 104 bits, so that no two tags have one name. */
const NAME_DIGITS = 26;

export interface MachinesOptions {
  readonly source: PackageSource;
  readonly clock: Clock;
  readonly sleep: (ms: number) => Promise<void>;
}

/** Providers stay open, with what they have learnt, while their credentials are the same. */
export function createMachines(options: MachinesOptions): OpenProvider {
  const opened = new Map<string, Promise<Machines>>();
  return async (provision, credentials) => {
    const name = readProviderName(provision.provider);
    if (name === undefined) return undefined;
    const region = regionOf(provision);
    const key = keyOf(name, region, credentials);
    let found = opened.get(key);
    if (found === undefined) {
      found = open(name, region, { provision, credentials, options });
      // Starts anew rather than grow.
      if (opened.size >= OPENED_MAX) opened.clear();
      opened.set(key, found);
      found.catch(() => opened.delete(key));
    }
    return await found;
  };
}

/** The name of a machine, for names of hosts and of what belongs to it at any provider. */
export function machineName(tag: string): string {
  return `exit-${createHash('sha256').update(tag).digest('hex').slice(0, NAME_DIGITS)}`;
}

function regionOf({ provider, region, zone }: Provision): string | undefined {
  if (zone !== undefined && !ZONED.has(provider)) {
    throw new ConfigError([`zone: ${provider} has regions alone; give region in its place`]);
  }
  if (zone !== undefined && region !== undefined) {
    throw new ConfigError([`region: ${provider} takes the zone alone; leave out region`]);
  }
  const place = zone ?? region;
  if (place === undefined || PLACE.test(place)) return place;
  throw new ConfigError([`${zone === undefined ? 'region' : 'zone'}: is none; write a-z, 0-9, -`]);
}

/** Secrets are in no key of a map. */
function keyOf(
  name: ProviderName,
  region: string | undefined,
  credentials: ReadonlyMap<string, Masked>,
): string {
  const said = [...credentials].map(([key, value]) => [key, value.reveal()]).sort();
  return createHash('sha256')
    .update(JSON.stringify([name, region, said]))
    .digest('hex');
}

interface Opening {
  readonly provision: Provision;
  readonly credentials: ReadonlyMap<string, Masked>;
  readonly options: MachinesOptions;
}

async function open(
  name: ProviderName,
  region: string | undefined,
  { provision, credentials, options }: Opening,
): Promise<Machines> {
  // Of a file that was put into a secret the last line has its end.
  const env = Object.fromEntries(
    [...credentials].map(([key, value]) => [key, value.reveal().trim()]),
  );
  const endpoint = env[ENDPOINT]?.replace(/\/+$/, '');
  if (endpoint !== undefined && !isSafeUrl(endpoint)) {
    throw new ConfigError([`${ENDPOINT} in the secret is no URL; ${HTTPS_RIGHT}`]);
  }
  const provider = await openProvider({
    ...{ name, env, tag: OPERATOR_TAG, sleep: options.sleep },
    where: `in the secret ${provision.credentialsSecret}`,
    // What is a file elsewhere is in the secret itself; no file of the operator's pod is read.
    readFile: (text) => text,
    ...(region === undefined ? {} : { region }),
    ...(endpoint === undefined ? {} : { endpoint }),
  });
  return new Machines(provider, region, options);
}

class Machines implements MachineProvider {
  readonly #provider: Provider;
  readonly #region: string | undefined;
  readonly #options: MachinesOptions;
  /** When each order went unheard, by name. */
  readonly #unheard = new Map<string, number>();
  /** Shared while it is asked for, however long that takes, and for a while after. */
  #listed: { readonly machines: Promise<readonly Machine[]>; settledMs: number } | undefined;

  constructor(provider: Provider, region: string | undefined, options: MachinesOptions) {
    this.#provider = provider;
    this.#region = region;
    this.#options = options;
  }

  async find(tag: string, id: string | undefined): Promise<Shown | undefined> {
    const name = machineName(tag);
    const named = (await this.#list()).filter((one) => one.name === name);
    const best = bestOf(named, id);
    const isIt = best !== undefined && isAlive(best) && (id === undefined || best.id === id);
    const known = isIt ? undefined : await this.#byId(name, id);
    // What was made beside one that has lost its tag is still listed: as one that ends, or a twin.
    const found = known !== undefined && isAlive(known) ? known : (best ?? known);
    if (found === undefined) return undefined;
    const twins = twinsOf(named, found.id).length;
    return { ...shown(found), ...(twins === 0 ? {} : { twins }) };
  }

  async create(order: MachineOrder): Promise<Shown> {
    const name = machineName(order.tag);
    const before = await this.#named(name);
    const found = bestOf(before, undefined);
    if (found !== undefined && isAlive(found)) return shown(found);
    if (found !== undefined) throw refusal(`${found.id}, which was before it, has not gone yet`);
    this.#throwIfUnheard(name);
    try {
      const made = await this.#make(name, order);
      return shown(await this.#withoutTwins(name, made));
    } catch (error) {
      if (isUnheard(error)) this.#unheard.set(name, this.#options.clock.nowMs());
      throw error;
    } finally {
      this.#listed = undefined;
    }
  }

  async remove(tag: string, id: string | undefined): Promise<void> {
    const name = machineName(tag);
    const named = await this.#named(name);
    const known = named.some((one) => one.id === id) ? undefined : await this.#byId(name, id);
    // First: what was made beside it cannot go before.
    await this.#end(known === undefined ? named : [known, ...named]);
  }

  async removeTwins(tag: string, id: string): Promise<void> {
    await this.#end(twinsOf(await this.#named(machineName(tag)), id));
  }

  async #make(name: string, { provision, ...order }: MachineOrder): Promise<Machine> {
    const { source } = this.#options;
    const { addressCommand } = this.#provider;
    const flags = {
      token: order.token.reveal(),
      'control-addr': `0.0.0.0:${order.controlPort}`,
      'auto-tls': true,
      ...webPorts(order.tcpPorts),
      'tcp-ports': order.tcpPorts,
      'udp-ports': order.udpPorts,
    };
    const given = readGiven(collectServer(flags, readTextFile));
    const finds = addressCommand === undefined ? {} : { addressCommand };
    return await this.#provider.create({
      ...{ name, ports: openPorts(given, false) },
      userData: (address) =>
        userDataOf(given, address, { source, readFile: readTextFile, ...finds }),
      ...(this.#region === undefined ? {} : { region: this.#region }),
      ...(provision.plan === undefined ? {} : { size: provision.plan }),
      ...(provision.image === undefined ? {} : { image: provision.image }),
    });
  }

  /** Another operator may have been about it, too: the one that both see first stays. */
  async #withoutTwins(name: string, made: Machine): Promise<Machine> {
    const alive = (await this.#named(name)).filter(isAlive);
    const stays = bestOf(alive, undefined) ?? made;
    await this.#end(twinsOf(alive, stays.id));
    return stays;
  }

  async #end(machines: readonly Machine[]): Promise<void> {
    try {
      for (const { id } of machines) await this.#provider.delete(id);
    } finally {
      this.#listed = undefined;
    }
  }

  async #named(name: string): Promise<readonly Machine[]> {
    return (await this.#provider.list()).filter((one) => one.name === name);
  }

  /** One that has lost its tag. */
  async #byId(name: string, id: string | undefined): Promise<Machine | undefined> {
    const found = id === undefined ? undefined : await this.#provider.get(id);
    return found?.name === name ? found : undefined;
  }

  async #list(): Promise<readonly Machine[]> {
    const { clock } = this.#options;
    if (this.#listed === undefined || clock.nowMs() - this.#listed.settledMs >= LISTED_FOR_MS) {
      const listed = { machines: this.#provider.list(), settledMs: Number.POSITIVE_INFINITY };
      this.#listed = listed;
      const settle = (): void => {
        listed.settledMs = clock.nowMs();
      };
      // A failure, too: who asks next would only hear it again.
      listed.machines.then(settle, settle);
    }
    return await this.#listed.machines;
  }

  #throwIfUnheard(name: string): void {
    const nowMs = this.#options.clock.nowMs();
    for (const [one, atMs] of this.#unheard) {
      if (nowMs - atMs >= UNHEARD_FOR_MS) this.#unheard.delete(one);
    }
    if (!this.#unheard.has(name)) return;
    throw refusal('the answer to an order was lost; it is looked for before another is given');
  }
}

/** Ports that tunnels may have as TCP are not for HTTP and TLS by name. */
function webPorts(tcpPorts: readonly string[]): Readonly<Record<string, string>> {
  const has = (port: number): boolean =>
    tcpPorts.some((range) => {
      const [first = '', last = first] = range.split('-');
      return Number(first) <= port && port <= Number(last);
    });
  return {
    ...(has(80) ? { 'http-addr': 'off' } : {}),
    ...(has(443) ? { 'https-addr': 'off' } : {}),
  };
}

/** That with the id, else of those that live, else of all the first by id. */
function bestOf(machines: readonly Machine[], id: string | undefined): Machine | undefined {
  const sorted = machines.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  const alive = sorted.filter(isAlive);
  return alive.find((one) => one.id === id) ?? alive[0] ?? sorted[0];
}

/**
 * All others that live; none beside one that is not listed, or lives no more: which of them is in
 * use then is not known.
 */
function twinsOf(machines: readonly Machine[], id: string): readonly Machine[] {
  const alive = machines.filter(isAlive);
  return alive.some((one) => one.id === id) ? alive.filter((one) => one.id !== id) : [];
}

function isAlive({ state }: Machine): boolean {
  return state === 'starting' || state === 'running';
}

function shown({ id, state, address }: Machine): Shown {
  const known = state === 'ending' || state === 'failed' ? 'stopped' : state;
  return { id, state: known, ...(address === undefined ? {} : { address }) };
}

function refusal(text: string): SluicewayError {
  return new SluicewayError('SLW_CLOUD_REFUSED', text);
}
