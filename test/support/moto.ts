// EC2's API on loopback, by moto, with Debian's images of a region.
//
// Invariant: it ends with the test, and what it held is gone. Must not know: what is asked of it.

import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { eventually } from './deadline.ts';
import { freePort } from './free-port.ts';
import { startProcess } from './process.ts';
import { scratchFolder, skipOrFail } from './programs.ts';
import { environment } from './tunnel.ts';

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
export const NEWEST = 'ami-0000000000000002';
const IMAGES = [
  image('ami-0000000000000001', 'debian-12-amd64-20250101-1', '2025-01-01T00:00:00.000Z'),
  image(NEWEST, 'debian-12-amd64-20260601-2', '2026-06-01T00:00:00.000Z'),
  image('ami-0000000000000003', 'debian-11-amd64-20260701-2', '2026-07-01T00:00:00.000Z'),
];

/** Its URL; undefined: skipped, with the reason. */
export async function startMoto(t: TestContext): Promise<string | undefined> {
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
  return url;
}
