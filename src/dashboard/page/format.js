// Figures as people read them. What is not known is a dash, never a zero.

const NONE = '–';
const BYTE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
const SECONDS_PER_DAY = 86_400;
const DAY_MS = SECONDS_PER_DAY * 1000;

/** A number with its unit apart, as `[text, unit]`. */
export function countParts(value) {
  if (value === null || value === undefined) return [NONE, ''];
  if (value >= 1e6) return [trim(value / 1e6), 'M'];
  if (value >= 1e4) return [trim(value / 1e3), 'k'];
  return [trim(value), ''];
}

export function count(value) {
  return countParts(value).join('');
}

export function rateParts(value) {
  const [text, unit] = countParts(value);
  return text === NONE ? [text, ''] : [`${text}${unit}`, '/s'];
}

export function rate(value) {
  return rateParts(value).join('');
}

export function bytesParts(value) {
  if (value === null || value === undefined) return [NONE, ''];
  let size = value;
  let unit = 0;
  while (size >= 1000 && unit < BYTE_UNITS.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return [unit === 0 ? String(Math.round(size)) : trim(size), BYTE_UNITS[unit] ?? ''];
}

export function bytes(value) {
  const [text, unit] = bytesParts(value);
  return unit === '' ? text : `${text} ${unit}`;
}

export function bytesRateParts(value) {
  const [text, unit] = bytesParts(value);
  return text === NONE ? [text, ''] : [text, `${unit}/s`];
}

export function bytesRate(value) {
  const [text, unit] = bytesRateParts(value);
  return unit === '' ? text : `${text} ${unit}`;
}

export function msParts(value) {
  if (value === null || value === undefined) return [NONE, ''];
  return value >= 1000 ? [trim(value / 1000), 's'] : [trim(value), 'ms'];
}

export function ms(value) {
  const [text, unit] = msParts(value);
  return unit === '' ? text : `${text} ${unit}`;
}

export function shareParts(value) {
  if (value === null || value === undefined) return [NONE, ''];
  return [trim(value * 100), '%'];
}

/** Of a span: its two largest units. */
export function span(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const days = Math.floor(seconds / SECONDS_PER_DAY);
  const hours = Math.floor((seconds % SECONDS_PER_DAY) / 3600);
  const minutes = Math.floor((seconds % 3600) / 60);
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  if (minutes > 0) return `${minutes} min ${seconds % 60} s`;
  return `${seconds} s`;
}

/** A day, as the reader writes it. */
export function day(wallMs) {
  return new Date(wallMs).toLocaleDateString(undefined, { dateStyle: 'medium' });
}

export function daysUntil(wallMs, nowMs) {
  return Math.floor((wallMs - nowMs) / DAY_MS);
}

/** Whole days, of what may be over already. */
export function daysLeft(days) {
  return days < 0 ? 'ended' : plural(days, 'day', 'days');
}

export function plural(value, one, many) {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** The first few of a list; before them, where a narrow cell shows it, how many there are. */
export function some(shown, all) {
  const text = shown.join(', ');
  return all > shown.length ? `${all}, such as ${text}` : text;
}

/** Three digits that say something. */
function trim(value) {
  if (value === 0) return '0';
  // Not "0.00", which looks like nothing at all.
  if (value < 0.005) return '<0.01';
  if (value < 0.095) return value.toFixed(2);
  return value < 9.95 && !Number.isInteger(value) ? value.toFixed(1) : String(Math.round(value));
}
