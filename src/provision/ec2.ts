// Amazon EC2: one instance and a security group (docs.aws.amazon.com/AWSEC2/latest/APIReference).
//
//   create: group in the default network ──▶ its ports ──▶ instance; all removed when one fails
//
// Invariant: both carry the tag, and a group is found by its instance, or is listed as a machine
// that ends when it has none; the metadata of an instance is had by a session alone. Must not know:
// what runs on an instance.

import { z } from 'zod';
import type { OpenPorts } from '../base/target.ts';
import { Ec2Query, type Parameters } from './ec2-query.ts';
import { orUndone, untilThere } from './making.ts';
import {
  CloudRefusal,
  type Machine,
  type MachineRequest,
  type MachineState,
  type Provider,
  type ProviderOptions,
} from './provider.ts';
import { joinId, splitId } from './regional-id.ts';
import { orUnheard } from './rest.ts';

const TAG = 'sluiceway';
const DEFAULTS = { region: 'eu-central-1', size: 't3.micro' };
/** Debian's own account (wiki.debian.org/Cloud/AmazonEC2Image). */
const DEBIAN = { owner: '136693071363', name: 'debian-12-amd64-*' };
type Sleep = ProviderOptions['sleep'];
const METADATA = 'http://169.254.169.254/latest';

const instance = z.object({
  instanceId: z.string(),
  instanceState: z.object({ name: z.string() }),
  ipAddress: z.string().optional(),
  tagSet: z.array(z.object({ key: z.string(), value: z.string() })).default([]),
  groupSet: z.array(z.object({ groupId: z.string(), groupName: z.string() })).default([]),
});
type Instance = z.infer<typeof instance>;
const groups = z.object({
  securityGroupInfo: z.array(z.object({ groupId: z.string(), groupName: z.string() })).default([]),
  nextToken: z.string().optional(),
});
type Group = z.infer<typeof groups>['securityGroupInfo'][number];
const reservations = z.object({
  reservationSet: z.array(z.object({ instancesSet: z.array(instance).default([]) })).default([]),
  nextToken: z.string().optional(),
});

const STATES: Readonly<Record<string, MachineState>> = {
  pending: 'starting',
  running: 'running',
  'shutting-down': 'ending',
  stopping: 'ending',
  stopped: 'ending',
  terminated: 'ending',
};

export function createEc2(options: ProviderOptions): Provider {
  const ec2 = new Ec2(options);
  return {
    addressCommand:
      `curl -fsS -H "X-aws-ec2-metadata-token: $(curl -fsS -X PUT ${METADATA}/api/token ` +
      `-H 'X-aws-ec2-metadata-token-ttl-seconds: 60')" ${METADATA}/meta-data/public-ipv4`,
    create: async (request) => await ec2.create(request),
    get: async (id) => await ec2.get(id),
    list: async () => await ec2.list(),
    delete: async (id) => await ec2.delete(id),
  };
}

class Ec2 {
  readonly #options: ProviderOptions;
  readonly #queries = new Map<string, Ec2Query>();

  constructor(options: ProviderOptions) {
    this.#options = options;
  }

  async create(request: MachineRequest): Promise<Machine> {
    const region = request.region ?? this.#options.region ?? DEFAULTS.region;
    const query = this.#in(region);
    const image = request.image ?? (await findImage(query));
    return await orUndone(async (register) => {
      const groupId = await this.#makeGroup(query, request);
      register(
        `the security group ${groupId}`,
        async () => await deleteGroup(query, groupId, this.#options.sleep),
      );
      await query.ask('AuthorizeSecurityGroupIngress', {
        GroupId: groupId,
        ...rulesOf(request.ports),
      });
      const answer = z.object({ instancesSet: z.array(instance).min(1) });
      const made = await orUnheard(
        query.ask('RunInstances', this.#instanceOf(request, { image, groupId }), answer),
      );
      return machineOf(made.instancesSet[0] as Instance, region);
    });
  }

  #instanceOf(
    { name, size, userData }: MachineRequest,
    { image, groupId }: { readonly image: string; readonly groupId: string },
  ): Parameters {
    return {
      ImageId: image,
      InstanceType: size ?? DEFAULTS.size,
      MinCount: '1',
      MaxCount: '1',
      UserData: Buffer.from(userData()).toString('base64'),
      'SecurityGroupId.1': groupId,
      'MetadataOptions.HttpTokens': 'required',
      ...this.#tagsOf('instance', name),
    };
  }

  async #makeGroup(query: Ec2Query, { name }: MachineRequest): Promise<string> {
    const vpcs = z.object({ vpcSet: z.array(z.object({ vpcId: z.string() })).default([]) });
    const filter = { 'Filter.1.Name': 'is-default', 'Filter.1.Value.1': 'true' };
    const [vpc] = (await query.ask('DescribeVpcs', filter, vpcs)).vpcSet;
    if (vpc === undefined) {
      throw new CloudRefusal('EC2', 0, 'the region has no default VPC; make one, or use another');
    }
    const parameters = {
      GroupName: `${TAG}-${name}`,
      GroupDescription: `sluiceway exit node ${name}`,
      VpcId: vpc.vpcId,
      ...this.#tagsOf('security-group', name),
    };
    const answer = z.object({ groupId: z.string() });
    const made = await orUnheard(query.ask('CreateSecurityGroup', parameters, answer));
    return made.groupId;
  }

  #tagsOf(type: string, name: string): Parameters {
    return {
      'TagSpecification.1.ResourceType': type,
      'TagSpecification.1.Tag.1.Key': TAG,
      'TagSpecification.1.Tag.1.Value': this.#options.tag,
      'TagSpecification.1.Tag.2.Key': 'Name',
      'TagSpecification.1.Tag.2.Value': name,
    };
  }

  async get(id: string): Promise<Machine | undefined> {
    const [region, own] = splitId('EC2', id);
    if (isGroup(own)) {
      const group = (await this.#groups(region)).find(({ groupId }) => groupId === own);
      return group === undefined ? undefined : leftoverOf(group, region);
    }
    const found = await find(this.#in(region), own);
    return found === undefined ? undefined : machineOf(found, region);
  }

  async list(): Promise<readonly Machine[]> {
    const region = this.#options.region ?? DEFAULTS.region;
    // Before the instances: the group of one that is made meanwhile would be taken for a leftover.
    const own = await this.#groups(region);
    const all: Instance[] = [];
    await this.#pages(region, 'DescribeInstances', reservations, ({ reservationSet }) => {
      const instances = reservationSet.flatMap(({ instancesSet }) => instancesSet);
      all.push(...instances.filter(({ instanceState: { name } }) => name !== 'terminated'));
    });
    const used = new Set(all.flatMap(({ groupSet }) => groupSet.map(({ groupId }) => groupId)));
    return [
      ...all.map((one) => machineOf(one, region)),
      ...own.filter(({ groupId }) => !used.has(groupId)).map((one) => leftoverOf(one, region)),
    ];
  }

  async #groups(region: string): Promise<readonly Group[]> {
    const all: Group[] = [];
    await this.#pages(region, 'DescribeSecurityGroups', groups, ({ securityGroupInfo }) => {
      all.push(...securityGroupInfo.filter(({ groupName }) => groupName.startsWith(`${TAG}-`)));
    });
    return all;
  }

  /** All that have the tag. */
  async #pages<T extends { readonly nextToken?: string | undefined }>(
    region: string,
    action: string,
    answer: z.ZodType<T>,
    onPage: (page: T) => void,
  ): Promise<void> {
    for (let token: string | undefined; ; ) {
      const parameters = {
        'Filter.1.Name': `tag:${TAG}`,
        'Filter.1.Value.1': this.#options.tag,
        ...(token === undefined ? {} : { NextToken: token }),
      };
      const page = await this.#in(region).ask(action, parameters, answer);
      onPage(page);
      token = page.nextToken;
      if (token === undefined) return;
    }
  }

  /** A group is not deleted while its instance still ends, some half a minute. */
  async delete(id: string): Promise<void> {
    const [region, own] = splitId('EC2', id);
    const query = this.#in(region);
    if (isGroup(own)) {
      await deleteGroup(query, own, this.#options.sleep);
      return;
    }
    const found = await find(query, own);
    if (found === undefined) return;
    await query.ask('TerminateInstances', { 'InstanceId.1': own });
    await untilThere(async () => ((await find(query, own)) === undefined ? true : undefined), {
      sleep: this.#options.sleep,
      provider: 'EC2',
      what: `the end of ${own}`,
    });
    const ours = found.groupSet.filter(({ groupName }) => groupName.startsWith(`${TAG}-`));
    for (const { groupId } of ours) await deleteGroup(query, groupId, this.#options.sleep);
  }

  #in(region: string): Ec2Query {
    let query = this.#queries.get(region);
    if (query === undefined) {
      query = new Ec2Query(region, this.#options);
      this.#queries.set(region, query);
    }
    return query;
  }
}

function isGroup(id: string): boolean {
  return id.startsWith('sg-');
}

function leftoverOf({ groupId, groupName }: Group, region: string): Machine {
  const name = groupName.slice(TAG.length + 1);
  return { id: joinId(region, groupId), name, state: 'ending', region };
}

/** Undefined when it is gone, which an instance still tells for an hour. */
async function find(query: Ec2Query, id: string): Promise<Instance | undefined> {
  try {
    const found = await query.ask('DescribeInstances', { 'InstanceId.1': id }, reservations);
    const [one] = found.reservationSet.flatMap(({ instancesSet }) => instancesSet);
    return one?.instanceState.name === 'terminated' ? undefined : one;
  } catch (error) {
    if (query.isCode(error, 'InvalidInstanceID.NotFound')) return undefined;
    throw error;
  }
}

/** What an ended instance held on to is let go some seconds later. */
async function deleteGroup(query: Ec2Query, groupId: string, sleep: Sleep): Promise<void> {
  const attempt = async (): Promise<true | undefined> => {
    try {
      await query.ask('DeleteSecurityGroup', { GroupId: groupId });
    } catch (error) {
      if (query.isCode(error, 'DependencyViolation')) return undefined;
      if (!query.isCode(error, 'InvalidGroup.NotFound')) throw error;
    }
    return true;
  };
  await untilThere(attempt, { sleep, provider: 'EC2', what: `the end of ${groupId}` });
}

async function findImage(query: Ec2Query): Promise<string> {
  const image = z.object({ imageId: z.string(), creationDate: z.string().default('') });
  const { imagesSet } = await query.ask(
    'DescribeImages',
    {
      'Owner.1': DEBIAN.owner,
      'Filter.1.Name': 'name',
      'Filter.1.Value.1': DEBIAN.name,
      'Filter.2.Name': 'state',
      'Filter.2.Value.1': 'available',
    },
    z.object({ imagesSet: z.array(image).default([]) }),
  );
  const newest = imagesSet.toSorted((a, b) => b.creationDate.localeCompare(a.creationDate))[0];
  if (newest !== undefined) return newest.imageId;
  throw new CloudRefusal('EC2', 0, 'Debian has no image in this region; give --image ami-…');
}

function rulesOf(ports: readonly OpenPorts[]): Parameters {
  const rules: Record<string, string> = {};
  for (const [index, { first, last, protocol }] of ports.entries()) {
    const rule = `IpPermissions.${index + 1}`;
    rules[`${rule}.IpProtocol`] = protocol;
    rules[`${rule}.FromPort`] = String(first);
    rules[`${rule}.ToPort`] = String(last);
    rules[`${rule}.IpRanges.1.CidrIp`] = '0.0.0.0/0';
  }
  return rules;
}

function machineOf(one: Instance, region: string): Machine {
  const name = one.tagSet.find(({ key }) => key === 'Name')?.value ?? one.instanceId;
  return {
    id: joinId(region, one.instanceId),
    name,
    state: STATES[one.instanceState.name] ?? 'failed',
    region,
    ...(one.ipAddress === undefined ? {} : { address: one.ipAddress }),
  };
}
