// Hetzner Cloud, as docs.hetzner.cloud has it: POST /v1/servers and its answers.
//
// Invariant: the schema of a request names every field that the reference names, and no other.
// Must not know: who asks.

import { z } from 'zod';
import { type Answer, type Asked, type CloudApi, readBody, STUB_ADDRESS } from '../cloud-stub.ts';

export const TOKEN = 'hetzner-secret-token';

const create = z.strictObject({
  name: z.string(),
  server_type: z.string(),
  image: z.string(),
  location: z.string().optional(),
  start_after_create: z.boolean().optional(),
  placement_group: z.number().optional(),
  ssh_keys: z.array(z.string()).optional(),
  volumes: z.array(z.number()).optional(),
  networks: z.array(z.number()).optional(),
  firewalls: z.array(z.strictObject({ firewall: z.number() })).optional(),
  user_data: z.string().max(32_768).optional(),
  labels: z.record(z.string(), z.string().regex(/^[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?$/u)),
  automount: z.boolean().optional(),
  public_net: z
    .strictObject({
      enable_ipv4: z.boolean().optional(),
      enable_ipv6: z.boolean().optional(),
      ipv4: z.number().nullable().optional(),
      ipv6: z.number().nullable().optional(),
    })
    .optional(),
});
type Create = z.infer<typeof create>;
interface Kept {
  readonly create: Create;
  status: string;
}

const show = (id: number, one: Kept) => ({
  id,
  name: one.create.name,
  status: one.status,
  created: '2026-11-29T08:00:00+00:00',
  public_net: {
    ipv4: { ip: STUB_ADDRESS, blocked: false, dns_ptr: 'static.example' },
    ipv6: { ip: '2001:db8::/64', blocked: false, dns_ptr: [] },
    floating_ips: [],
    firewalls: [],
  },
  server_type: { name: one.create.server_type },
  location: { id: 1, name: one.create.location, country: 'DE', network_zone: 'eu-central' },
  labels: one.create.labels,
  locked: false,
});

export interface HetznerApi extends CloudApi {
  /** What was asked for, also of those that are gone. */
  created(): readonly Create[];
  /** Deletions are refused from now on, or again not. */
  lockDeletions(isLocked: boolean): void;
}

export function hetznerApi(): HetznerApi {
  const servers = new Map<number, Kept>();
  const created: Create[] = [];
  let isRefusing = false;
  let isLocked = false;
  const refusal = (status: number, code: string, message: string): Answer => ({
    status,
    json: { error: { code, message, details: {} } },
  });
  const answer = (asked: Asked): Answer | undefined => {
    const { method, path, query } = asked;
    if (asked.headers.authorization !== `Bearer ${TOKEN}`) {
      return refusal(401, 'unauthorized', 'the token you provided is not valid');
    }
    const id = Number(/^\/v1\/servers\/(\d+)$/u.exec(path)?.[1]);
    const one = servers.get(id);
    if (path === '/v1/servers' && method === 'POST') {
      const body = readBody(asked, create);
      if (isRefusing) return refusal(403, 'resource_limit_exceeded', 'server limit reached');
      const made = 4711 + servers.size;
      created.push(body);
      servers.set(made, { create: body, status: 'initializing' });
      const server = show(made, { create: body, status: 'initializing' });
      const action = { id: 1, command: 'create_server', status: 'running' };
      return { status: 201, json: { server, action, root_password: 'must-not-be-shown' } };
    }
    if (path === '/v1/servers' && method === 'GET') {
      const [key = '', value] = (query.get('label_selector') ?? '').split('=');
      const ours = [...servers].filter(([, one]) => one.create.labels[key] === value);
      return { status: 200, json: { servers: ours.map(([at, kept]) => show(at, kept)), meta: {} } };
    }
    if (one === undefined) return undefined;
    if (method === 'GET') return { status: 200, json: { server: show(id, one) } };
    if (isLocked) return refusal(423, 'locked', 'the item you are trying to access is locked');
    servers.delete(id);
    return {
      status: 200,
      json: { action: { id: 2, command: 'delete_server', status: 'running' } },
    };
  };
  return {
    answer,
    created: () => created,
    left: () => [...servers.values()].map(({ create: { name } }) => name),
    boot: () => {
      for (const one of servers.values()) one.status = 'running';
    },
    refuse: () => {
      isRefusing = true;
    },
    userData: () => [...servers.values()].at(-1)?.create.user_data ?? '',
    lockDeletions: (locked) => {
      isLocked = locked;
    },
  };
}
