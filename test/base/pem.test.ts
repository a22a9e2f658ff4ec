import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pemBlocks } from '../../src/base/pem.ts';

const block = (label: string, body = 'AAAA'): string =>
  `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----`;

test('blocks are found with their labels, whatever stands between them', () => {
  const [key, chain] = [block('PRIVATE KEY'), block('CERTIFICATE', 'BBBB')];
  assert.deepEqual(pemBlocks(`a comment\n${key}\r\n\n${chain}\n${chain}`), [
    { label: 'PRIVATE KEY', text: key },
    { label: 'CERTIFICATE', text: chain },
    { label: 'CERTIFICATE', text: chain },
  ]);
});

test('a block that does not end, or ends as another, is none', () => {
  const whole = block('CERTIFICATE');
  for (const text of [
    '',
    'no block',
    '-----BEGIN ',
    '-----BEGIN CERTIFICATE-----\nAAAA\n',
    '-----BEGIN CERTIFICATE-----\nAAAA\n-----END PRIVATE KEY-----',
  ]) {
    assert.deepEqual(pemBlocks(text), [], text);
    assert.deepEqual(pemBlocks(`${text}\n${whole}`), [{ label: 'CERTIFICATE', text: whole }]);
  }
});
