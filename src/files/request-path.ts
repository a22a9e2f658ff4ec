// The target of a request as names below a folder.
//
//   /a%20b/c.txt?x  -->  ['a b', 'c.txt']         /a/  -->  ['a'], a folder is meant
//
// Invariant: decoded once; no name is empty, `.` or `..`, or holds a slash, a backslash or a
// control character, whatever a file system makes of them; what is not UTF-8 is refused, so that a
// name has one spelling. Must not know: which files there are.

/** Guess: above what file systems take in a path (4,096 on Linux), encoded. */
const TARGET_LENGTH_MAX = 8192;
/** Of `http://host/path`, which servers must take (RFC 9112, 3.2.2). */
const ABSOLUTE_FORM = /^https?:\/\/[^/?#]*/i;
/** A slash in a name would be another path, a backslash is one to some, the rest is for no name. */
const FORBIDDEN = /[\0-\x1f\x7f/\\]/;

export interface RequestPath {
  readonly names: readonly string[];
  /** It ends with a slash. */
  readonly isFolder: boolean;
  /** With its question mark; empty when there is none. */
  readonly query: string;
}

/** The status of a refusal: not a target at all, too long, or what no file can be. */
export type PathRefusal = 400 | 404 | 414;

export function readRequestPath(target: string): RequestPath | PathRefusal {
  if (target.length > TARGET_LENGTH_MAX) return 414;
  const origin = target.replace(ABSOLUTE_FORM, '');
  const question = origin.indexOf('?');
  const path = question === -1 ? origin : origin.slice(0, question);
  const query = question === -1 ? '' : origin.slice(question);
  if (path === '' && origin !== target) return { names: [], isFolder: true, query };
  if (!path.startsWith('/') || path.includes('#')) return 400;
  const names: string[] = [];
  for (const piece of path.split('/')) {
    const name = decode(piece);
    if (name === undefined) return 400;
    if (name === '.' || name === '..' || FORBIDDEN.test(name)) return 404;
    // As everywhere, several slashes are one.
    if (name !== '') names.push(name);
  }
  return { names, isFolder: path.endsWith('/'), query };
}

/** Undefined for a stray `%`, and for what is not UTF-8, overlong forms of a slash among it. */
function decode(piece: string): string | undefined {
  try {
    return decodeURIComponent(piece);
  } catch {
    // URIError: malformed.
    return undefined;
  }
}

/** The way to a folder, to be sent in Location: one slash in front, so that it is no host. */
export function showFolder({ names, query }: RequestPath): string {
  return `/${names.map((name) => `${encodeURIComponent(name)}/`).join('')}${query}`;
}
