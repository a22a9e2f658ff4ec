// The link between client and server over real loopback sockets with the real handshake: both
// roles, every way of masking, plain and TLS.

import type { TestContext } from 'node:test';
import { type MaskKey, WsLink } from '../../src/link/ws-link.ts';
import { type LinkPair, testLink } from '../compliance/link-suite.ts';
import { createUpgradedPair } from './ws-pair.ts';

interface Variant {
  readonly mask: MaskKey;
  readonly isTls: boolean;
  readonly near: 'client' | 'server';
}

async function createPair(t: TestContext, { mask, isTls, near }: Variant): Promise<LinkPair> {
  const pair = await createUpgradedPair(t, isTls);
  const client = new WsLink({ ...pair.client, mask });
  const server = new WsLink({ ...pair.server, mask: 'none' });
  return near === 'client' ? { near: client, far: server } : { near: server, far: client };
}

const VARIANTS: readonly Variant[] = [
  { mask: 'zero', isTls: false, near: 'client' },
  { mask: 'random', isTls: false, near: 'client' },
  { mask: 'random', isTls: false, near: 'server' },
  { mask: 'zero', isTls: true, near: 'client' },
  { mask: 'zero', isTls: true, near: 'server' },
];

for (const variant of VARIANTS) {
  const { mask, isTls, near } = variant;
  testLink({
    name: `${isTls ? 'wss' : 'ws'}, ${near} to ${near === 'client' ? 'server' : 'client'}, ${mask} key`,
    goodbye: 'SLW_LINK_ENDED',
    createPair: (t) => createPair(t, variant),
  });
}
