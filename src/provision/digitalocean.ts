// DigitalOcean: one droplet (docs.digitalocean.com/reference/api).
//
// Invariant: ours carry the tag. Must not know: what runs on a droplet.

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

const PER_PAGE = 200;
const DEFAULTS = { region: 'fra1', size: 's-1vcpu-1gb', image: 'debian-12-x64' };

const droplet = z.object({
  id: z.number().int(),
  name: z.string(),
  status: z.string(),
  region: z.object({ slug: z.string() }),
  networks: z.object({
    v4: z.array(z.object({ ip_address: z.string(), type: z.string() })),
  }),
});

const STATES: Readonly<Record<string, MachineState>> = {
  new: 'starting',
  active: 'running',
  off: 'ending',
  archive: 'ending',
};

export function createDigitalocean(options: ProviderOptions): Provider {
  const rest = restOf(options, {
    provider: 'DigitalOcean',
    origin: 'https://api.digitalocean.com',
    sign: withToken('authorization', `Bearer ${options.credentials.DIGITALOCEAN_TOKEN}`),
    words: wordsAt('message'),
  });
  return {
    create: async (request) => {
      const { name, userData } = request;
      const { region, size, image } = choose(request, options, DEFAULTS);
      const { droplet: made } = await orUnheard(
        rest.ask('POST', '/v2/droplets', {
          json: {
            name,
            region,
            size,
            image,
            user_data: userData(),
            tags: [options.tag],
          },
          answer: z.object({ droplet }),
        }),
      );
      return machineOf(made);
    },
    get: async (id) => {
      const path = `/v2/droplets/${encodeURIComponent(id)}`;
      const found = await orUndefined(rest.ask('GET', path, { answer: z.object({ droplet }) }));
      return found === undefined ? undefined : machineOf(found.droplet);
    },
    list: async () => {
      const all: Machine[] = [];
      for (let page = 1; ; page += 1) {
        const tag = encodeURIComponent(options.tag);
        const path = `/v2/droplets?tag_name=${tag}&per_page=${PER_PAGE}&page=${page}`;
        const answer = z.object({ droplets: z.array(droplet) });
        const { droplets } = await rest.ask('GET', path, { answer });
        all.push(...droplets.map(machineOf));
        if (droplets.length < PER_PAGE) return all;
      }
    },
    delete: async (id) =>
      await unlessGone(rest.ask('DELETE', `/v2/droplets/${encodeURIComponent(id)}`)),
  };
}

function machineOf({ id, name, status, region, networks }: z.infer<typeof droplet>): Machine {
  const address = networks.v4.find(({ type }) => type === 'public')?.ip_address;
  return machineAs(STATES, {
    id: String(id),
    name,
    status,
    region: region.slug,
    address,
  });
}
