// Goal: EC2 is asked rightly, signed and in its own form. Method: moto, which answers as EC2 does,
// with Debian's images of a region.

import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { z } from 'zod';
import { createEc2 } from '../../src/provision/ec2.ts';
import { Ec2Query } from '../../src/provision/ec2-query.ts';
import { CloudRefusal, type MachineRequest, type Provider } from '../../src/provision/provider.ts';
import { eventually } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { startProcess } from '../support/process.ts';
import { scratchFolder, skipOrFail } from '../support/programs.ts';
import { environment } from '../support/tunnel.ts';
import { startStub } from './cloud-stub.ts';

const MOTO = path.resolve(import.meta.dirname, '../../.cache/moto/bin/moto_server');
const DEBIAN = '136693071363';
const image = (id: string, name: string, date: string) => ({
  ami_id: id,
  name,
  description: name,
  owner_id: DEBIAN,
  public: true,
  virtualization_type: 'hvm',
  architecture: 'x86_64',
  state: 'available',
  platform: '',
  image_type: 'machine',
  hypervisor: 'xen',
  root_device_name: '/dev/xvda',
  root_device_type: 'ebs',
  sriov: 'simple',
  creation_date: date,
});
const NEWEST = 'ami-0000000000000002';
const IMAGES = [
  image('ami-0000000000000001', 'debian-12-amd64-20250101-1', '2025-01-01T00:00:00.000Z'),
  image(NEWEST, 'debian-12-amd64-20260601-2', '2026-06-01T00:00:00.000Z'),
  image('ami-0000000000000003', 'debian-11-amd64-20260701-2', '2026-07-01T00:00:00.000Z'),
];

const REQUEST: MachineRequest = {
  name: 'edge-1',
  userData: () => '#cloud-config\n{}\n',
  ports: [
    { first: 80, last: 80, protocol: 'tcp' },
    { first: 1024, last: 65_535, protocol: 'tcp' },
    { first: 5353, last: 5353, protocol: 'udp' },
  ],
};

interface Ec2 {
  readonly url: string;
  readonly provider: Provider;
}

async function startMoto(t: TestContext): Promise<Ec2 | undefined> {
  if (!existsSync(MOTO)) {
    skipOrFail(t, 'not installed: moto[server,ec2] of PyPI, in .cache/moto (see .ci/run)');
    return undefined;
  }
  const folder = scratchFolder(t);
  const amis = path.join(folder, 'amis.json');
  writeFileSync(amis, JSON.stringify(IMAGES));
  const port = await freePort();
  const python = path.join(path.dirname(MOTO), 'python');
  const env = environment({ MOTO_AMIS_PATH: amis, MOTO_ENABLE_AMI_VALIDATION: 'true' });
  startProcess(t, {
    name: 'moto',
    command: python,
    args: [MOTO, '-H', '127.0.0.1', '-p', String(port)],
    env,
  });
  const url = `http://127.0.0.1:${port}`;
  await eventually(60_000, 'moto answers', async () => {
    assert.ok((await fetch(`${url}/moto-api/`)).ok);
  });
  return { url, provider: providerAt(url) };
}

function providerAt(endpoint: string): Provider {
  return createEc2({
    credentials: { AWS_ACCESS_KEY_ID: 'key', AWS_SECRET_ACCESS_KEY: 'ec2-secret' },
    tag: 'sluiceway-exit-node',
    endpoint,
    sleep: async () => {},
  });
}

function queryAt(endpoint: string): Ec2Query {
  const credentials = { AWS_ACCESS_KEY_ID: 'key', AWS_SECRET_ACCESS_KEY: 'ec2-secret' };
  return new Ec2Query('eu-central-1', { credentials, tag: '', endpoint, sleep: async () => {} });
}

/** Ports of the groups that are ours. */
async function groupsAt(endpoint: string): Promise<readonly (readonly string[])[]> {
  const rule = z.object({ ipProtocol: z.string(), fromPort: z.string(), toPort: z.string() });
  const group = z.object({ groupName: z.string(), ipPermissions: z.array(rule).default([]) });
  const answer = z.object({ securityGroupInfo: z.array(group) });
  const { securityGroupInfo: all } = await queryAt(endpoint).ask(
    'DescribeSecurityGroups',
    {},
    answer,
  );
  const ours = all.filter(({ groupName }) => groupName.startsWith('sluiceway-'));
  return ours.map(({ ipPermissions }) =>
    ipPermissions
      .map(({ ipProtocol, fromPort, toPort }) => `${ipProtocol} ${fromPort}-${toPort}`)
      .sort(),
  );
}

async function instanceAt(endpoint: string, id: string) {
  const one = z.object({ imageId: z.string(), instanceType: z.string() });
  const reservation = z.object({ instancesSet: z.array(one) });
  const answer = z.object({ reservationSet: z.array(reservation) });
  const own = { 'InstanceId.1': id.replace('eu-central-1/', '') };
  const found = await queryAt(endpoint).ask('DescribeInstances', own, answer);
  return found.reservationSet[0]?.instancesSet[0];
}

async function userDataOf(endpoint: string, id: string): Promise<string> {
  const answer = z.object({ userData: z.object({ value: z.string() }) });
  const { userData } = await queryAt(endpoint).ask(
    'DescribeInstanceAttribute',
    { InstanceId: id.replace('eu-central-1/', ''), Attribute: 'userData' },
    answer,
  );
  return Buffer.from(userData.value, 'base64').toString('utf8');
}

test('an instance is made of the newest image, found, listed and ended with its group', async (t) => {
  const moto = await startMoto(t);
  if (moto === undefined) return;
  const { url, provider } = moto;
  const made = await provider.create(REQUEST);
  assert.match(made.id, /^eu-central-1\/i-[0-9a-f]+$/u);
  const up = await provider.get(made.id);
  assert.deepEqual([up?.name, up?.state, up?.region], ['edge-1', 'running', 'eu-central-1']);
  assert.match(up?.address ?? '', /^\d+\.\d+\.\d+\.\d+$/u);
  assert.deepEqual(await instanceAt(url, made.id), { imageId: NEWEST, instanceType: 't3.micro' });
  assert.equal(await userDataOf(url, made.id), REQUEST.userData());
  assert.deepEqual(await groupsAt(url), [['tcp 1024-65535', 'tcp 80-80', 'udp 5353-5353']]);
  assert.deepEqual(
    (await provider.list()).map(({ id }) => id),
    [made.id],
  );
  await provider.delete(made.id);
  assert.equal(await provider.get(made.id), undefined);
  assert.deepEqual(await provider.list(), []);
  assert.deepEqual(await groupsAt(url), []);
  await provider.delete(made.id);
});

test('what EC2 refuses is said in its words, and the group is gone', async (t) => {
  const moto = await startMoto(t);
  if (moto === undefined) return;
  const { url, provider } = moto;
  await assert.rejects(
    provider.create({ ...REQUEST, image: 'ami-00000000000000ff' }),
    (error) => error instanceof CloudRefusal && /InvalidAMIID/u.test(error.message),
  );
  assert.deepEqual(await groupsAt(url), []);
  await provider.create(REQUEST);
  await assert.rejects(provider.create(REQUEST), /InvalidGroup\.Duplicate/u);
  assert.equal((await provider.list()).length, 1, 'the first one is not touched');
  await assert.rejects(provider.get('i-1'), /an id is REGION\/ID/u);
});

test('each request is signed for its region, and a session has its token', async (t) => {
  const seen: string[] = [];
  const stub = await startStub(t, {
    answer: (asked) => {
      seen.push(`${asked.headers.authorization} ${asked.headers['x-amz-security-token']}`);
      return { status: 200, json: {} };
    },
    left: () => [],
    boot: () => {},
    refuse: () => {},
    userData: () => '',
  });
  const provider = createEc2({
    credentials: {
      AWS_ACCESS_KEY_ID: 'key',
      AWS_SECRET_ACCESS_KEY: 'ec2-secret',
      AWS_SESSION_TOKEN: 'session',
    },
    region: 'us-west-2',
    tag: 'x',
    endpoint: stub.url,
    sleep: async () => {},
  });
  // JSON is no answer of EC2's.
  await assert.rejects(provider.list(), CloudRefusal);
  assert.match(
    seen[0] ?? '',
    /^AWS4-HMAC-SHA256 Credential=key\/\d{8}\/us-west-2\/ec2\/aws4_request, /u,
  );
  assert.match(seen[0] ?? '', / session$/u);
  assert.ok(!seen.join().includes('ec2-secret'));
});
