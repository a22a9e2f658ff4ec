// Vultr: one instance (vultr.com/api).
//
// Invariant: ours carry the tag; an image is an operating system by the number or name that Vultr
// lists. Must not know: what runs on an instance.

import { z } from 'zod';
import {
  CloudRefusal,
  choose,
  type Machine,
  type MachineState,
  machineAs,
  type Provider,
  type ProviderOptions,
} from './provider.ts';
import {
  orUndefined,
  orUnheard,
  type Rest,
  restOf,
  unlessGone,
  withToken,
  wordsAt,
} from './rest.ts';

const PER_PAGE = 500;
const DEFAULTS = { region: 'fra', size: 'vc2-1c-1gb', image: 'Debian 12 x64 (bookworm)' };
/** Until it has one. */
const NO_ADDRESS = '0.0.0.0';

const instance = z.object({
  id: z.string(),
  label: z.string(),
  status: z.string(),
  power_status: z.string(),
  server_status: z.string(),
  region: z.string(),
  main_ip: z.string(),
});
const pages = z.object({ links: z.object({ next: z.string() }) });

const STATES: Readonly<Record<string, MachineState>> = {
  pending: 'starting',
  active: 'running',
  resizing: 'starting',
  suspended: 'failed',
  halted: 'ending',
};
/** Of `server_status`: it has been installed. Any other, `locked` too, is said meanwhile. */
const INSTALLED = 'ok';

export function createVultr(options: ProviderOptions): Provider {
  const rest = restOf(options, {
    provider: 'Vultr',
    origin: 'https://api.vultr.com',
    sign: withToken('authorization', `Bearer ${options.credentials.VULTR_API_KEY}`),
    words: wordsAt('error'),
  });
  return {
    create: async (request) => {
      const { name, userData } = request;
      const { region, size, image } = choose(request, options, DEFAULTS);
      const { instance: made } = await orUnheard(
        rest.ask('POST', '/v2/instances', {
          json: {
            label: name,
            hostname: name,
            region,
            plan: size,
            os_id: await findImage(rest, image),
            user_data: Buffer.from(userData()).toString('base64'),
            tags: [options.tag],
            backups: 'disabled',
          },
          answer: z.object({ instance }),
        }),
      );
      return machineOf(made);
    },
    get: async (id) => {
      const path = `/v2/instances/${encodeURIComponent(id)}`;
      const found = await orUndefined(rest.ask('GET', path, { answer: z.object({ instance }) }));
      return found === undefined ? undefined : machineOf(found.instance);
    },
    list: async () => {
      const all: Machine[] = [];
      const answer = z.object({ instances: z.array(instance), meta: pages });
      for (let cursor = ''; ; ) {
        const from = cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`;
        const tag = encodeURIComponent(options.tag);
        const path = `/v2/instances?tag=${tag}&per_page=${PER_PAGE}${from}`;
        const { instances, meta } = await rest.ask('GET', path, { answer });
        all.push(...instances.map(machineOf));
        cursor = meta.links.next;
        if (cursor === '') return all;
      }
    },
    delete: async (id) =>
      await unlessGone(rest.ask('DELETE', `/v2/instances/${encodeURIComponent(id)}`)),
  };
}

async function findImage(rest: Rest, image: string): Promise<number> {
  if (/^\d{1,9}$/.test(image)) return Number(image);
  const answer = z.object({ os: z.array(z.object({ id: z.number().int(), name: z.string() })) });
  const { os } = await rest.ask('GET', `/v2/os?per_page=${PER_PAGE}`, { answer });
  const found = os.find(({ name }) => name === image);
  if (found !== undefined) return found.id;
  throw new CloudRefusal('Vultr', 0, `there is no operating system "${image}"`);
}

function machineOf(found: z.infer<typeof instance>): Machine {
  const { id, label, region, main_ip } = found;
  return machineAs(STATES, {
    id,
    name: label,
    status: statusOf(found),
    region,
    address: main_ip === '' || main_ip === NO_ADDRESS ? undefined : main_ip,
  });
}

/**
 * Vultr calls active what was switched off, and what is off for its first start or a move to
 * another host, which begins `locked` and may take minutes.
 */
function statusOf({ status, power_status, server_status }: z.infer<typeof instance>): string {
  if (status !== 'active' || power_status !== 'stopped') return status;
  return server_status === INSTALLED ? 'halted' : 'pending';
}
