// Whether an object is as it should be, though the API server has filled in more, leaves out what
// is empty, and writes amounts in a form of its own.
//
// Invariant: pure; every field of `wanted` must be there and worth the same, all others are
// nobody's business; lists are compared whole, as their order means something. Must not know: any
// kind.

import { isSameQuantity } from './quantity.ts';

/** Maps of quantities, whatever has them. */
const AMOUNTS: ReadonlySet<string> = new Set(['limits', 'requests']);

type IsSame = (found: unknown, wanted: unknown) => boolean;

export function covers(found: unknown, wanted: unknown, isSame: IsSame = Object.is): boolean {
  if (typeof wanted !== 'object' || wanted === null) return isSame(found, wanted);
  if (Object.keys(wanted).length === 0) return isNothing(found);
  if (typeof found !== 'object' || found === null) return false;
  if (Array.isArray(wanted)) {
    return (
      Array.isArray(found) &&
      found.length === wanted.length &&
      wanted.every((one, index) => covers(found[index], one, isSame))
    );
  }
  const fields = found as Readonly<Record<string, unknown>>;
  return Object.entries(wanted).every(([key, value]) =>
    covers(fields[key], value, AMOUNTS.has(key) ? isSameQuantity : isSame),
  );
}

function isNothing(found: unknown): boolean {
  if (typeof found !== 'object' || found === null) return found === undefined || found === null;
  return Object.keys(found).length === 0;
}
