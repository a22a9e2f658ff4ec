// Linode, as techdocs.akamai.com/linode-api has it: POST /v4/linode/instances and its answers.
//
// Invariant: the schema of a request names every field that the reference names, and no other.
// Must not know: who asks.

import { z } from 'zod';
import { type Answer, type Asked, type CloudApi, readBody, STUB_ADDRESS } from '../cloud-stub.ts';

export const TOKEN = 'linode-secret-token';

const create = z.strictObject({
  region: z.string(),
  type: z.string(),
  label: z.string().regex(/^[a-zA-Z0-9](?:[a-zA-Z0-9._-]{1,62})[a-zA-Z0-9]$/u),
  image: z.string(),
  root_pass: z.string().min(7).max(128),
  authorized_keys: z.array(z.string()).optional(),
  authorized_users: z.array(z.string()).optional(),
  backup_id: z.number().optional(),
  backups_enabled: z.boolean().optional(),
  booted: z.boolean().optional(),
  disk_encryption: z.string().optional(),
  firewall_id: z.number().optional(),
  group: z.string().optional(),
  interfaces: z.array(z.object({})).optional(),
  metadata: z.strictObject({ user_data: z.base64() }).optional(),
  placement_group: z.object({}).optional(),
  private_ip: z.boolean().optional(),
  stackscript_id: z.number().optional(),
  stackscript_data: z.object({}).optional(),
  swap_size: z.number().optional(),
  tags: z.array(z.string().min(3).max(50)).optional(),
});
type Create = z.infer<typeof create>;

export function linodeApi(): CloudApi {
  const instances = new Map<number, { create: Create; status: string }>();
  let isRefusing = false;
  const show = (id: number, { create: body, status }: { create: Create; status: string }) => ({
    id,
    label: body.label,
    group: '',
    status,
    created: '2026-11-29T08:00:00',
    type: body.type,
    region: body.region,
    image: body.image,
    ipv4: [STUB_ADDRESS],
    ipv6: '2001:db8::f03c/128',
    tags: body.tags ?? [],
    has_user_data: true,
  });
  const answer = (asked: Asked): Answer | undefined => {
    const { method, path } = asked;
    if (asked.headers.authorization !== `Bearer ${TOKEN}`) {
      return { status: 401, json: { errors: [{ reason: 'Invalid Token' }] } };
    }
    const id = Number(/^\/v4\/linode\/instances\/(\d+)$/u.exec(path)?.[1]);
    const one = instances.get(id);
    if (path === '/v4/linode/instances' && method === 'POST') {
      const body = readBody(asked, create);
      if (isRefusing) {
        const reason = 'Account Limit reached. Please open a support ticket.';
        return { status: 400, json: { errors: [{ reason }] } };
      }
      const made = 123_456 + instances.size;
      instances.set(made, { create: body, status: 'provisioning' });
      return { status: 200, json: show(made, { create: body, status: 'provisioning' }) };
    }
    if (path === '/v4/linode/instances' && method === 'GET') {
      const foreign = { region: 'x', type: 'y', label: 'foreign', image: 'z', root_pass: '' };
      const all = [...instances].map(([key, value]) => show(key, value));
      const data = [...all, show(1, { create: foreign, status: 'running' })];
      return { status: 200, json: { data, page: 1, pages: 1, results: data.length } };
    }
    if (one === undefined) return undefined;
    if (method === 'GET') return { status: 200, json: show(id, one) };
    instances.delete(id);
    return { status: 200, json: {} };
  };
  return {
    answer,
    left: () => [...instances.values()].map(({ create: { label } }) => label),
    boot: () => {
      for (const one of instances.values()) one.status = 'running';
    },
    refuse: () => {
      isRefusing = true;
    },
    userData: () => {
      const data = [...instances.values()].at(-1)?.create.metadata?.user_data ?? '';
      return Buffer.from(data, 'base64').toString('utf8');
    },
  };
}
