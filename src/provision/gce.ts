// Google Compute Engine: an instance and a firewall rule (cloud.google.com/compute/docs/reference).
//
//   create: firewall rule for the machine's own tag ──▶ instance; both removed when one fails
//
// Invariant: ours carry the label; a rule has the name of its machine, so that one is found by the
// other, and is listed as a machine that ends when it has none. Must not know: what runs on an
// instance.

import { z } from 'zod';
import { showPortRange } from '../base/target.ts';
import { createGoogleSigner, readServiceAccount } from './google-token.ts';
import { orUndone, untilThere } from './making.ts';
import {
  type Choice,
  CloudRefusal,
  choose,
  type Machine,
  type MachineRequest,
  type MachineState,
  type Provider,
  type ProviderOptions,
} from './provider.ts';
import { joinId, splitId } from './regional-id.ts';
import { type Method, orUndefined, orUnheard, type Rest, restOf, wordsAt } from './rest.ts';

const LABEL = 'sluiceway';
const PER_PAGE = 500;
/** Debian's images there have no cloud-init. */
const DEFAULTS = {
  region: 'europe-west3-a',
  size: 'e2-small',
  image: 'projects/ubuntu-os-cloud/global/images/family/ubuntu-2404-lts-amd64',
};
const DISK_GB = '10';
/** Of a rule without its instance, in place of a zone. */
const NOWHERE = 'global';
const METADATA = 'http://metadata.google.internal/computeMetadata/v1/instance';
const ADDRESS = 'network-interfaces/0/access-configs/0/external-ip';

const instance = z.object({
  name: z.string(),
  status: z.string(),
  /** A URL that ends with it. */
  zone: z.string(),
  networkInterfaces: z
    .array(
      z.object({ accessConfigs: z.array(z.object({ natIP: z.string().optional() })).optional() }),
    )
    .optional(),
});
const firewall = z.object({ name: z.string(), description: z.string().default('') });
const operation = z.object({
  name: z.string(),
  status: z.string(),
  error: z.object({ errors: z.array(z.object({ message: z.string() })) }).optional(),
});

const STATES: Readonly<Record<string, MachineState>> = {
  PROVISIONING: 'starting',
  STAGING: 'starting',
  RUNNING: 'running',
  REPAIRING: 'starting',
  STOPPING: 'ending',
  SUSPENDING: 'ending',
  TERMINATED: 'ending',
};

export function createGce(options: ProviderOptions): Provider {
  return new Gce(options).provider();
}

class Gce {
  readonly #options: ProviderOptions;
  readonly #rest: Rest;
  readonly #base: string;

  constructor(options: ProviderOptions) {
    const account = readServiceAccount(options.credentials.GOOGLE_APPLICATION_CREDENTIALS ?? '');
    this.#options = options;
    this.#base = `/compute/v1/projects/${encodeURIComponent(account.project_id)}`;
    this.#rest = restOf(options, {
      provider: 'Google',
      origin: 'https://compute.googleapis.com',
      sign: createGoogleSigner(account, options),
      words: wordsAt('error', 'message'),
    });
  }

  provider(): Provider {
    return {
      addressCommand: `curl -fsS -H 'Metadata-Flavor: Google' ${METADATA}/${ADDRESS}`,
      create: async (request) => await this.#create(request),
      get: async (id) => await this.#get(id),
      list: async () => await this.#list(),
      delete: async (id) => await this.#delete(id),
    };
  }

  async #create(request: MachineRequest): Promise<Machine> {
    const choice = choose(request, this.#options, DEFAULTS);
    const { region: zone } = choice;
    const { name } = request;
    return await orUndone(async (register) => {
      // Registered when it was accepted: what was there before is another's.
      const json = ruleOf(request, this.#options.tag);
      const rule = await orUnheard(this.#begin('POST', '/global/firewalls', json));
      register(`the firewall rule ${name}`, async () => await this.#deleteRule(name));
      await this.#finish(rule);
      const id = joinId(zone, name);
      const path = `/zones/${zone}/instances`;
      const instance = this.#instanceOf(request, choice);
      const made = await orUnheard(this.#begin('POST', path, instance));
      register(`the instance ${id}`, async () => await this.#deleteInstance(id));
      await this.#finish(made);
      return { id, name, state: 'starting' as const, region: zone };
    });
  }

  #instanceOf({ name, userData }: MachineRequest, { region: zone, size, image }: Choice) {
    return {
      name,
      machineType: `zones/${zone}/machineTypes/${size}`,
      labels: { [LABEL]: this.#options.tag },
      tags: { items: [name] },
      disks: [
        {
          boot: true,
          autoDelete: true,
          initializeParams: { sourceImage: image, diskSizeGb: DISK_GB },
        },
      ],
      networkInterfaces: [
        {
          network: 'global/networks/default',
          accessConfigs: [{ type: 'ONE_TO_ONE_NAT', name: 'External NAT' }],
        },
      ],
      metadata: { items: [{ key: 'user-data', value: userData() }] },
    };
  }

  async #get(id: string): Promise<Machine | undefined> {
    const [zone, name] = splitId('Google', id);
    if (zone === NOWHERE) return (await this.#rules()).find((one) => one.name === name);
    const path = `${this.#base}${pathOf(id)}`;
    const found = await orUndefined(this.#rest.ask('GET', path, { answer: instance }));
    return found === undefined ? undefined : machineOf(found);
  }

  async #list(): Promise<readonly Machine[]> {
    // Before the instances: the rule of one that is made meanwhile would be taken for a leftover.
    const rules = await this.#rules();
    const machines = await this.#instances();
    const names = new Set(machines.map(({ name }) => name));
    return [...machines, ...rules.filter(({ name }) => !names.has(name))];
  }

  /** As machines that end. */
  async #rules(): Promise<readonly Machine[]> {
    const answer = z.object({
      items: z.array(firewall).default([]),
      nextPageToken: z.string().optional(),
    });
    const ours: Machine[] = [];
    for (let token = ''; ; ) {
      const from = token === '' ? '' : `&pageToken=${encodeURIComponent(token)}`;
      const path = `${this.#base}/global/firewalls?maxResults=${PER_PAGE}${from}`;
      const { items, nextPageToken = '' } = await this.#rest.ask('GET', path, { answer });
      const own = items.filter(({ description }) => description === markOf(this.#options.tag));
      ours.push(...own.map(({ name }) => leftoverOf(name)));
      token = nextPageToken;
      if (token === '') return ours;
    }
  }

  async #instances(): Promise<readonly Machine[]> {
    const all: Machine[] = [];
    const filter = encodeURIComponent(`labels.${LABEL}=${this.#options.tag}`);
    const scope = z.object({ instances: z.array(instance).optional() });
    const answer = z.object({
      items: z.record(z.string(), scope).optional(),
      nextPageToken: z.string().optional(),
    });
    for (let token = ''; ; ) {
      const from = token === '' ? '' : `&pageToken=${encodeURIComponent(token)}`;
      const query = `filter=${filter}&maxResults=${PER_PAGE}${from}`;
      const path = `${this.#base}/aggregated/instances?${query}`;
      const { items = {}, nextPageToken = '' } = await this.#rest.ask('GET', path, { answer });
      all.push(...Object.values(items).flatMap(({ instances = [] }) => instances.map(machineOf)));
      token = nextPageToken;
      if (token === '') return all;
    }
  }

  async #delete(id: string): Promise<void> {
    const [zone, name] = splitId('Google', id);
    if (zone !== NOWHERE) await this.#deleteInstance(id);
    await this.#deleteRule(name);
  }

  async #deleteInstance(id: string): Promise<void> {
    await this.#remove(pathOf(id));
  }

  async #deleteRule(name: string): Promise<void> {
    await this.#remove(`/global/firewalls/${name}`);
  }

  async #begin(method: Method, path: string, json?: unknown): Promise<Begun> {
    const scope = /^\/(?:global|zones\/[^/]+)/.exec(path)?.[0] ?? '';
    const first = await this.#rest.ask(method, `${this.#base}${path}`, { json, answer: operation });
    return { first, path: `${this.#base}${scope}/operations/${first.name}` };
  }

  /** What became of a change. */
  async #finish({ first, path }: Begun): Promise<void> {
    let now = first;
    const done = await untilThere(
      async () => {
        if (now.status !== 'DONE') now = await this.#rest.ask('GET', path, { answer: operation });
        return now.status === 'DONE' ? now : undefined;
      },
      { sleep: this.#options.sleep, provider: 'Google', what: 'an operation' },
    );
    const [failure] = done.error?.errors ?? [];
    if (failure !== undefined) throw new CloudRefusal('Google', 0, failure.message);
  }

  async #remove(path: string): Promise<void> {
    const begun = await orUndefined(this.#begin('DELETE', path));
    if (begun !== undefined) await this.#finish(begun);
  }
}

interface Begun {
  readonly first: z.infer<typeof operation>;
  /** Where the operation is asked for. */
  readonly path: string;
}

function ruleOf({ name, ports }: MachineRequest, tag: string) {
  return {
    name,
    description: markOf(tag),
    network: 'global/networks/default',
    direction: 'INGRESS',
    sourceRanges: ['0.0.0.0/0'],
    targetTags: [name],
    allowed: (['tcp', 'udp'] as const).flatMap((protocol) => {
      const own = ports.filter((range) => range.protocol === protocol);
      return own.length === 0 ? [] : [{ IPProtocol: protocol, ports: own.map(showPortRange) }];
    }),
  };
}

function markOf(tag: string): string {
  return `${LABEL}=${tag}`;
}

function leftoverOf(name: string): Machine {
  return { id: joinId(NOWHERE, name), name, state: 'ending', region: NOWHERE };
}

function pathOf(id: string): string {
  const [zone, name] = splitId('Google', id);
  return `/zones/${zone}/instances/${name}`;
}

function machineOf({ name, status, zone, networkInterfaces }: z.infer<typeof instance>): Machine {
  const region = zone.slice(zone.lastIndexOf('/') + 1);
  const address = networkInterfaces?.[0]?.accessConfigs?.[0]?.natIP;
  return {
    id: joinId(region, name),
    name,
    state: STATES[status] ?? 'failed',
    region,
    ...(address === undefined ? {} : { address }),
  };
}
