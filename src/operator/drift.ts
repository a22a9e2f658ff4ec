// Whether an object is as it should be, though the API server has filled in more.
//
// Invariant: pure; every field of `wanted` must be there and equal, all others are nobody's
// business; lists are compared whole, as their order means something. Must not know: any kind.

export function covers(found: unknown, wanted: unknown): boolean {
  if (Array.isArray(wanted)) {
    return (
      Array.isArray(found) &&
      found.length === wanted.length &&
      wanted.every((one, index) => covers(found[index], one))
    );
  }
  if (typeof wanted !== 'object' || wanted === null) return Object.is(found, wanted);
  if (typeof found !== 'object' || found === null) return false;
  const fields = found as Readonly<Record<string, unknown>>;
  return Object.entries(wanted).every(([key, value]) => covers(fields[key], value));
}
