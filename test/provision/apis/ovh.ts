// OVHcloud, as api.ovh.com/console has it: /cloud/project/{serviceName}/instance, flavors, images.
//
// Invariant: signatures are computed here anew, from what arrived; the schema of a request names
// every field that the reference names, and no other. Must not know: who asks.

import { createHash } from 'node:crypto';
import { z } from 'zod';
import { type Answer, type Asked, type CloudApi, readBody, STUB_ADDRESS } from '../cloud-stub.ts';

export const KEYS = {
  OVH_APPLICATION_KEY: 'ovh-app',
  OVH_APPLICATION_SECRET: 'ovh-app-secret',
  OVH_CONSUMER_KEY: 'ovh-consumer',
  OVH_CLOUD_PROJECT_SERVICE: 'b1b2c3d4',
};

const create = z.strictObject({
  name: z.string(),
  region: z.string(),
  flavorId: z.literal('flavor-1'),
  imageId: z.literal('image-1').optional(),
  userData: z.string().optional(),
  monthlyBilling: z.boolean().optional(),
  sshKeyId: z.string().optional(),
  groupId: z.string().optional(),
  networks: z.array(z.object({})).optional(),
  volumeId: z.string().optional(),
  autobackup: z.object({}).optional(),
});
interface Kept {
  readonly create: z.infer<typeof create>;
  isUp: boolean;
}

const isSigned = ({ method, path, headers, body, query }: Asked, origin: string): boolean => {
  const search = query.size === 0 ? '' : `?${query}`;
  const secret = [KEYS.OVH_APPLICATION_SECRET, KEYS.OVH_CONSUMER_KEY].join('+');
  const time = String(headers['x-ovh-timestamp']);
  const text = [secret, method, `${origin}${path}${search}`, body, time].join('+');
  const digest = createHash('sha1').update(text).digest('hex');
  const isRecent = Math.abs(Date.now() / 1000 - Number(time)) < 60;
  return headers['x-ovh-signature'] === `$1$${digest}` && isRecent;
};

const show = (id: string, { create: body, isUp }: Kept) => ({
  id,
  name: body.name,
  status: isUp ? 'ACTIVE' : 'BUILD',
  region: body.region,
  flavorId: body.flavorId,
  imageId: body.imageId,
  created: '2026-11-29T08:00:00Z',
  ipAddresses: isUp
    ? [
        { ip: '2001:db8::1', type: 'public', version: 6, networkId: 'n' },
        { ip: STUB_ADDRESS, type: 'public', version: 4, networkId: 'n' },
      ]
    : [],
});

export function ovhApi(): CloudApi {
  const instances = new Map<string, Kept>();
  let isRefusing = false;
  const answer = (asked: Asked, { origin }: { origin: string }): Answer | undefined => {
    const { method, path } = asked;
    if (!isSigned(asked, origin)) {
      return { status: 400, json: { class: 'Client::BadRequest', message: 'Invalid signature' } };
    }
    const base = `/1.0/cloud/project/${KEYS.OVH_CLOUD_PROJECT_SERVICE}`;
    if (path === `${base}/flavor`) {
      return { status: 200, json: [{ id: 'flavor-1', name: 'd2-2', region: 'GRA11', vcpus: 1 }] };
    }
    if (path === `${base}/image`) {
      return { status: 200, json: [{ id: 'image-1', name: 'Debian 12', region: 'GRA11' }] };
    }
    if (path === `${base}/instance` && method === 'POST') {
      const body = readBody(asked, create);
      if (isRefusing) {
        const message = 'Quota exceeded for instances: Requested 1, but already used 20 of 20';
        return { status: 400, json: { class: 'Client::BadRequest', message } };
      }
      const made = `3d3a1b5c-${instances.size}`;
      instances.set(made, { create: body, isUp: false });
      return { status: 200, json: show(made, { create: body, isUp: false }) };
    }
    if (path === `${base}/instance`) {
      const foreign = { create: { name: 'web-1', region: 'x', flavorId: 'flavor-1' }, isUp: true };
      const all = [...instances, ['f', foreign] as const];
      return { status: 200, json: all.map(([key, one]) => show(key, one as Kept)) };
    }
    const id = path.slice(`${base}/instance/`.length);
    const one = instances.get(id);
    if (one === undefined) return undefined;
    if (method === 'GET') return { status: 200, json: show(id, one) };
    instances.delete(id);
    return { status: 200 };
  };
  return {
    answer,
    left: () => [...instances.values()].map(({ create: { name } }) => name),
    boot: () => {
      for (const one of instances.values()) one.isUp = true;
    },
    refuse: () => {
      isRefusing = true;
    },
    userData: () => [...instances.values()].at(-1)?.create.userData ?? '',
  };
}
