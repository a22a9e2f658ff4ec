// Ids of machines that are found in their region alone: `fr-par-1/UUID`.
//
// Invariant: what comes out of an id is safe in a path. Must not know: a provider's regions.

import { CloudRefusal } from './provider.ts';

export function joinId(region: string, id: string): string {
  return `${region}/${id}`;
}

export function splitId(provider: string, id: string): readonly [region: string, id: string] {
  const [, region, own] = /^([a-z0-9-]{1,64})\/([A-Za-z0-9-]{1,64})$/.exec(id) ?? [];
  if (region === undefined || own === undefined) {
    throw new CloudRefusal(provider, 0, 'an id is REGION/ID, as exit-node list shows it');
  }
  return [region, own];
}
