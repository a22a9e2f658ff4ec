// Goal: no list of a cluster's object lets in more than it says, and none is taken that the client
// would not start with. Method: lists in, and the definition held to the client's bounds.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { TUNNEL_NETWORKS_MAX } from '../../src/base/tunnel-options.ts';
import { allowListProblem } from '../../src/operator/allow-list.ts';
import { readBalancer } from '../../src/operator/balancer-reading.ts';
import { SETTINGS, service } from './objects.ts';

const some = (count: number): string[] => Array.from({ length: count }, (_, at) => `192.0.2.${at}`);

test('a list is right as its client takes it, and a problem names its field', () => {
  for (const list of [undefined, ['192.0.2.1'], ['10.0.0.0/8', '2001:db8::/32'], some(64)]) {
    assert.equal(allowListProblem('spec.allowIps', list), undefined);
  }
  const wrong: readonly (readonly [string[], RegExp])[] = [
    [[], /^spec\.allowIps is empty, and nobody would be kept out; /u],
    [some(65), /^spec\.allowIps: 65 networks are too many; give at most 64$/u],
    [['10.0.0.1/8'], /^spec\.allowIps: '10\.0\.0\.1\/8' has bits set behind the prefix; /u],
    [['192.0.2.1', 'office'], /^spec\.allowIps: 'office' is not a network; /u],
    [['x'.repeat(300)], /^spec\.allowIps: 'x{64}' is not/u],
  ];
  for (const [list, problem] of wrong) {
    assert.match(allowListProblem('spec.allowIps', list) ?? '', problem);
  }
});

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

test('ranges of a Service that its tunnel could not have are told at the Service', () => {
  for (const [ranges, message] of [
    [some(65), /^spec\.loadBalancerSourceRanges: 65 networks are too many/u],
    [['10.0.0.1/8'], /^spec\.loadBalancerSourceRanges: '10\.0\.0\.1\/8' has bits set/u],
  ] as const) {
    const reading = readBalancer(service({ spec: { loadBalancerSourceRanges: ranges } }), SETTINGS);
    assert.equal(reading.is, 'wrong');
    if (reading.is !== 'wrong') continue;
    assert.equal(reading.reason, 'InvalidSourceRanges');
    assert.match(reading.message, message);
  }
});
