// Numbers of bytes for people.
//
// Invariant: three figures, in the largest unit that fits. Must not know: bytes of what.

/** `1.5 MiB`: three figures are enough for a person. */
export function inBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}
