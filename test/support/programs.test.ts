import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { findProgram, requirePrograms } from './programs.ts';

function fakeContext(): { t: TestContext; reasons: string[] } {
  const reasons: string[] = [];
  const t = { skip: (reason: string): unknown => reasons.push(reason) };
  return { t: t as unknown as TestContext, reasons };
}

function withCi(value: string | undefined, run: () => void): void {
  const before = process.env.CI;
  if (value === undefined) delete process.env.CI;
  else process.env.CI = value;
  try {
    run();
  } finally {
    if (before === undefined) delete process.env.CI;
    else process.env.CI = before;
  }
}

test('a program on the path is found, another is not', () => {
  assert.match(findProgram('sh') ?? '', /\/sh$/u);
  assert.equal(findProgram('no-such-program'), undefined);
});

test('a missing program skips with its name, and fails with CI=true', () => {
  const { t, reasons } = fakeContext();
  withCi(undefined, () => {
    assert.equal(requirePrograms(t, ['sh', 'no-such-program']), undefined);
  });
  assert.deepEqual(reasons, ['not installed: no-such-program']);
  withCi('true', () => {
    assert.throws(() => requirePrograms(t, ['no-such-program']), /no-such-program/u);
  });
});
