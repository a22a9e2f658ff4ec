// Medians, spreads and tables of text.
//
// Pure. Invariant: what was not measured shows as '-', never as 0. Must not know: what the figures
// are of.

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((left, right) => left - right);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** Half of the range, by the median. */
export function spread(values: readonly number[]): number {
  return (Math.max(...values) - Math.min(...values)) / 2 / median(values);
}

/**
 * One ratio a round: a machine grows slower and faster within a run, and what ran right after one
 * another met the same. None where a round lacks one of the two.
 */
export function ratiosOf(part: readonly number[], whole: readonly number[]): number[] {
  if (part.length !== whole.length) return [];
  return part.map((value, index) => value / (whole[index] ?? Number.NaN));
}

export function ratio(part: readonly number[], whole: readonly number[]): string {
  const value = median(ratiosOf(part, whole));
  return Number.isFinite(value) ? value.toFixed(2) : '-';
}

export function round(value: number, digits = 0): string {
  if (!Number.isFinite(value)) return '-';
  const options = { maximumFractionDigits: digits, minimumFractionDigits: digits };
  return value.toLocaleString('en-US', options);
}

export function percent(part: number): string {
  return Number.isFinite(part) ? `±${(part * 100).toFixed(0)} %` : '-';
}

export function inMs(us: number): string {
  return `${round(us / 1000, us < 10_000 ? 2 : 1)} ms`;
}

/** CPU time of both ends together: seconds a GB, or microseconds a round trip. */
export function costText(unit: string, costs: readonly number[]): string {
  const each = median(costs);
  if (!Number.isFinite(each)) return '-';
  return unit === 'MB/s' ? `${round(each * 1e3, 2)} s/GB` : `${round(each * 1e6)} µs`;
}

/** Columns side by side: the first to the left, the others to the right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((cells) => cells[column]?.length ?? 0)),
  );
  return rows
    .map((cells) =>
      cells
        .map((cell, column) =>
          column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
        )
        .join('  '),
    )
    .map((line) => `${line}\n`)
    .join('');
}
