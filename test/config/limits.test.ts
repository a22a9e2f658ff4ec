// Goal: each limit can be set alone, in each of the three ways, and never reads as "no limit" by
// mistake. Method: a table of all of them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { VisitorLimits } from '../../src/base/visitor-limits.ts';
import { resolveConfig } from '../../src/config/config.ts';
import { LIMIT_OPTIONS } from '../../src/config/limits.ts';
import { configInput, problemsOf, TOKEN } from './input.ts';

const TABLE: Readonly<Record<string, readonly [keyof VisitorLimits, string, number]>> = {
  'visitor-connections-per-ip-max': ['connectionsPerAddressMax', '7', 7],
  'connections-per-second-per-ip-max': ['addressConnectionsPerSecondMax', '7', 7],
  'tunnel-connections-max': ['tunnelConnectionsMax', '7', 7],
  'requests-per-second-max': ['requestsPerSecondMax', '7', 7],
  'requests-per-second-per-ip-max': ['addressRequestsPerSecondMax', '7', 7],
  'tunnel-requests-per-second-max': ['tunnelRequestsPerSecondMax', '7', 7],
  'tunnel-bytes-in-per-second-max': ['tunnelBytesInPerSecondMax', '2MiB', 2 * 1024 * 1024],
  'tunnel-bytes-out-per-second-max': ['tunnelBytesOutPerSecondMax', '1KiB', 1024],
  'request-body-max': ['requestBodyBytesMax', '1', 1],
};

const NONE = resolveConfig(configInput('server')).limits;

test('the table has every limit', () => {
  assert.deepEqual(Object.keys(TABLE).toSorted(), Object.keys(LIMIT_OPTIONS).toSorted());
});

for (const [name, [key, text, value]] of Object.entries(TABLE)) {
  test(`--${name} can be set alone by flag, variable and file`, () => {
    const variable = `SLUICEWAY_${name.toUpperCase().replaceAll('-', '_')}`;
    const inputs = [
      configInput('server', { flags: { [name]: text } }),
      configInput('server', { env: { SLUICEWAY_TOKEN: TOKEN, [variable]: text } }),
      configInput('server', { file: { path: 'x.yaml', text: `${name}: ${text}\n` } }),
    ];
    for (const input of inputs) {
      assert.deepEqual(resolveConfig(input).limits, { ...NONE, [key]: value });
    }
    for (const off of ['off', '0']) {
      const input = configInput('server', { flags: { [name]: off } });
      assert.deepEqual(resolveConfig(input).limits, NONE);
    }
    for (const wrong of ['', 'none', '-1', '1.5', 'Off', '99999999999999']) {
      const input = configInput('server', { flags: { [name]: wrong } });
      assert.match(problemsOf(() => resolveConfig(input)).join(), new RegExp(`--${name}`));
    }
  });
}

test('--memory-max is auto, off or a size, by flag, variable and file', () => {
  const maxOf = (text: string): readonly unknown[] =>
    [
      configInput('server', { flags: { 'memory-max': text } }),
      configInput('server', { env: { SLUICEWAY_TOKEN: TOKEN, SLUICEWAY_MEMORY_MAX: text } }),
      configInput('server', { file: { path: 'x.yaml', text: `memory-max: ${text}\n` } }),
    ].map((input) => resolveConfig(input).memoryMax);
  assert.equal(resolveConfig(configInput('server')).memoryMax, 'auto');
  assert.deepEqual(new Set(maxOf('512MiB')), new Set([512 * 1024 * 1024]));
  assert.deepEqual(new Set(maxOf('off')), new Set(['off']));
  assert.deepEqual(new Set(maxOf('auto')), new Set(['auto']));
  for (const wrong of ['', '0', 'none', '127MiB', '-1', 'Off', '99999GiB']) {
    const input = configInput('server', { flags: { 'memory-max': wrong } });
    assert.match(problemsOf(() => resolveConfig(input)).join(), /--memory-max/u);
  }
});
