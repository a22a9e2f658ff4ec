// Vultr, as vultr.com/api has it: POST /v2/instances and its answers.
//
// Invariant: the schema of a request names every field that the reference names, and no other.
// Must not know: who asks.

import { z } from 'zod';
import { type Answer, type Asked, type CloudApi, readBody, STUB_ADDRESS } from '../cloud-stub.ts';

export const TOKEN = 'vultr-secret-token';
const DEBIAN = 2136;

const create = z.strictObject({
  region: z.string(),
  plan: z.string(),
  os_id: z.literal(DEBIAN),
  ipxe_chain_url: z.string().optional(),
  script_id: z.string().optional(),
  enable_ipv6: z.boolean().optional(),
  disable_public_ipv4: z.boolean().optional(),
  attach_vpc: z.array(z.string()).optional(),
  label: z.string(),
  sshkey_id: z.array(z.string()).optional(),
  backups: z.enum(['enabled', 'disabled']).optional(),
  user_data: z.base64().optional(),
  ddos_protection: z.boolean().optional(),
  activation_email: z.boolean().optional(),
  hostname: z.string().optional(),
  firewall_group_id: z.string().optional(),
  reserved_ipv4: z.string().optional(),
  enable_vpc: z.boolean().optional(),
  tags: z.array(z.string()).optional(),
  user_scheme: z.string().optional(),
});
type Create = z.infer<typeof create>;

const show = (id: string, { create: body, isUp }: { create: Create; isUp: boolean }) => ({
  id,
  os: 'Debian 12 x64 (bookworm)',
  os_id: body.os_id,
  plan: body.plan,
  region: body.region,
  label: body.label,
  hostname: body.hostname ?? '',
  main_ip: isUp ? STUB_ADDRESS : '0.0.0.0',
  status: isUp ? 'active' : 'pending',
  power_status: isUp ? 'running' : 'stopped',
  server_status: isUp ? 'ok' : 'none',
  default_password: 'must-not-be-shown',
  tags: body.tags ?? [],
  features: [],
});

export function vultrApi(): CloudApi {
  const instances = new Map<string, { create: Create; isUp: boolean }>();
  let isRefusing = false;
  const answer = (asked: Asked): Answer | undefined => {
    const { method, path, query } = asked;
    if (asked.headers.authorization !== `Bearer ${TOKEN}`) {
      return { status: 401, json: { error: 'Invalid API token.', status: 401 } };
    }
    const id = /^\/v2\/instances\/([\w-]+)$/u.exec(path)?.[1] ?? '';
    const one = instances.get(id);
    if (path === '/v2/os') {
      const os = [
        { id: 1743, name: 'Ubuntu 22.04 LTS x64', arch: 'x64', family: 'ubuntu' },
        { id: DEBIAN, name: 'Debian 12 x64 (bookworm)', arch: 'x64', family: 'debian' },
      ];
      return { status: 200, json: { os, meta: { total: 2, links: { next: '', prev: '' } } } };
    }
    if (path === '/v2/instances' && method === 'POST') {
      const body = readBody(asked, create);
      if (isRefusing) {
        const error = 'Server add failed: You have reached the maximum monthly fee limit';
        return { status: 400, json: { error, status: 400 } };
      }
      const made = `4f0f12e5-1f84-404f-aa84-85f431ea5ec${instances.size}`;
      instances.set(made, { create: body, isUp: false });
      return { status: 202, json: { instance: show(made, { create: body, isUp: false }) } };
    }
    if (path === '/v2/instances' && method === 'GET') {
      // One a page, so that pages are followed.
      const tag = query.get('tag') ?? '';
      const ours = [...instances].filter(([, one]) => one.create.tags?.includes(tag));
      const at = Number(query.get('cursor') ?? '0');
      const page = ours.slice(at, at + 1).map(([key, value]) => show(key, value));
      const next = at + 1 < ours.length ? String(at + 1) : '';
      const meta = { total: ours.length, links: { next, prev: '' } };
      return { status: 200, json: { instances: page, meta } };
    }
    if (one === undefined) return undefined;
    if (method === 'GET') return { status: 200, json: { instance: show(id, one) } };
    instances.delete(id);
    return { status: 204 };
  };
  return {
    answer,
    left: () => [...instances.values()].map(({ create: { label } }) => label),
    boot: () => {
      for (const one of instances.values()) one.isUp = true;
    },
    refuse: () => {
      isRefusing = true;
    },
    userData: () => {
      const data = [...instances.values()].at(-1)?.create.user_data ?? '';
      return Buffer.from(data, 'base64').toString('utf8');
    },
  };
}
