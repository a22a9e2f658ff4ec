// Log lines for people: the time, the level, the component, the message, then key=value.
//
// Invariant: a line is one line, whatever its values hold, and nothing in it moves a terminal's
// cursor; what is no entry of the log passes as it is. Must not know: what is worth logging, or
// where lines go.

import { loggable } from './loggable.ts';

const LEVEL_LENGTH = 5;
const HIDDEN: ReadonlySet<string> = new Set(['level', 'time', 'component', 'msg']);

/** `10:20:30.456 INFO  control: listening name=http address=127.0.0.1:8000` */
export function formatLine(line: string): string {
  const entry = readEntry(line);
  if (entry === undefined) return line;
  const time = String(entry.time ?? '').slice(11, 23);
  const level = String(entry.level ?? '')
    .toUpperCase()
    .padEnd(LEVEL_LENGTH);
  const head = `${time} ${level} ${show(entry.component)}: ${show(entry.msg)}`;
  const rest = Object.entries(entry)
    .filter(([key]) => !HIDDEN.has(key))
    .map(([key, value]) => ` ${key}=${show(value)}`);
  return `${head}${rest.join('')}\n`;
}

function show(value: unknown): string {
  return loggable(typeof value === 'string' ? value : (JSON.stringify(value) ?? ''));
}

function readEntry(line: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const entry: unknown = JSON.parse(line);
    return typeof entry === 'object' && entry !== null ? { ...entry } : undefined;
  } catch {
    // Not pino's: passed on as it is.
    return undefined;
  }
}
