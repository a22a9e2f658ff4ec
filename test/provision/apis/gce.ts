// Google Compute Engine, as cloud.google.com/compute/docs/reference/rest/v1 has it: instances,
// firewalls, operations; and the token endpoint of OAuth 2 for service accounts.
//
// Invariant: assertions are verified with the public key; the schema of a request names the fields
// that we may send, with the forms that the reference gives. Must not know: who asks.

import assert from 'node:assert/strict';
import { generateKeyPairSync, verify } from 'node:crypto';
import { z } from 'zod';
import { type Answer, type Asked, type CloudApi, readBody, STUB_ADDRESS } from '../cloud-stub.ts';

const pair = generateKeyPairSync('rsa', { modulusLength: 2048 });
const ACCESS = 'google-access-token';
const PROJECT = 'project-1';

/** The text of the file that GOOGLE_APPLICATION_CREDENTIALS names. */
export const KEY_FILE = JSON.stringify({
  type: 'service_account',
  project_id: PROJECT,
  private_key_id: 'x',
  private_key: pair.privateKey.export({ type: 'pkcs8', format: 'pem' }),
  client_email: 'sluiceway@project-1.iam.gserviceaccount.com',
});

const RFC1035 = /^[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?$/u;
const firewall = z.strictObject({
  name: z.string().regex(RFC1035),
  description: z.string().optional(),
  network: z.string(),
  direction: z.enum(['INGRESS', 'EGRESS']),
  sourceRanges: z.array(z.cidrv4()),
  targetTags: z.array(z.string().regex(RFC1035)),
  allowed: z.array(
    z.strictObject({
      IPProtocol: z.string(),
      ports: z.array(z.string().regex(/^\d+(?:-\d+)?$/u)),
    }),
  ),
});
const instance = z.strictObject({
  name: z.string().regex(RFC1035),
  machineType: z.string().regex(/^zones\/[a-z0-9-]+\/machineTypes\/[a-z0-9-]+$/u),
  labels: z.record(z.string().regex(/^[a-z][a-z0-9_-]*$/u), z.string().regex(/^[a-z0-9_-]*$/u)),
  tags: z.strictObject({ items: z.array(z.string().regex(RFC1035)) }),
  disks: z.array(
    z.strictObject({
      boot: z.boolean(),
      autoDelete: z.boolean(),
      initializeParams: z.strictObject({ sourceImage: z.string(), diskSizeGb: z.string() }),
    }),
  ),
  networkInterfaces: z.array(
    z.strictObject({
      network: z.string(),
      accessConfigs: z.array(
        z.strictObject({ type: z.literal('ONE_TO_ONE_NAT'), name: z.string() }),
      ),
    }),
  ),
  metadata: z.strictObject({
    items: z.array(z.strictObject({ key: z.string(), value: z.string().max(262_144) })),
  }),
});
interface Kept {
  readonly create: z.infer<typeof instance>;
  isUp: boolean;
}

const show = ({ create: body, isUp }: Kept, zone: string) => ({
  kind: 'compute#instance',
  id: '123',
  name: body.name,
  status: isUp ? 'RUNNING' : 'PROVISIONING',
  zone: `https://www.googleapis.com/compute/v1/projects/${PROJECT}/zones/${zone}`,
  labels: body.labels,
  networkInterfaces: [
    { accessConfigs: [{ name: 'External NAT', ...(isUp ? { natIP: STUB_ADDRESS } : {}) }] },
  ],
});

class GceApi implements CloudApi {
  readonly #machines = new Map<string, Kept>();
  /** Descriptions, by name. */
  readonly #rules = new Map<string, string>();
  readonly #operations = new Map<string, { error?: string; polls: number }>();
  #isRefusing = false;

  #begin(error?: string): Answer {
    const name = `operation-${this.#operations.size}`;
    this.#operations.set(name, { polls: 0, ...(error === undefined ? {} : { error }) });
    return { status: 200, json: { kind: 'compute#operation', name, status: 'PENDING' } };
  }

  #poll(name: string): Answer {
    const one = this.#operations.get(name);
    assert.ok(one !== undefined);
    one.polls += 1;
    if (one.polls < 2) return { status: 200, json: { name, status: 'RUNNING' } };
    const error = { errors: [{ code: 'QUOTA_EXCEEDED', message: one.error }] };
    return {
      status: 200,
      json: { name, status: 'DONE', ...(one.error === undefined ? {} : { error }) },
    };
  }

  #onInstances(asked: Asked, zone: string, name: string): Answer | undefined {
    const one = this.#machines.get(name);
    if (asked.method === 'POST') {
      const body = readBody(asked, instance);
      const isForeign = body.tags.items.some((tag) => !this.#rules.has(tag));
      assert.ok(!isForeign, 'the rule is there before its machine');
      if (this.#isRefusing)
        return this.#begin("Quota 'CPUS' exceeded. Limit: 8.0 in region europe-west3.");
      this.#machines.set(body.name, { create: body, isUp: false });
      return this.#begin();
    }
    if (one === undefined) return undefined;
    if (asked.method === 'GET') return { status: 200, json: show(one, zone) };
    this.#machines.delete(name);
    return this.#begin();
  }

  answer(asked: Asked): Answer | undefined {
    const { method, path, query } = asked;
    if (path === '/token') return giveToken(asked);
    if (asked.headers.authorization !== `Bearer ${ACCESS}`) {
      return { status: 401, json: { error: { code: 401, message: 'Invalid Credentials' } } };
    }
    const local = path.slice(`/compute/v1/projects/${PROJECT}`.length);
    const [, operation] = /\/operations\/([\w-]+)$/u.exec(local) ?? [];
    if (operation !== undefined) return this.#poll(operation);
    if (local === '/aggregated/instances') {
      const [, label = '', value = ''] =
        /^labels\.(\w+)=(.+)$/u.exec(query.get('filter') ?? '') ?? [];
      const ours = [...this.#machines.values()].filter(
        ({ create: { labels } }) => labels[label] === value,
      );
      const instances = ours.map((one) => show(one, 'europe-west3-a'));
      const items = { 'zones/europe-west3-a': { instances }, 'zones/us-east1-b': { warning: {} } };
      return { status: 200, json: { items } };
    }
    const [, zone = '', name = ''] = /^\/zones\/([\w-]+)\/instances\/?([\w-]*)$/u.exec(local) ?? [];
    if (zone !== '') return this.#onInstances(asked, zone, name);
    if (local === '/global/firewalls' && method === 'POST') {
      const { name: rule, description = '' } = readBody(asked, firewall);
      this.#rules.set(rule, description);
      return this.#begin();
    }
    if (local === '/global/firewalls') {
      const foreign = { name: 'default-allow-ssh', description: 'Allow SSH from anywhere' };
      const own = [...this.#rules].map(([rule, description]) => ({ name: rule, description }));
      return { status: 200, json: { kind: 'compute#firewallList', items: [foreign, ...own] } };
    }
    if (!this.#rules.delete(local.slice('/global/firewalls/'.length))) return undefined;
    return this.#begin();
  }

  left(): readonly string[] {
    return [...this.#machines.keys(), ...this.#rules.keys()];
  }

  boot(): void {
    for (const one of this.#machines.values()) one.isUp = true;
  }

  refuse(): void {
    this.#isRefusing = true;
  }

  userData(): string {
    return [...this.#machines.values()].at(-1)?.create.metadata.items[0]?.value ?? '';
  }
}

export function gceApi(): CloudApi {
  return new GceApi();
}

function giveToken({ body }: Asked): Answer {
  const form = new URLSearchParams(body);
  assert.equal(form.get('grant_type'), 'urn:ietf:params:oauth:grant-type:jwt-bearer');
  const [head = '', claims = '', signature = ''] = (form.get('assertion') ?? '').split('.');
  const text = Buffer.from(`${head}.${claims}`);
  if (!verify('sha256', text, pair.publicKey, Buffer.from(signature, 'base64url'))) {
    const json = { error: 'invalid_grant', error_description: 'Invalid JWT Signature.' };
    return { status: 400, json };
  }
  const read = JSON.parse(Buffer.from(claims, 'base64url').toString('utf8'));
  assert.equal(read.aud, 'https://oauth2.googleapis.com/token');
  assert.equal(read.exp - read.iat, 3600);
  assert.match(read.scope, /\/auth\/compute$/u);
  const json = { access_token: ACCESS, expires_in: 3599, token_type: 'Bearer' };
  return { status: 200, json };
}
