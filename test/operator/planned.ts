// What is planned for a tunnel, as tests ask it: a state in, and the client that the API would
// have.

import { clientDeployment } from '../../src/operator/client-deployment.ts';
import type { DeploymentObject, TunnelObject } from '../../src/operator/objects.ts';
import { planTunnel, type TunnelObserved } from '../../src/operator/tunnel-plan.ts';
import { exitNode, NOW, SETTINGS, tunnel } from './objects.ts';

const observed = (over: Partial<TunnelObserved>): TunnelObserved => ({
  ...{ tunnel: tunnel(), exitNodes: [exitNode()], others: [], deployment: undefined },
  ...{ served: 'unknown', settings: SETTINGS, now: NOW },
  externalNames: new Set(),
  ...over,
});
export const plan = (over: Partial<TunnelObserved>) => planTunnel(observed(over));

const TARGET = {
  url: 'wss://203.0.113.7:8123',
  tokenSecret: { name: 'token', key: 'token' },
  caFingerprint: 'sha256:ab',
};

/** The client of a tunnel, as the API would have it. */
export function client(of: TunnelObject, status?: DeploymentObject['status']): DeploymentObject {
  const made = clientDeployment(of, TARGET, SETTINGS);
  const metadata = { ...made.metadata, uid: 'd-1', generation: 1 };
  return {
    ...{ ...made, metadata },
    status: status ?? {
      ...{ observedGeneration: 1, replicas: 1, updatedReplicas: 1, availableReplicas: 1 },
    },
  };
}

export const NAME = client(tunnel()).metadata.name;
