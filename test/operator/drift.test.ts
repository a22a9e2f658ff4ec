// Goal: what the API server has stored of an object is told from what somebody has changed. Method:
// tables of what was written and what is read.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { covers } from '../../src/operator/drift.ts';
import { isSameQuantity } from '../../src/operator/quantity.ts';

test('quantities are the same by what they are worth', () => {
  const same = [
    ['1Gi', '1024Mi', '1048576Ki', '1073741824', '1073741824000m'],
    ['500m', '0.5', '.5', '+0.5', '5e-1', '500000u'],
    ['1', '1000m', '1.', '1e0', '0.001k', '1E0'],
    ['1M', '1000k', '1e6', '1E6', '1000000'],
    ['1E', '1e18', '1000P'],
    ['1.5Gi', '1536Mi'],
    // Of a container nothing is finer than a thousandth.
    ['1m', '0.0001', '100u', '1n'],
    ['0', '0Mi', '0.0'],
  ];
  for (const [index, worth] of same.entries()) {
    for (const one of worth) {
      for (const [other, texts] of same.entries()) {
        for (const text of texts) {
          assert.equal(isSameQuantity(one, text), index === other, `${one} and ${text}`);
        }
      }
    }
  }
});

test('what is no quantity is itself alone', () => {
  for (const text of ['', '.', 'x', '1Zi', '1 Mi', '1e999999999', '-1', '9'.repeat(40)]) {
    assert.ok(isSameQuantity(text, text));
    assert.ok(!isSameQuantity(text, '1'), text);
  }
  assert.ok(!isSameQuantity(undefined, '0'));
});

test('an object covers what is the same in other words, and nothing else', () => {
  const pod = (resources: object, more: object = {}) => ({ containers: [{ resources }], ...more });
  const stored = pod({ limits: { memory: '1Gi', cpu: '500m' } }, { nodeSelector: { a: 'b' } });
  const table: readonly (readonly [unknown, unknown, boolean])[] = [
    [stored, pod({ limits: { memory: '1024Mi', cpu: '0.5' } }), true],
    [stored, pod({ limits: { memory: '1025Mi' } }), false],
    [stored, pod({ limits: { memory: '1Gi' }, requests: { cpu: '1' } }), false],
    [stored, pod({ limits: {} }), false],
    [stored, { nodeSelector: {} }, false],
    [pod({}), pod({ limits: {}, requests: {} }), true],
    [pod({}), pod({}, { nodeSelector: {}, tolerations: [] }), true],
    [{ tolerations: [{ key: 'a' }] }, { tolerations: [] }, false],
    // Elsewhere a text is a text.
    [{ env: '1Gi' }, { env: '1024Mi' }, false],
    [{ a: 0, b: false }, { a: 0, b: false }, true],
    [{}, { a: 0 }, false],
  ];
  for (const [found, wanted, expected] of table) {
    assert.equal(covers(found, wanted), expected, JSON.stringify([found, wanted]));
  }
});
