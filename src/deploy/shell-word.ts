// Words of a shell's command line, for steps that people paste and scripts that machines run.
//
// Invariant: a shell reads each as the very text, whatever characters it holds; one that would mean
// the same without quotes is printed without. Must not know: the command.

const PLAIN = /^[A-Za-z0-9_@%+=:,./-]+$/;

export function shellWord(text: string): string {
  return PLAIN.test(text) ? text : quoted(text);
}

export function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** One that a program takes for a file, also where its name begins as an option does. */
export function pathWord(path: string): string {
  return shellWord(path.startsWith('-') ? `./${path}` : path);
}
