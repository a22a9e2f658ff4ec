// Goal: EC2 is asked rightly, signed and in its own form. Method: moto, which answers as EC2 does,
// with Debian's images of a region.

import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { z } from 'zod';
import { SluicewayError } from '../../src/base/errors.ts';
import { createEc2 } from '../../src/provision/ec2.ts';
import { Ec2Query } from '../../src/provision/ec2-query.ts';
import { createExitNode } from '../../src/provision/exit-node.ts';
import { CloudRefusal, type MachineRequest, type Provider } from '../../src/provision/provider.ts';
import { orUnheard } from '../../src/provision/rest.ts';
import { undoAfter } from '../support/cleanup.ts';
import { startCloudRelay } from '../support/cloud-relay.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { NEWEST, startMoto } from '../support/moto.ts';
import { startStub } from './cloud-stub.ts';

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

async function startEc2(t: TestContext): Promise<Ec2 | undefined> {
  const url = await startMoto(t);
  return url === undefined ? undefined : { url, provider: providerAt(url) };
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
  const moto = await startEc2(t);
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
  const moto = await startEc2(t);
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

test('the group of an instance that never was is listed as one that ends, and deleted', async (t) => {
  const moto = await startEc2(t);
  if (moto === undefined) return;
  const { url, provider } = moto;
  const { id } = await provider.create(REQUEST);
  for (const [name, tag] of [
    ['sluiceway-edge-2', 'sluiceway-exit-node'],
    ['sluiceway-edge-3', 'sluiceway-operator'],
    ['edge-4', 'sluiceway-exit-node'],
  ]) {
    await queryAt(url).ask('CreateSecurityGroup', {
      ...{ GroupName: name ?? '', GroupDescription: 'left behind' },
      'TagSpecification.1.ResourceType': 'security-group',
      'TagSpecification.1.Tag.1.Key': 'sluiceway',
      'TagSpecification.1.Tag.1.Value': tag ?? '',
    });
  }
  const [one, left, ...others] = await provider.list();
  assert.deepEqual([one?.id, one?.state, others], [id, 'running', []]);
  assert.deepEqual([left?.name, left?.state], ['edge-2', 'ending']);
  assert.match(left?.id ?? '', /^eu-central-1\/sg-[0-9a-f]+$/u);
  assert.deepEqual(await provider.get(left?.id ?? ''), left);
  await provider.delete(left?.id ?? '');
  await provider.delete(left?.id ?? '');
  assert.equal(await provider.get(left?.id ?? ''), undefined);
  assert.deepEqual(
    (await provider.list()).map((machine) => machine.name),
    ['edge-1'],
  );
  assert.equal((await groupsAt(url)).length, 2, 'those of others stay');
});

test('whatever is made and not answered rightly is found and removed', async (t) => {
  const moto = await startEc2(t);
  if (moto === undefined) return;
  for (const action of ['CreateSecurityGroup', 'RunInstances']) {
    for (const fault of ['lose', 'rewrite'] as const) {
      const relay = await startCloudRelay(t, moto.url);
      const isIt = (text: string): boolean => text.includes(action);
      if (fault === 'lose') relay.decide = ({ body }) => (isIt(body) ? 'lose' : 'pass');
      else relay.rewrite = (body) => (isIt(body) ? '<Proxy/>' : body);
      const making = createExitNode({
        ...{ provider: providerAt(relay.url), request: REQUEST, clock: new FakeClock() },
        ...{ deadlineMs: 60_000, signal: new AbortController().signal },
        sleep: async () => {},
        reach: async () => assert.fail('it is not asked'),
        onProgress: () => {},
      });
      await assert.rejects(making, SluicewayError, `${action} ${fault}`);
      assert.deepEqual(await moto.provider.list(), [], `${action} ${fault}`);
      assert.deepEqual(await groupsAt(moto.url), [], `${action} ${fault}`);
    }
  }
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

/** An EC2 that answers with each of `codes` first, 503 as for all that it cannot do now. */
async function startBusy(t: TestContext, codes: readonly string[]) {
  const actions: string[] = [];
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const form = new URLSearchParams(await text(request));
    actions.push(form.get('Action') ?? '');
    const code = codes[actions.length - 1];
    const fault = `<Response><Errors><Error><Code>${code}</Code><Message>no</Message></Error></Errors></Response>`;
    response.writeHead(code === undefined ? 200 : 503).end(code === undefined ? '<A/>' : fault);
  };
  const server = createServer((request, response) => void answer(request, response));
  undoAfter(t, () => void server.close());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return { query: queryAt(`http://127.0.0.1:${port}`), actions };
}

test('what only looks is asked again, though it is a POST', async (t) => {
  const { query, actions } = await startBusy(t, ['InternalError', 'Unavailable']);
  await query.ask('DescribeInstances', {});
  assert.equal(actions.length, 3);
});

test('what makes something is asked again for asking too often alone', async (t) => {
  const often = await startBusy(t, ['RequestLimitExceeded', 'Throttling']);
  await often.query.ask('RunInstances', {});
  assert.equal(often.actions.length, 3);
  const fault = await startBusy(t, ['InternalError']);
  await assert.rejects(fault.query.ask('RunInstances', {}), /no \(InternalError\)/u);
  assert.equal(fault.actions.length, 1);
});

test('what was refused for asking too often was not done', async (t) => {
  const { query } = await startBusy(
    t,
    Array.from({ length: 9 }, () => 'RequestLimitExceeded'),
  );
  const made = orUnheard(query.ask('RunInstances', {}));
  await assert.rejects(made, (error) => error instanceof CloudRefusal && error.answered === 429);
});
