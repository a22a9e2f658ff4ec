import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ERRORS, type ErrorCode, SluicewayError } from '../../src/base/errors.ts';

test('an error is what its row says', () => {
  const { code, wire, status, source, retryable, message } = new SluicewayError('SLW_LINK_LOST');
  const { text, ...row } = ERRORS.SLW_LINK_LOST;
  assert.deepEqual({ wire, status, source, retryable }, row);
  assert.deepEqual([code, message], ['SLW_LINK_LOST', text]);
});

test('an error of a code that a newer server gave can be asked all the same', () => {
  for (const code of ['SLW_TUNNEL_TO_COME', 'constructor']) {
    const error = new SluicewayError(code as ErrorCode, 'example.com: not here');
    assert.deepEqual([error.code, error.message], [code, 'example.com: not here']);
    assert.deepEqual([error.retryable, error.source], [false, 'peer']);
    assert.deepEqual([error.wire, error.status], [-1, 0]);
    assert.notEqual(new SluicewayError(code as ErrorCode).message, '');
  }
});
