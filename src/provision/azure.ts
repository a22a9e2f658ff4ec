// Microsoft Azure: one virtual machine in a resource group of its own
// (learn.microsoft.com/rest/api: resources, virtualnetwork, compute).
//
//   group ──▶ rules, network, address ──▶ interface ──▶ machine; the group goes with all of it
//
// Invariant: the group carries the tag and holds nothing else, so that to delete it is to delete
// everything; one that exists already is never used, and one whose name does not begin as ours do
// is never deleted. Must not know: what runs on a machine.

import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { showPortRange } from '../base/target.ts';
import { createAzureSigner } from './azure-token.ts';
import { orUndone, untilThere } from './making.ts';
import {
  type Choice,
  CloudRefusal,
  choose,
  type Machine,
  type MachineRequest,
  type MachineState,
  machineAs,
  type Provider,
  type ProviderOptions,
} from './provider.ts';
import { orUndefined, orUnheard, type Rest, restOf, unlessGone, wordsAt } from './rest.ts';

const TAG = 'sluiceway';
const PREFIX = `${TAG}-`;
const GROUPS_API = '2021-04-01';
const NETWORK_API = '2024-05-01';
const COMPUTE_API = '2024-07-01';
const DEFAULTS = {
  region: 'germanywestcentral',
  size: 'Standard_B1s',
  image: 'Canonical:ubuntu-24_04-lts:server:latest',
};
const ADMIN = 'sluiceway';
const NETWORK = '10.42.0.0/24';
const PASSWORD_BYTES = 32;

const group = z.object({ name: z.string(), location: z.string() });
const resource = z.object({
  id: z.string(),
  properties: z.object({
    provisioningState: z.string(),
    ipAddress: z.string().optional(),
    /** Of a machine, where it was asked for. */
    instanceView: z
      .object({ statuses: z.array(z.object({ code: z.string() })).default([]) })
      .optional(),
  }),
});
type Resource = z.infer<typeof resource>;

const STATES: Readonly<Record<string, MachineState>> = {
  Creating: 'starting',
  Updating: 'starting',
  Succeeded: 'running',
  Deleting: 'ending',
  Stopped: 'ending',
};
/** What was made stays `Succeeded`, also when it is off. */
const OFF = /^PowerState\/(?:stopp|deallocat)/;

export function createAzure(options: ProviderOptions): Provider {
  const azure = new Azure(options);
  return {
    create: async (request) => await azure.create(request),
    get: async (id) => await azure.get(id),
    list: async () => await azure.list(),
    delete: async (id) => await azure.delete(id),
  };
}

class Azure {
  readonly #options: ProviderOptions;
  readonly #rest: Rest;
  readonly #base: string;

  constructor(options: ProviderOptions) {
    const { AZURE_SUBSCRIPTION_ID: subscription = '' } = options.credentials;
    this.#options = options;
    this.#base = `/subscriptions/${encodeURIComponent(subscription)}`;
    this.#rest = restOf(options, {
      provider: 'Azure',
      origin: 'https://management.azure.com',
      sign: createAzureSigner(options),
      words: wordsAt('error', 'message'),
    });
  }

  async create(request: MachineRequest): Promise<Machine> {
    const { name } = request;
    const choice = choose(request, this.#options, DEFAULTS);
    const location = choice.region;
    const groupName = `${PREFIX}${name}`;
    const path = this.#groupPath(groupName);
    if ((await orUndefined(this.#rest.ask('GET', path, { answer: group }))) !== undefined) {
      throw new CloudRefusal('Azure', 0, `the resource group ${groupName} exists already`);
    }
    return await orUndone(async (register) => {
      const tags = { [TAG]: this.#options.tag };
      await orUnheard(this.#rest.ask('PUT', path, { json: { location, tags }, answer: group }));
      register(`the resource group ${groupName}`, async () => await this.delete(groupName));
      const address = await this.#makeNetwork(groupName, choice, request);
      return { id: groupName, name, state: 'starting' as const, region: location, address };
    });
  }

  /** All but the group; gives the address. */
  async #makeNetwork(name: string, choice: Choice, request: MachineRequest): Promise<string> {
    const { region: location } = choice;
    const put = async (type: string, api: string, json: object): Promise<Resource> => {
      const path = `${this.#providerPath(name, type)}?api-version=${api}`;
      await this.#rest.ask('PUT', path, { json: { location, ...json }, answer: resource });
      return await this.#untilMade(path, type);
    };
    const rules = await put('Microsoft.Network/networkSecurityGroups/rules', NETWORK_API, {
      properties: { securityRules: rulesOf(request) },
    });
    const network = await put('Microsoft.Network/virtualNetworks/network', NETWORK_API, {
      properties: {
        addressSpace: { addressPrefixes: [NETWORK] },
        subnets: [
          {
            name: 'default',
            properties: { addressPrefix: NETWORK, networkSecurityGroup: { id: rules.id } },
          },
        ],
      },
    });
    const address = await put('Microsoft.Network/publicIPAddresses/address', NETWORK_API, {
      sku: { name: 'Standard' },
      properties: { publicIPAllocationMethod: 'Static', publicIPAddressVersion: 'IPv4' },
    });
    const found = address.properties.ipAddress;
    if (found === undefined) throw new CloudRefusal('Azure', 0, 'the public address has no value');
    const card = await put('Microsoft.Network/networkInterfaces/interface', NETWORK_API, {
      properties: {
        ipConfigurations: [
          {
            name: 'default',
            properties: {
              subnet: { id: `${network.id}/subnets/default` },
              publicIPAddress: { id: address.id },
            },
          },
        ],
      },
    });
    const path = `${this.#providerPath(name, 'Microsoft.Compute/virtualMachines/machine')}`;
    await this.#rest.ask('PUT', `${path}?api-version=${COMPUTE_API}`, {
      json: {
        location,
        properties: machineProperties({ request, choice, cardId: card.id, address: found }),
      },
      answer: resource,
    });
    return found;
  }

  async #untilMade(path: string, type: string): Promise<Resource> {
    return await untilThere(
      async () => {
        const now = await this.#rest.ask('GET', path, { answer: resource });
        const { provisioningState: state } = now.properties;
        if (state === 'Failed') throw new CloudRefusal('Azure', 0, `${type} could not be made`);
        return state === 'Succeeded' ? now : undefined;
      },
      { sleep: this.#options.sleep, provider: 'Azure', what: type },
    );
  }

  async get(id: string): Promise<Machine | undefined> {
    if (!isOurs(id)) return undefined;
    const path = this.#groupPath(id);
    const found = await orUndefined(this.#rest.ask('GET', path, { answer: group }));
    return found === undefined ? undefined : await this.#machineIn(found);
  }

  async #machineIn({ name, location }: z.infer<typeof group>): Promise<Machine> {
    const ask = async (type: string, api: string, more = ''): Promise<Resource | undefined> => {
      const path = `${this.#providerPath(name, type)}?api-version=${api}${more}`;
      return await orUndefined(this.#rest.ask('GET', path, { answer: resource }));
    };
    const machine = await ask(
      'Microsoft.Compute/virtualMachines/machine',
      COMPUTE_API,
      '&$expand=instanceView',
    );
    const address = await ask('Microsoft.Network/publicIPAddresses/address', NETWORK_API);
    // A group without its machine is being deleted, or was left behind.
    const { provisioningState: state = 'Deleting', instanceView } = machine?.properties ?? {};
    const isOff = instanceView?.statuses.some(({ code }) => OFF.test(code)) === true;
    const ip = address?.properties.ipAddress;
    return machineAs(STATES, {
      id: name,
      name: isOurs(name) ? name.slice(PREFIX.length) : name,
      status: isOff ? 'Stopped' : state,
      region: location,
      address: ip,
    });
  }

  async list(): Promise<readonly Machine[]> {
    const filter = encodeURIComponent(`tagName eq '${TAG}' and tagValue eq '${this.#options.tag}'`);
    const answer = z.object({ value: z.array(group), nextLink: z.string().optional() });
    const all: Machine[] = [];
    let path = `${this.#base}/resourcegroups?api-version=${GROUPS_API}&$filter=${filter}`;
    for (;;) {
      const { value, nextLink } = await this.#rest.ask('GET', path, { answer });
      for (const one of value) all.push(await this.#machineIn(one));
      if (nextLink === undefined) return all;
      const { pathname, search } = new URL(nextLink);
      path = `${pathname}${search}`;
    }
  }

  /** Accepted, and done within some minutes: the group is asked to go with all that is in it. */
  async delete(id: string): Promise<void> {
    if (!isOurs(id)) return;
    await unlessGone(this.#rest.ask('DELETE', this.#groupPath(id)));
  }

  #groupPath(name: string): string {
    const own = encodeURIComponent(name);
    return `${this.#base}/resourcegroups/${own}?api-version=${GROUPS_API}`;
  }

  #providerPath(name: string, type: string): string {
    return `${this.#base}/resourceGroups/${encodeURIComponent(name)}/providers/${type}`;
  }
}

/** A group has its name from anybody, and all that is in it goes with it. */
function isOurs(groupName: string): boolean {
  return groupName.startsWith(PREFIX);
}

/** First of the priorities that are ours to choose. */
const PRIORITY = 100;

function rulesOf({ ports }: MachineRequest) {
  return (['tcp', 'udp'] as const).flatMap((protocol, index) => {
    const own = ports.filter((range) => range.protocol === protocol);
    return own.length === 0 ? [] : [ruleOf(protocol, PRIORITY + index, own)];
  });
}

function ruleOf(protocol: 'tcp' | 'udp', priority: number, ports: MachineRequest['ports']) {
  return {
    name: `sluiceway-${protocol}`,
    properties: {
      priority,
      direction: 'Inbound',
      access: 'Allow',
      protocol: protocol === 'tcp' ? 'Tcp' : 'Udp',
      sourceAddressPrefix: '*',
      sourcePortRange: '*',
      destinationAddressPrefix: '*',
      destinationPortRanges: ports.map(showPortRange),
    },
  };
}

interface Properties {
  readonly request: MachineRequest;
  readonly choice: Choice;
  readonly cardId: string;
  readonly address: string;
}

/** The password that the API demands is random and forgotten. */
function machineProperties({ request, choice, cardId, address }: Properties) {
  const [publisher, offer, sku, version] = choice.image.split(':');
  return {
    hardwareProfile: { vmSize: choice.size },
    storageProfile: {
      imageReference: { publisher, offer, sku, version },
      osDisk: {
        createOption: 'FromImage',
        deleteOption: 'Delete',
        managedDisk: { storageAccountType: 'StandardSSD_LRS' },
      },
    },
    osProfile: {
      computerName: request.name,
      adminUsername: ADMIN,
      adminPassword: `Aa1-${randomBytes(PASSWORD_BYTES).toString('base64url')}`,
      customData: Buffer.from(request.userData(address)).toString('base64'),
      linuxConfiguration: { disablePasswordAuthentication: false },
    },
    networkProfile: {
      networkInterfaces: [{ id: cardId, properties: { primary: true, deleteOption: 'Delete' } }],
    },
  };
}
