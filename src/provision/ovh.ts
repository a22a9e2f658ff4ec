// OVHcloud Public Cloud: one instance (api.ovh.com/console, /cloud/project).
//
// Invariant: ours have the tag in front of their name, as there are no tags; each request is signed
// with the time. Must not know: what runs on an instance.

import { createHash } from 'node:crypto';
import { z } from 'zod';
import { systemClock } from '../base/clock.ts';
import {
  CloudRefusal,
  choose,
  type Machine,
  type MachineState,
  machineAs,
  type Provider,
  type ProviderOptions,
} from './provider.ts';
import { orUndefined, orUnheard, type RestOptions, restOf, unlessGone, wordsAt } from './rest.ts';

const DEFAULTS = { region: 'GRA11', size: 'd2-2', image: 'Debian 12' };
const BETWEEN = '.';

const instance = z.object({
  id: z.string(),
  name: z.string(),
  status: z.string(),
  region: z.string(),
  ipAddresses: z
    .array(z.object({ ip: z.string(), type: z.string(), version: z.number().int() }))
    .nullable()
    .optional(),
});
const named = z.object({ id: z.string(), name: z.string() });

const STATES: Readonly<Record<string, MachineState>> = {
  BUILD: 'starting',
  BUILDING: 'starting',
  REBOOT: 'starting',
  ACTIVE: 'running',
  DELETING: 'ending',
  DELETED: 'ending',
  SOFT_DELETED: 'ending',
  SHUTOFF: 'ending',
  STOPPED: 'ending',
};

export function createOvh(options: ProviderOptions): Provider {
  const project = options.credentials.OVH_CLOUD_PROJECT_SERVICE ?? '';
  const base = `/1.0/cloud/project/${encodeURIComponent(project)}`;
  const rest = restOf(options, {
    provider: 'OVHcloud',
    origin: 'https://eu.api.ovh.com',
    sign: signer(options.credentials),
    words: wordsAt('message'),
  });
  const find = async (what: 'flavor' | 'image', region: string, name: string): Promise<string> => {
    const path = `${base}/${what}?region=${encodeURIComponent(region)}`;
    const all = await rest.ask('GET', path, { answer: z.array(named) });
    const found = all.find((one) => one.name === name || one.id === name);
    if (found !== undefined) return found.id;
    throw new CloudRefusal('OVHcloud', 0, `there is no ${what} "${name}" in ${region}`);
  };
  const prefix = `${options.tag}${BETWEEN}`;
  const pathOf = (id: string): string => `${base}/instance/${encodeURIComponent(id)}`;
  return {
    create: async (request) => {
      const { name, userData } = request;
      const { region, size, image } = choose(request, options, DEFAULTS);
      const made = await orUnheard(
        rest.ask('POST', `${base}/instance`, {
          json: {
            name: `${prefix}${name}`,
            region,
            flavorId: await find('flavor', region, size),
            imageId: await find('image', region, image),
            userData: userData(),
            monthlyBilling: false,
          },
          answer: instance,
        }),
      );
      return machineOf(made, prefix);
    },
    get: async (id) => {
      const found = await orUndefined(rest.ask('GET', pathOf(id), { answer: instance }));
      return found === undefined ? undefined : machineOf(found, prefix);
    },
    list: async () => {
      const all = await rest.ask('GET', `${base}/instance`, { answer: z.array(instance) });
      const ours = all.filter(({ name }) => name.startsWith(prefix));
      return ours.map((one) => machineOf(one, prefix));
    },
    delete: async (id) => await unlessGone(rest.ask('DELETE', pathOf(id))),
  };
}

/** `$1$` and SHA-1 of secret, consumer, method, URL, body and time, as OVH describes it. */
function signer(credentials: ProviderOptions['credentials']): RestOptions['sign'] {
  const {
    OVH_APPLICATION_KEY: application = '',
    OVH_APPLICATION_SECRET: secret = '',
    OVH_CONSUMER_KEY: consumer = '',
  } = credentials;
  return (request) => {
    const time = String(Math.floor(systemClock.wallMs() / 1000));
    const parts = [secret, consumer, request.method, request.url, request.body, time];
    const digest = createHash('sha1').update(parts.join('+')).digest('hex');
    return {
      ...request,
      headers: {
        ...request.headers,
        'x-ovh-application': application,
        'x-ovh-consumer': consumer,
        'x-ovh-timestamp': time,
        'x-ovh-signature': `$1$${digest}`,
      },
    };
  };
}

function machineOf(
  { id, name, status, region, ipAddresses }: z.infer<typeof instance>,
  prefix: string,
): Machine {
  const address = ipAddresses?.find(({ type, version }) => type === 'public' && version === 4)?.ip;
  return machineAs(STATES, {
    id,
    name: name.startsWith(prefix) ? name.slice(prefix.length) : name,
    status,
    region,
    address,
  });
}
