// DigitalOcean, as docs.digitalocean.com/reference/api has it: POST /v2/droplets and its answers.
//
// Invariant: the schema of a request names every field that the reference names, and no other.
// Must not know: who asks.

import { z } from 'zod';
import { type Answer, type Asked, type CloudApi, readBody, STUB_ADDRESS } from '../cloud-stub.ts';

export const TOKEN = 'do-secret-token';

const create = z.strictObject({
  name: z.string().regex(/^[a-zA-Z0-9]?[a-z0-9A-Z.-]*[a-z0-9A-Z]$/u),
  region: z.string().optional(),
  size: z.string(),
  image: z.union([z.string(), z.number().int()]),
  ssh_keys: z.array(z.union([z.string(), z.number().int()])).optional(),
  backups: z.boolean().optional(),
  backup_policy: z.object({}).optional(),
  ipv6: z.boolean().optional(),
  monitoring: z.boolean().optional(),
  tags: z.array(z.string()).nullable().optional(),
  user_data: z.string().max(65_536).optional(),
  volumes: z.array(z.string()).optional(),
  vpc_uuid: z.string().optional(),
  with_droplet_agent: z.boolean().optional(),
});
type Create = z.infer<typeof create>;

const show = (id: number, one: { create: Create; status: string }) => ({
  id,
  name: one.create.name,
  memory: 1024,
  vcpus: 1,
  disk: 25,
  locked: one.status === 'new',
  status: one.status,
  created_at: '2026-11-29T08:00:00Z',
  size_slug: one.create.size,
  region: { slug: one.create.region, name: 'Frankfurt 1' },
  image: { slug: one.create.image },
  networks: {
    v4:
      one.status === 'active'
        ? [
            { ip_address: '10.19.0.5', netmask: '255.255.0.0', gateway: '', type: 'private' },
            { ip_address: STUB_ADDRESS, netmask: '255.255.240.0', gateway: '', type: 'public' },
          ]
        : [],
    v6: [],
  },
  tags: one.create.tags ?? [],
});

export function digitaloceanApi(): CloudApi {
  const droplets = new Map<number, { create: Create; status: string }>();
  let isRefusing = false;
  const answer = (asked: Asked): Answer | undefined => {
    const { method, path, query } = asked;
    if (asked.headers.authorization !== `Bearer ${TOKEN}`) {
      return { status: 401, json: { id: 'Unauthorized', message: 'Unable to authenticate you' } };
    }
    const id = Number(/^\/v2\/droplets\/(\d+)$/u.exec(path)?.[1]);
    const one = droplets.get(id);
    if (path === '/v2/droplets' && method === 'POST') {
      const body = readBody(asked, create);
      if (isRefusing) {
        const message = 'creating this/these droplet(s) will exceed your droplet limit';
        return { status: 422, json: { id: 'unprocessable_entity', message } };
      }
      const made = 3_164_444 + droplets.size;
      droplets.set(made, { create: body, status: 'new' });
      return { status: 202, json: { droplet: show(made, { create: body, status: 'new' }) } };
    }
    if (path === '/v2/droplets' && method === 'GET') {
      const tag = query.get('tag_name') ?? '';
      const ours = [...droplets].filter(([, one]) => one.create.tags?.includes(tag));
      const all = ours.map(([key, value]) => show(key, value));
      return { status: 200, json: { droplets: all, links: {}, meta: { total: all.length } } };
    }
    if (one === undefined) return undefined;
    if (method === 'GET') return { status: 200, json: { droplet: show(id, one) } };
    droplets.delete(id);
    return { status: 204 };
  };
  return {
    answer,
    left: () => [...droplets.values()].map(({ create: { name } }) => name),
    boot: () => {
      for (const one of droplets.values()) one.status = 'active';
    },
    refuse: () => {
      isRefusing = true;
    },
    userData: () => [...droplets.values()].at(-1)?.create.user_data ?? '',
  };
}
