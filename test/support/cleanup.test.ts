import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { undoAfter } from './cleanup.ts';

/** The one part of a test's context that cleanup uses. */
function fakeContext(): { t: TestContext; end: () => Promise<void> } {
  let hook: (() => Promise<void>) | undefined;
  const t = {
    after(given: () => Promise<void>): void {
      assert.equal(hook, undefined, 'one hook serves all steps');
      hook = given;
    },
  };
  return { t: t as unknown as TestContext, end: () => hook?.() ?? Promise.resolve() };
}

test('steps run last first, also behind one that fails', async () => {
  const { t, end } = fakeContext();
  const ran: string[] = [];
  undoAfter(t, () => void ran.push('first acquired'));
  undoAfter(t, () => {
    ran.push('second');
    throw new Error('step failed');
  });
  undoAfter(t, async () => void ran.push('last acquired'));
  await assert.rejects(end(), /step failed/u);
  assert.deepEqual(ran, ['last acquired', 'second', 'first acquired']);
});
