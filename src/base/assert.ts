// Assertions for our own bugs. A failed one crashes the shard, which control starts again.
//
// Invariant: nothing a peer, a visitor or an operator sends can make an assertion fail; their
// mistakes are errors with a code. Must not know: how a crash is handled.

export class AssertionFailure extends Error {
  override name = 'AssertionFailure';
}

/** Throws when `condition` is false. The message says which invariant broke. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionFailure(message);
}

/** Closes an exhaustive `switch`: reaching it is a bug that the compiler usually finds first. */
export function unreachable(value: never): never {
  throw new AssertionFailure(`unreachable case: ${String(value)}`);
}
