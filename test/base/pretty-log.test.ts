import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { formatLine } from '../../src/base/pretty-log.ts';

const TIME = '2026-08-01T10:20:30.456Z';

function line(fields: object): string {
  return `${JSON.stringify({ level: 'info', time: TIME, component: 'control', ...fields })}\n`;
}

describe('a line', () => {
  test('holds time, level, component, message, then the other fields', () => {
    const text = line({ msg: 'listening', name: 'http', count: 2, err: { code: 'X' } });
    assert.equal(
      formatLine(text),
      '10:20:30.456 INFO  control: listening name=http count=2 err={"code":"X"}\n',
    );
  });

  test('cannot move the cursor', () => {
    const text = line({ msg: 'a\u001b[2Jb', name: 'c\nd' });
    assert.equal(formatLine(text), '10:20:30.456 INFO  control: a?[2Jb name=c?d\n');
  });

  test('that is not JSON passes as it is', () => {
    assert.equal(formatLine('plain\n'), 'plain\n');
    assert.equal(formatLine('7\n'), '7\n');
  });
});
