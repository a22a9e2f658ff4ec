// Reads a unit as systemd.syntax(7) and systemd.service(5) have it: keys, and words of a command.
//
// Invariant: what it cannot read throws. Must not know: how units are written.

/** The values of a key, continued lines joined. */
export function allValues(unit: string, key: string): string[] {
  const lines = unit
    .split('\n')
    .filter((line) => !/^[#;]/u.test(line))
    .join('\n')
    .replace(/\\\n\s*/gu, ' ')
    .split('\n');
  return lines.flatMap((line) => (line.startsWith(`${key}=`) ? [line.slice(key.length + 1)] : []));
}

export function oneValue(unit: string, key: string): string {
  const [value, ...more] = allValues(unit, key);
  if (value === undefined || more.length > 0) throw new Error(`${key}= is not there once`);
  return value;
}

/** The words of a command line, with variables replaced. */
export function commandWords(line: string, env: Readonly<Record<string, string>> = {}): string[] {
  return [...line.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/gu)].map(([, quoted, plain]) => {
    const escaped = quoted ?? plain ?? '';
    const text = escaped.replace(/\\(?:x([\da-f]{2})|(.))/gsu, (_all, hex?: string, one = '') =>
      hex === undefined ? one : String.fromCharCode(Number.parseInt(hex, 16)),
    );
    return text
      .replace(/%(.)/gu, (_all, one: string) => {
        if (one !== '%') throw new Error(`the specifier %${one}`);
        return '%';
      })
      .replace(/\$(?:\$|\{(\w+)\}|(.?))/gu, (all, name?: string) => {
        if (all === '$$') return '$';
        const value = name === undefined ? undefined : env[name];
        if (value === undefined) throw new Error(`the variable ${all}`);
        return value;
      });
  });
}
