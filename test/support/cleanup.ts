// Runs what a test has to undo, last acquired first.
//
// `t.after` runs hooks in the order of registration and stops at the first that throws, so a folder
// would be removed before the server that writes into it has ended. Invariant: every step runs,
// each once; the first failure fails the test. Must not know: what is undone.

import type { TestContext } from 'node:test';

type Step = () => void | Promise<void>;

const STEPS = new WeakMap<TestContext, Step[]>();

/** Registers `step` to run after the test, before all steps registered earlier. */
export function undoAfter(t: TestContext, step: Step): void {
  const known = STEPS.get(t);
  if (known !== undefined) {
    known.push(step);
    return;
  }
  const steps: Step[] = [step];
  STEPS.set(t, steps);
  t.after(() => runAll(steps));
}

async function runAll(steps: Step[]): Promise<void> {
  const failures: unknown[] = [];
  for (let step = steps.pop(); step !== undefined; step = steps.pop()) {
    try {
      await step();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length === 1) throw failures[0];
  if (failures.length > 1) throw new AggregateError(failures, failures.map(String).join('\n'));
}
