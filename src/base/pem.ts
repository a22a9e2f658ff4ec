// The blocks of a PEM text (RFC 7468): what stands between BEGIN and END lines, those included.
//
// Invariant: a block ends with the line of its own label, and one that does not end is none; each
// letter is read a bounded number of times. Must not know: what a block holds.

export interface PemBlock {
  /** `CERTIFICATE`, `PRIVATE KEY`. */
  readonly label: string;
  readonly text: string;
}

const BEGIN = '-----BEGIN ';
const DASHES = '-----';

export function pemBlocks(text: string): readonly PemBlock[] {
  const blocks: PemBlock[] = [];
  for (let at = text.indexOf(BEGIN); at !== -1; at = text.indexOf(BEGIN, at + BEGIN.length)) {
    const labelAt = at + BEGIN.length;
    const labelEnd = text.indexOf(DASHES, labelAt);
    if (labelEnd === -1) break;
    const label = text.slice(labelAt, labelEnd);
    const next = text.indexOf(BEGIN, labelEnd);
    const body = text.slice(labelEnd, next === -1 ? undefined : next);
    const end = `${DASHES}END ${label}${DASHES}`;
    const endAt = body.indexOf(end);
    if (endAt === -1) continue;
    blocks.push({ label, text: text.slice(at, labelEnd + endAt + end.length) });
  }
  return blocks;
}
