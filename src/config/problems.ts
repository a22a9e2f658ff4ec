// Gathers everything that is wrong with a configuration, so that one run shows all of it.
//
// Invariant: at most PROBLEMS_MAX lines are kept, the rest is counted; a value is quoted with its
// control characters escaped, its length cut and any credentials in it masked; a suggestion is
// never far-fetched. Must not know: which options there are.

import { ConfigError } from '../base/errors.ts';

/** Lines shown at once. Guess: more than anybody mends in one go. */
const PROBLEMS_MAX = 50;
/** Longer names get no suggestion: the work grows with the square of the length. */
const NAME_LENGTH_MAX = 64;
/** Characters of a value that a line repeats. Guess: enough to recognise it. */
const QUOTED_LENGTH_MAX = 80;

export class Problems {
  readonly #lines: string[] = [];
  #surplus = 0;

  /** True when further lines would only be counted, so that a caller can save the work. */
  get isFull(): boolean {
    return this.#lines.length >= PROBLEMS_MAX;
  }

  add(line: string): void {
    if (this.isFull) this.#surplus += 1;
    else this.#lines.push(line);
  }

  throwIfAny(): void {
    if (this.#lines.length === 0) return;
    const more = this.#surplus === 0 ? [] : [`and ${this.#surplus} more`];
    throw new ConfigError([...this.#lines, ...more]);
  }
}

/** What both give, or one ConfigError with what is wrong with either. */
export function readBoth<A, B>(readFirst: () => A, readSecond: () => B): readonly [A, B] {
  const problems = new Set<string>();
  const attempt = <T>(read: () => T): T | undefined => {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      for (const problem of error.problems) problems.add(problem);
      return undefined;
    }
  };
  const first = attempt(readFirst);
  const second = attempt(readSecond);
  if (problems.size > 0) throw new ConfigError([...problems]);
  return [first as A, second as B];
}

/** A value from outside as a line may show it. */
export function quote(text: string): string {
  // Before it is cut: what is cut off may hold the `@` that ends a login.
  const masked = withoutLogin(text);
  const isLong = masked.length > QUOTED_LENGTH_MAX;
  const cut = isLong ? `${masked.slice(0, QUOTED_LENGTH_MAX)}…` : masked;
  return `'${cut.replace(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, '?')}'`;
}

/** Masked from the first `//` or colon to the last `@`, as a password may hold any of them. */
export function withoutLogin(text: string): string {
  const end = text.lastIndexOf('@');
  const before = text.slice(0, Math.max(0, end));
  const match = /:?\/\/|:/.exec(before);
  if (match === null) return text;
  return `${text.slice(0, match.index + match[0].length)}[masked]${text.slice(end)}`;
}

/** The known name that was probably meant: at most a third of the typed one away. */
export function nearestName(typed: string, known: Iterable<string>): string | undefined {
  if (typed.length > NAME_LENGTH_MAX) return undefined;
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(typed.length / 3)) + 1;
  for (const name of known) {
    if (Math.abs(name.length - typed.length) >= bestDistance) continue;
    const distance = editDistance(typed, name);
    if (distance >= bestDistance) continue;
    best = name;
    bestDistance = distance;
  }
  return best;
}

/** Optimal string alignment: insert, delete, replace, or swap two neighbours, each one edit. */
export function editDistance(left: string, right: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: right.length + 1 }, (_, column) => column);
  for (let row = 1; row <= left.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= right.length; column += 1) {
      const isSame = left[row - 1] === right[column - 1];
      const isSwap = left[row - 1] === right[column - 2] && left[row - 2] === right[column - 1];
      let distance = Math.min(
        at(last, column) + 1,
        at(current, column - 1) + 1,
        at(last, column - 1) + (isSame ? 0 : 1),
      );
      if (row > 1 && column > 1 && isSwap) {
        distance = Math.min(distance, at(beforeLast, column - 2) + 1);
      }
      current.push(distance);
    }
    beforeLast = last;
    last = current;
  }
  return at(last, right.length);
}

function at(distances: readonly number[], index: number): number {
  return distances[index] ?? Number.POSITIVE_INFINITY;
}
