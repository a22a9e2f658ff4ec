// Scaleway: one instance with a dynamic address (scaleway.com/en/developers/api/instances).
//
//   create: server ──▶ its user data ──▶ poweron, each a request; ended again when one fails
//   end:    terminated with its local disk, or deleted when it does not run ──▶ the disk that stays
//
// Invariant: ours carry the tag; an id names its zone, as nothing is found without it; the disk
// that was made with an instance ends with it, and no other; an instance does not end before its
// disk could be seen, and a disk of Block Storage that outlives it is listed as a machine that
// ends. Must not know: what runs on an instance.

import { z } from 'zod';
import { LeftBehind, orUndone, untilThere } from './making.ts';
import {
  type Choice,
  CloudRefusal,
  choose,
  type Machine,
  type MachineState,
  machineAs,
  type Provider,
  type ProviderOptions,
} from './provider.ts';
import { joinId, splitId } from './regional-id.ts';
import {
  orUndefined,
  orUnheard,
  type Rest,
  restOf,
  unlessGone,
  withToken,
  wordsAt,
} from './rest.ts';
import {
  BLOCK,
  deleteVolume,
  findVolume,
  isBlock,
  listVolumes,
  lookAtVolume,
  markVolume,
  type Volume,
  volume,
} from './scaleway-volume.ts';

const PER_PAGE = 100;
const DEFAULTS = { region: 'fr-par-1', size: 'DEV1-S', image: 'debian_bookworm' };
/** In front of the id of a disk that is listed in place of its server. */
const DISK = 'volume-';
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

const server = z.object({
  id: z.string(),
  name: z.string(),
  state: z.string(),
  zone: z.string(),
  /** By their places: the one that was made with it is the first. */
  volumes: z.object({ '0': volume.optional() }).default({}),
  public_ips: z.array(z.object({ address: z.string(), family: z.string().optional() })).optional(),
});
type Server = z.infer<typeof server>;

const STATES: Readonly<Record<string, MachineState>> = {
  stopped: 'starting',
  starting: 'starting',
  running: 'running',
  stopping: 'ending',
  'stopped in place': 'ending',
  locked: 'failed',
};

export function createScaleway(options: ProviderOptions): Provider {
  const { SCW_SECRET_KEY: secret = '', SCW_DEFAULT_PROJECT_ID: project = '' } = options.credentials;
  const rest = restOf(options, {
    provider: 'Scaleway',
    origin: 'https://api.scaleway.com',
    sign: withToken('x-auth-token', secret),
    words: wordsAt('message'),
  });
  return {
    create: async (request) =>
      await orUndone(async (register) => {
        const choice = choose(request, options, DEFAULTS);
        const made = await make(rest, { name: request.name, choice, project, tag: options.tag });
        const id = joinId(made.zone, made.id);
        register(`the server ${id}`, async () => await remove(rest, id, options.sleep));
        const disk = made.volumes['0'];
        const mark = { name: request.name, tag: options.tag };
        if (disk !== undefined) {
          await markVolume(rest, { zone: made.zone, ...disk }, mark, options.sleep);
        }
        await rest.ask('PATCH', `${pathOf(id)}/user_data/cloud-init`, {
          text: request.userData(),
          contentType: 'text/plain',
        });
        await act(rest, id, 'poweron');
        return { ...machineOf(made), state: 'starting' as const };
      }),
    get: async (id) => {
      const [zone, own] = splitId('Scaleway', id);
      if (isDisk(own)) {
        const disk = await findVolume(rest, zone, own.slice(DISK.length));
        return disk === undefined ? undefined : leftoverOf(id, disk.name);
      }
      const found = await find(rest, id);
      return found === undefined ? undefined : machineOf(found);
    },
    list: async () => await list(rest, options.region ?? DEFAULTS.region, options.tag),
    delete: async (id) => await remove(rest, id, options.sleep),
  };
}

async function list(rest: Rest, zone: string, tag: string): Promise<readonly Machine[]> {
  // Before the servers: the disk of one that is made meanwhile would be taken for a leftover.
  const disks = await listVolumes(rest, zone, tag);
  const all: Server[] = [];
  for (let page = 1; ; page += 1) {
    const query = `tags=${encodeURIComponent(tag)}&per_page=${PER_PAGE}&page=${page}`;
    const path = `/instance/v1/zones/${zone}/servers?${query}`;
    const answer = z.object({ servers: z.array(server) });
    const { servers } = await rest.ask('GET', path, { answer });
    all.push(...servers);
    if (servers.length < PER_PAGE) break;
  }
  const used = new Set(all.map(({ volumes }) => volumes['0']?.id));
  const left = disks.filter(({ id }) => !used.has(id));
  return [...all.map(machineOf), ...left.map(({ id, name }) => leftoverOf(diskId(zone, id), name))];
}

function isDisk(own: string): boolean {
  return own.startsWith(DISK);
}

function diskId(zone: string, id: string): string {
  return joinId(zone, `${DISK}${id}`);
}

/** A disk whose server has ended, as a machine that ends. */
function leftoverOf(id: string, name: string): Machine {
  const [region] = splitId('Scaleway', id);
  return { id, name, state: 'ending', region };
}

interface Making {
  readonly name: string;
  readonly choice: Choice;
  readonly project: string;
  readonly tag: string;
}

async function make(rest: Rest, { name, choice, project, tag }: Making): Promise<Server> {
  const { region: zone, size, image } = choice;
  const { server: made } = await orUnheard(
    rest.ask('POST', `/instance/v1/zones/${zone}/servers`, {
      json: {
        name,
        project,
        commercial_type: size,
        image: await findImage(rest, { zone, size, image }),
        dynamic_ip_required: true,
        tags: [tag],
      },
      answer: z.object({ server }),
    }),
  );
  return made;
}

async function act(rest: Rest, id: string, action: 'poweron' | 'terminate'): Promise<void> {
  await rest.ask('POST', `${pathOf(id)}/action`, { json: { action } });
}

async function find(rest: Rest, id: string): Promise<Server | undefined> {
  const asked = rest.ask('GET', pathOf(id), { answer: z.object({ server }) });
  return (await orUndefined(asked))?.server;
}

async function remove(rest: Rest, id: string, sleep: ProviderOptions['sleep']): Promise<void> {
  const [zone, own] = splitId('Scaleway', id);
  if (isDisk(own)) {
    const left = { zone, id: own.slice(DISK.length), volume_type: BLOCK };
    await deleteVolume(rest, left, sleep);
    return;
  }
  let disk: Volume | undefined;
  const attempt = async (): Promise<'stays' | 'goes' | undefined> => {
    const found = await find(rest, id);
    disk = found?.volumes['0'] ?? disk;
    // While the server is there it is found again: without it, nobody would know of its disk.
    if (found !== undefined && disk !== undefined) await lookAtVolume(rest, { zone, ...disk });
    return await end(rest, id, found?.state);
  };
  const what = `the end of ${id}`;
  const localDisk = await untilThere(attempt, { sleep, provider: 'Scaleway', what });
  if (disk === undefined || (localDisk === 'goes' && !isBlock(disk))) return;
  try {
    await deleteVolume(rest, { zone, ...disk }, sleep);
  } catch (why) {
    const left = isBlock(disk) ? diskId(zone, disk.id) : joinId(zone, disk.id);
    throw new LeftBehind(`${id} has ended`, `its disk ${left}`, why);
  }
}

/** What becomes of a local disk; undefined while nothing is accepted, as it starts or stops. */
async function end(
  rest: Rest,
  id: string,
  state: string | undefined,
): Promise<'stays' | 'goes' | undefined> {
  if (state === 'starting' || state === 'stopping') return undefined;
  if (state === 'stopped') {
    await unlessGone(rest.ask('DELETE', pathOf(id)));
    return 'stays';
  }
  if (state !== undefined) await unlessGone(act(rest, id, 'terminate'));
  return 'goes';
}

function pathOf(id: string): string {
  const [zone, uuid] = splitId('Scaleway', id);
  return `/instance/v1/zones/${zone}/servers/${uuid}`;
}

/** Images have another id in each zone and for each kind of machine. */
async function findImage(
  rest: Rest,
  { zone, size, image }: { readonly zone: string; readonly size: string; readonly image: string },
): Promise<string> {
  if (UUID.test(image)) return image;
  const query = `image_label=${encodeURIComponent(image)}&zone=${zone}&type=instance_local`;
  const local = z.object({ id: z.string(), compatible_commercial_types: z.array(z.string()) });
  const answer = z.object({ local_images: z.array(local) });
  const { local_images: found } = await rest.ask('GET', `/marketplace/v2/local-images?${query}`, {
    answer,
  });
  const fit = found.find(({ compatible_commercial_types: types }) => types.includes(size));
  if (fit !== undefined) return fit.id;
  throw new CloudRefusal('Scaleway', 0, `there is no image "${image}" for ${size} in ${zone}`);
}

function machineOf({ id, name, state, zone, public_ips: addresses = [] }: Server): Machine {
  const address = addresses.find(({ family }) => family !== 'inet6')?.address;
  return machineAs(STATES, {
    id: joinId(zone, id),
    name,
    status: state,
    region: zone,
    address,
  });
}
