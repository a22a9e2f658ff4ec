// The definition of a Tunnel holds its allow list to the bounds of the client.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { TUNNEL_NETWORKS_MAX } from '../../src/base/tunnel-options.ts';

test('the definition has the bound of the client', () => {
  const text = readFileSync(new URL('../../docker/operator/crds.yaml', import.meta.url), 'utf8');
  const found = parseAllDocuments(text).flatMap((document) =>
    [...JSON.stringify(document.toJS()).matchAll(/"allowIps":(\{.*?"items")/gu)].map(
      ([, fields = '']) => JSON.parse(`${fields}:0}`) as { minItems: number; maxItems: number },
    ),
  );
  assert.deepEqual(
    found.map(({ minItems, maxItems }) => [minItems, maxItems]),
    [[1, TUNNEL_NETWORKS_MAX]],
  );
});
