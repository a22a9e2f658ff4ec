// Linode (Akamai): one instance (techdocs.akamai.com/linode-api).
//
// Invariant: ours carry the tag; the root password that the API demands is random and forgotten.
// Must not know: what runs on an instance.

import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import {
  choose,
  type Machine,
  type MachineState,
  machineAs,
  type Provider,
  type ProviderOptions,
} from './provider.ts';
import { orUndefined, orUnheard, restOf, unlessGone, withToken, wordsAt } from './rest.ts';

const PER_PAGE = 500;
const INSTANCES = '/v4/linode/instances';
const DEFAULTS = { region: 'eu-central', size: 'g6-nanode-1', image: 'linode/debian12' };
const PASSWORD_BYTES = 32;

const instance = z.object({
  id: z.number().int(),
  label: z.string(),
  status: z.string(),
  region: z.string(),
  ipv4: z.array(z.string()),
  tags: z.array(z.string()),
});

const STATES: Readonly<Record<string, MachineState>> = {
  provisioning: 'starting',
  booting: 'starting',
  rebooting: 'starting',
  migrating: 'starting',
  rebuilding: 'starting',
  running: 'running',
  offline: 'starting',
  stopped: 'ending',
  shutting_down: 'ending',
  deleting: 'ending',
};

export function createLinode(options: ProviderOptions): Provider {
  const rest = restOf(options, {
    provider: 'Linode',
    origin: 'https://api.linode.com',
    sign: withToken('authorization', `Bearer ${options.credentials.LINODE_TOKEN}`),
    words: wordsAt('errors', 0, 'reason'),
  });
  return {
    create: async (request) => {
      const { name, userData } = request;
      const { region, size, image } = choose(request, options, DEFAULTS);
      const made = await orUnheard(
        rest.ask('POST', INSTANCES, {
          json: {
            label: name,
            region,
            type: size,
            image,
            root_pass: randomBytes(PASSWORD_BYTES).toString('base64url'),
            tags: [options.tag],
            metadata: { user_data: Buffer.from(userData()).toString('base64') },
            booted: true,
          },
          answer: instance,
        }),
      );
      return machineOf(made);
    },
    get: async (id) => {
      const path = `${INSTANCES}/${encodeURIComponent(id)}`;
      const found = await orUndefined(rest.ask('GET', path, { answer: instance }));
      return found === undefined ? undefined : machineOf(found);
    },
    list: async () => {
      const all: Machine[] = [];
      const answer = z.object({ data: z.array(instance), pages: z.number().int() });
      for (let page = 1; ; page += 1) {
        const path = `${INSTANCES}?page=${page}&page_size=${PER_PAGE}`;
        const { data, pages } = await rest.ask('GET', path, { answer });
        all.push(...data.filter(({ tags }) => tags.includes(options.tag)).map(machineOf));
        if (page >= pages) return all;
      }
    },
    delete: async (id) =>
      await unlessGone(rest.ask('DELETE', `${INSTANCES}/${encodeURIComponent(id)}`)),
  };
}

function machineOf({ id, label, status, region, ipv4 }: z.infer<typeof instance>): Machine {
  const [address] = ipv4;
  return machineAs(STATES, {
    id: String(id),
    name: label,
    status,
    region,
    address,
  });
}
