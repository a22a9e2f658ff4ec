// Parts of a file that a request wants: `Range: bytes=0-99,-500` (RFC 9110, 14).
//
// Invariant: a part lies within the file and is not empty; parts never add up to more than the
// file, nor to more than RANGES_MAX, so that a short request cannot ask for much (CVE-2011-3192);
// what is malformed or too much is as if it were not there. Must not know: files.

export interface ByteRange {
  readonly first: number;
  /** Included. */
  readonly last: number;
}

/** Guess: viewers of PDF files ask for a handful. */
export const RANGES_MAX = 16;
const UNIT = /^bytes=/i;
/** 15 digits are exact in a number, and more than any file has bytes. */
const PART = /^(\d{0,15})-(\d{0,15})$/;

/** `whole`: answer as if there were no Range; `none`: nothing of it lies within the file. */
export function readRanges(
  text: string | undefined,
  size: number,
): readonly ByteRange[] | 'whole' | 'none' {
  if (text === undefined || !UNIT.test(text)) return 'whole';
  const parts = text.replace(UNIT, '').split(',');
  if (parts.length > RANGES_MAX) return 'whole';
  const ranges: ByteRange[] = [];
  for (const part of parts) {
    const match = PART.exec(part.trim());
    const [, from = '', to = ''] = match ?? [];
    if (match === null || from + to === '') return 'whole';
    if (from !== '' && to !== '' && Number(to) < Number(from)) return 'whole';
    const first = from === '' ? Math.max(0, size - Number(to)) : Number(from);
    const last = from === '' || to === '' ? size - 1 : Math.min(Number(to), size - 1);
    if (first <= last) ranges.push({ first, last });
  }
  if (ranges.length === 0) return 'none';
  const bytes = ranges.reduce((sum, range) => sum + lengthOf(range), 0);
  return ranges.length > 1 && bytes > size ? 'whole' : ranges;
}

export function lengthOf({ first, last }: ByteRange): number {
  return last - first + 1;
}

export function showRange({ first, last }: ByteRange, size: number): string {
  return `bytes ${first}-${last}/${size}`;
}
