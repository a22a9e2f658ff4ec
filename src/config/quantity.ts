// Plain values with a unit or a fixed set: sizes, durations, integers, choices, booleans, texts.
//
// Invariant: a size is a whole number of bytes, a duration a whole number of milliseconds that
// fits a timer; both stay within the bounds the option names, and `show` gives a text that reads
// back as the same value. Must not know: which option uses them.

import { TIMER_MS_MAX } from '../base/clock.ts';
import { InvalidText, type Kind, kindOf } from './option.ts';

const SIZE_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
};
const DURATION_UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

export interface Bounds {
  readonly min: number;
  readonly max: number;
}

/** A size; with `offWord`, that word and 0 both mean 0. */
export function size(bounds: Bounds & { readonly offWord?: string }): Kind<number> {
  const { offWord } = bounds;
  return kindOf(
    'size',
    'SIZE',
    (text) => {
      if (offWord !== undefined && (text === offWord || text === '0')) return 0;
      const bytes = readQuantity(text, /^(\d{1,15})(|B|KiB|MiB|GiB)$/, SIZE_UNITS);
      if (bytes === undefined) {
        const off = offWord === undefined ? '' : `, or ${offWord}`;
        return new InvalidText(`is not a size; write 64KiB, 8MiB or a number of bytes${off}`);
      }
      return withinBounds(bytes, bounds, showSize);
    },
    (bytes) => (bytes === 0 && offWord !== undefined ? offWord : showSize(bytes)),
  );
}

/** A duration; with `offWord`, that word and 0 both mean 0. */
export function duration(bounds: Bounds & { readonly offWord?: string }): Kind<number> {
  const { offWord, min, max = TIMER_MS_MAX } = bounds;
  const show = (ms: number): string =>
    ms === 0 && offWord !== undefined ? offWord : showDuration(ms);
  return kindOf(
    'duration',
    'TIME',
    (text) => {
      if (offWord !== undefined && (text === offWord || text === '0')) return 0;
      const ms = readQuantity(text, /^(\d{1,15})(ms|s|m|h)$/, DURATION_UNITS);
      if (ms === undefined) {
        const off = offWord === undefined ? '' : `, or ${offWord}`;
        return new InvalidText(`is not a duration; write 500ms, 10s, 5m or 1h${off}`);
      }
      if (offWord !== undefined && ms === 0) return 0;
      return withinBounds(ms, { min, max: Math.min(max, TIMER_MS_MAX) }, showDuration);
    },
    show,
  );
}

/** A whole number; with `autoWord`, that word and 0 both mean 0. */
export function integer(bounds: Bounds & { readonly autoWord?: string }): Kind<number> {
  const { autoWord } = bounds;
  return kindOf(
    'integer',
    'NUMBER',
    (text) => {
      if (autoWord !== undefined && (text === autoWord || text === '0')) return 0;
      if (!/^\d{1,15}$/.test(text)) {
        const auto = autoWord === undefined ? '' : `, or ${autoWord}`;
        return new InvalidText(
          `is not a whole number; write ${bounds.min} to ${bounds.max}${auto}`,
        );
      }
      return withinBounds(Number(text), bounds, String);
    },
    (value) => (value === 0 && autoWord !== undefined ? autoWord : String(value)),
  );
}

export function choice<const T extends string>(
  words: readonly [T, ...T[]],
  placeholder: string = words.join('|'),
): Kind<T> {
  const read = (text: string): T | InvalidText =>
    words.find((word) => word === text) ??
    new InvalidText(`is not one of the choices; write ${words.join(', ')}`);
  return { name: 'choice', placeholder, read, show: String };
}

export const boolean: Kind<boolean> = kindOf(
  'boolean',
  '',
  (text) => {
    if (text === 'true' || text === '1') return true;
    if (text === 'false' || text === '0') return false;
    return new InvalidText('is not a boolean; write true or false');
  },
  String,
);

/** A text that must match `pattern`; `right` says what to write instead. */
export function text(placeholder: string, pattern: RegExp, right: string): Kind<string> {
  const read = (value: string): string | InvalidText =>
    pattern.test(value) ? value : new InvalidText(right);
  return { name: 'text', placeholder, read, show: String };
}

export const path: Kind<string> = kindOf(
  'path',
  'FILE',
  (value) => {
    if (value === '') return new InvalidText('is empty; write the path of a file');
    if (value.length > 4096) return new InvalidText('is longer than a path can be');
    return value.includes('\u0000') ? new InvalidText('holds a NUL byte') : value;
  },
  String,
);

/** Never quoted, never shown; what it must look like is checked by whoever uses it. */
export const secret: Kind<string> = {
  name: 'secret',
  placeholder: 'TEXT',
  read: (value) => value,
  show: () => '[masked]',
};

export function showSize(bytes: number): string {
  return showQuantity(bytes, SIZE_UNITS);
}

export function showDuration(ms: number): string {
  return ms === 0 ? '0s' : showQuantity(ms, DURATION_UNITS);
}

function readQuantity(
  text: string,
  pattern: RegExp,
  units: Readonly<Record<string, number>>,
): number | undefined {
  const match = pattern.exec(text);
  const unit = units[match?.[2] ?? ''];
  return match === null || unit === undefined ? undefined : Number(match[1]) * unit;
}

/** In the largest unit that divides the amount. */
function showQuantity(amount: number, units: Readonly<Record<string, number>>): string {
  let shown = String(amount);
  for (const [unit, factor] of Object.entries(units)) {
    if (unit !== 'B' && amount >= factor && amount % factor === 0)
      shown = `${amount / factor}${unit}`;
  }
  return shown;
}

function withinBounds(
  amount: number,
  bounds: Bounds,
  show: (amount: number) => string,
): number | InvalidText {
  if (amount >= bounds.min && amount <= bounds.max) return amount;
  const wrong = amount < bounds.min ? 'is too small' : 'is too large';
  return new InvalidText(`${wrong}; write ${show(bounds.min)} to ${show(bounds.max)}`);
}
