// Hetzner Cloud: one server (docs.hetzner.cloud).
//
// Invariant: ours carry the label; the root password that an answer may hold is never read. Must
// not know: what runs on a server.

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

const LABEL = 'sluiceway';
const PER_PAGE = 50;
const DEFAULTS = { region: 'fsn1', size: 'cx23', image: 'debian-12' };

const server = z.object({
  id: z.number().int(),
  name: z.string(),
  status: z.string(),
  public_net: z.object({ ipv4: z.object({ ip: z.string() }).nullable() }),
  location: z.object({ name: z.string() }),
});

const STATES: Readonly<Record<string, MachineState>> = {
  initializing: 'starting',
  starting: 'starting',
  running: 'running',
  rebuilding: 'starting',
  migrating: 'starting',
  stopping: 'ending',
  off: 'ending',
  deleting: 'ending',
};

export function createHetzner(options: ProviderOptions): Provider {
  const rest = restOf(options, {
    provider: 'Hetzner',
    origin: 'https://api.hetzner.cloud',
    sign: withToken('authorization', `Bearer ${options.credentials.HCLOUD_TOKEN}`),
    words: wordsAt('error', 'message'),
  });
  return {
    create: async (request) => {
      const { name, userData } = request;
      const { region, size, image } = choose(request, options, DEFAULTS);
      const { server: made } = await orUnheard(
        rest.ask('POST', '/v1/servers', {
          json: {
            name,
            location: region,
            server_type: size,
            image,
            user_data: userData(),
            labels: { [LABEL]: options.tag },
            start_after_create: true,
            public_net: { enable_ipv4: true, enable_ipv6: true },
          },
          answer: z.object({ server }),
        }),
      );
      return machineOf(made);
    },
    get: async (id) => {
      const path = `/v1/servers/${encodeURIComponent(id)}`;
      const found = await orUndefined(rest.ask('GET', path, { answer: z.object({ server }) }));
      return found === undefined ? undefined : machineOf(found.server);
    },
    list: async () => {
      const all: Machine[] = [];
      for (let page = 1; ; page += 1) {
        const label = encodeURIComponent(`${LABEL}=${options.tag}`);
        const path = `/v1/servers?label_selector=${label}&per_page=${PER_PAGE}&page=${page}`;
        const answer = z.object({ servers: z.array(server) });
        const { servers } = await rest.ask('GET', path, { answer });
        all.push(...servers.map(machineOf));
        if (servers.length < PER_PAGE) return all;
      }
    },
    delete: async (id) =>
      await unlessGone(rest.ask('DELETE', `/v1/servers/${encodeURIComponent(id)}`)),
  };
}

function machineOf({ id, name, status, public_net, location }: z.infer<typeof server>): Machine {
  const address = public_net.ipv4?.ip;
  return machineAs(STATES, {
    id: String(id),
    name,
    status,
    region: location.name,
    address,
  });
}
