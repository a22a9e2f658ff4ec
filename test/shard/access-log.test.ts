// A line says what the log's documents say, and nothing that came along with it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AccessLog, noteEnd } from '../../src/shard/access-log.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { LogLines } from '../support/log-lines.ts';

test('a connection is logged field by field, whatever else its origin and its end hold', async () => {
  const lines = new LogLines('access');
  const clock = new FakeClock();
  const secret = { key: 'PRIVATE KEY' };
  const origin = { tunnel: 'a.example', visitor: '192.0.2.7', secret, rest: Buffer.from('secret') };
  const end = noteEnd(new AccessLog(lines.records), clock, origin);
  clock.advance(1500);
  const outcome = { bytesIn: 1, bytesOut: 2, code: 'SLW_NONE' as const, secret };
  end(outcome);
  const { time, level, ...fields } = await lines.line('connection');
  assert.deepEqual([typeof time, level], ['string', 'info']);
  assert.deepEqual(fields, {
    ...{ component: 'access', msg: 'connection', tunnel: 'a.example', visitor: '192.0.2.7' },
    ...{ bytesIn: 1, bytesOut: 2, durationMs: 1500, code: 'SLW_NONE' },
  });
});
