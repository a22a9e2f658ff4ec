// Scaleway, as scaleway.com/en/developers/api/instances has it: servers, their user data, actions
// and disks, also those of Block Storage; images of the marketplace.
//
// Invariant: the schema of a request names every field that the reference names, and no other.
// Must not know: who asks.

import assert from 'node:assert/strict';
import { z } from 'zod';
import { type Answer, type Asked, type CloudApi, readBody, STUB_ADDRESS } from '../cloud-stub.ts';

export const TOKEN = 'scaleway-secret-key';
export const PROJECT = '105bdce1-64c0-48ab-899d-868455867ecf';
const IMAGE = '81b9475d-e1b5-43c2-ac48-4c1a3b640686';

const create = z.strictObject({
  name: z.string(),
  project: z.literal(PROJECT),
  commercial_type: z.string(),
  image: z.literal(IMAGE),
  dynamic_ip_required: z.boolean().optional(),
  routed_ip_enabled: z.boolean().optional(),
  volumes: z.object({}).optional(),
  enable_ipv6: z.boolean().optional(),
  protected: z.boolean().optional(),
  public_ip: z.string().optional(),
  public_ips: z.array(z.string()).optional(),
  boot_type: z.string().optional(),
  organization: z.string().optional(),
  tags: z.array(z.string()).optional(),
  security_group: z.string().optional(),
  placement_group: z.string().optional(),
});
interface Kept {
  readonly create: z.infer<typeof create>;
  state: string;
  userData: string;
  isSeen: boolean;
}

const mark = z.strictObject({
  name: z.string().optional(),
  tags: z.array(z.string()).optional(),
  size: z.number().int().optional(),
  perf_iops: z.number().int().optional(),
});
interface Disk {
  readonly mark: z.infer<typeof mark>;
  /** Since its server has gone. */
  readonly wasSeen: boolean;
  /** It is made for as long as one look, and nothing can be changed of it until then. */
  readonly isMade: boolean;
}

/** Where disks of each kind are. */
const VOLUMES = {
  l_ssd: '/instance/v1/zones/fr-par-1/volumes',
  sbs_volume: '/block/v1/zones/fr-par-1/volumes',
} as const;
type VolumeType = keyof typeof VOLUMES;

const volumeOf = (id: string): string => id.replace(/^699d9a45/u, '7fe25caf');

const show = (id: string, { create: body, state }: Kept, type: VolumeType) => ({
  id,
  name: body.name,
  commercial_type: body.commercial_type,
  state,
  zone: 'fr-par-1',
  dynamic_ip_required: true,
  public_ip: null,
  public_ips:
    state === 'running'
      ? [{ id: 'x', address: STUB_ADDRESS, family: 'inet', dynamic: true, state: 'attached' }]
      : [],
  tags: body.tags ?? [],
  volumes: { '0': { boot: false, id: volumeOf(id), volume_type: type, zone: 'fr-par-1' } },
});

class ScalewayApi implements CloudApi {
  readonly #servers = new Map<string, Kept>();
  readonly #volumes = new Map<string, Disk>();
  readonly #type: VolumeType;
  #isRefusing = false;

  constructor(type: VolumeType) {
    this.#type = type;
  }

  #showVolume(id: string, { mark: { name = 'root', tags = [] }, wasSeen, isMade }: Disk) {
    const status = wasSeen ? 'available' : 'in_use';
    return { id, name, tags, status: isMade ? status : 'creating' };
  }

  #listVolumes(tag: string): Answer {
    const ours = [...this.#volumes].filter(
      ([
        ,
        {
          mark: { tags = [] },
        },
      ]) => tags.includes(tag),
    );
    const volumes = ours.map(([id, disk]) => this.#showVolume(id, disk));
    return { status: 200, json: { volumes, total_count: volumes.length } };
  }

  #volume(asked: Asked, id: string): Answer | undefined {
    const { method } = asked;
    const disk = this.#volumes.get(id);
    if (disk === undefined) return undefined;
    const server = [...this.#servers.keys()].find((one) => volumeOf(one) === id);
    if (method === 'GET') {
      this.#volumes.set(id, { ...disk, wasSeen: server === undefined, isMade: true });
      if (this.#type === 'sbs_volume') {
        // It is let go a while after its server.
        return { status: 200, json: this.#showVolume(id, disk) };
      }
      const holder = server === undefined ? null : { id: server, name: '' };
      return { status: 200, json: { volume: { id, state: 'available', server: holder } } };
    }
    if (method === 'PATCH') {
      assert.deepEqual([this.#type, disk.isMade], ['sbs_volume', true]);
      this.#volumes.set(id, { ...disk, mark: readBody(asked, mark) });
      return { status: 200, json: {} };
    }
    assert.deepEqual([method, server, disk.wasSeen], ['DELETE', undefined, true]);
    this.#volumes.delete(id);
    return { status: 204 };
  }

  #act(one: Kept, id: string, action: string): Answer {
    if (action === 'poweron') {
      if (this.#isRefusing) {
        const message = 'quota(s) exceeded for this resource: compute_DEV1_S';
        return { status: 403, json: { type: 'quotas_exceeded', message } };
      }
      one.state = 'starting';
    } else {
      // What does not run cannot be terminated.
      assert.equal(one.state, 'running');
      this.#servers.delete(id);
      if (this.#type === 'l_ssd') this.#volumes.delete(volumeOf(id));
    }
    return { status: 202, json: { task: { id: 'task', status: 'pending' } } };
  }

  answer(asked: Asked): Answer | undefined {
    const { method, path, query } = asked;
    if (asked.headers['x-auth-token'] !== TOKEN) {
      const message = 'authentication is denied';
      return { status: 401, json: { type: 'denied_authentication', message } };
    }
    const base = '/instance/v1/zones/fr-par-1/servers';
    if (path === '/marketplace/v2/local-images') {
      assert.equal(query.get('image_label'), 'debian_bookworm');
      const types = { compatible_commercial_types: ['DEV1-S', 'DEV1-M'] };
      const image = { id: IMAGE, arch: 'x86_64', zone: 'fr-par-1', label: 'debian_bookworm' };
      const arm = { ...image, id: 'other', compatible_commercial_types: ['COPARM1-2C-8G'] };
      return { status: 200, json: { local_images: [arm, { ...image, ...types }], total_count: 2 } };
    }
    if (path === base && method === 'POST') {
      const made = `699d9a45-968e-408e-bdd7-41546870c37${this.#servers.size}`;
      const kept = {
        create: readBody(asked, create),
        state: 'stopped',
        userData: '',
        isSeen: false,
      };
      this.#servers.set(made, kept);
      this.#volumes.set(volumeOf(made), { mark: {}, wasSeen: false, isMade: false });
      return { status: 201, json: { server: show(made, kept, this.#type) } };
    }
    if (path === base && method === 'GET') {
      const tag = query.get('tags') ?? '';
      const ours = [...this.#servers].filter(([, one]) => one.create.tags?.includes(tag));
      const servers = ours.map(([key, one]) => show(key, one, this.#type));
      return { status: 200, json: { servers } };
    }
    if (path === VOLUMES.sbs_volume) return this.#listVolumes(query.get('tags') ?? '');
    if (path.startsWith(`${VOLUMES[this.#type]}/`)) {
      return this.#volume(asked, path.slice(VOLUMES[this.#type].length + 1));
    }
    const [, id = '', rest = ''] = /\/servers\/([\w-]+)(\/.*)?$/u.exec(path) ?? [];
    const one = this.#servers.get(id);
    if (one === undefined) return undefined;
    if (rest === '/user_data/cloud-init' && method === 'PATCH') {
      assert.match(asked.headers['content-type'] ?? '', /^text\/plain/u);
      one.userData = asked.body;
      return { status: 204 };
    }
    if (rest === '/action' && method === 'POST') {
      const { action } = readBody(asked, z.strictObject({ action: z.string() }));
      return this.#act(one, id, action);
    }
    if (rest === '' && method === 'GET') {
      const shown = { status: 200, json: { server: show(id, one, this.#type) } };
      // It starts for as long as one look.
      if (one.state === 'starting' && one.isSeen) one.state = 'running';
      one.isSeen = true;
      return shown;
    }
    assert.equal(`${method} ${rest} ${one.state}`, 'DELETE  stopped');
    this.#servers.delete(id);
    return { status: 204 };
  }

  left(): readonly string[] {
    const names = [...this.#servers.values()].map(({ create: { name } }) => name);
    const alone = [...this.#volumes.keys()].filter(
      (id) => ![...this.#servers.keys()].some((one) => volumeOf(one) === id),
    );
    return [...names, ...alone.map((id) => `the disk ${id}`)];
  }

  boot(): void {
    for (const one of this.#servers.values()) one.state = 'running';
  }

  refuse(): void {
    this.#isRefusing = true;
  }

  userData(): string {
    return [...this.#servers.values()].at(-1)?.userData ?? '';
  }
}

export function scalewayApi(): CloudApi {
  return new ScalewayApi('l_ssd');
}

/** Of a size whose disk is not a local one. */
export function scalewayBlockApi(): CloudApi {
  return new ScalewayApi('sbs_volume');
}
