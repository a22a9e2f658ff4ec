// The value of a field that may stand in a head once.
//
// Invariant: a field that stands there twice has no value: two readers could take different ones.
// Must not know: which field.

import type { HeadParser } from './head-parser.ts';
import { LOWER, matches } from './octets.ts';

/** `name` in lower case. */
export function onlyValue(head: HeadParser, name: Uint8Array): string | undefined {
  const { bytes, base, fields } = head;
  let value: string | undefined;
  for (let index = 0; index < fields.count; index += 1) {
    const start = base + fields.nameStart(index);
    if (base + fields.nameEnd(index) - start !== name.length) continue;
    if (!matches(bytes, start, name, LOWER)) continue;
    if (value !== undefined) return undefined;
    const [from, to] = [base + fields.valueStart(index), base + fields.valueEnd(index)];
    value = bytes.toString('latin1', from, to);
  }
  return value;
}
